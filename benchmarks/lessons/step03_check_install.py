"""第三步 · 安装工具：指南的验证命令，改成逐个报告版本。运行：python step03_check_install.py

安装（在项目文件夹里，一条命令）：pip install -e ".[serve]" -c constraints.txt
"""

import sys
from importlib.metadata import PackageNotFoundError, version

# 指南第三步和第九步要装的全部工具
TOOLS = (
    "torch", "transformers", "peft", "datasets", "soundfile", "librosa", "evaluate", "jiwer",
    "fastapi", "uvicorn", "python-multipart",
)  # fmt: skip

missing = []
print(f"Python {sys.version.split()[0]}（{sys.executable}）")
for tool in TOOLS:
    try:
        print(f"✅ {tool} {version(tool)}")
    except PackageNotFoundError:
        missing.append(tool)
        print(f"❌ {tool} 没有安装")

if missing:
    raise SystemExit('请在项目文件夹里运行：pip install -e ".[serve]" -c constraints.txt')

import peft  # noqa: E402  （装上了不等于能用：真的导入一次）
import transformers  # noqa: E402

print(f"✅ 安装成功！transformers {transformers.__version__}，peft {peft.__version__}")
