"""第八步 · 导出权重：看看文件夹里有什么、多大，再打成一个 zip。运行：python step08_files.py"""

import hashlib
import os
import zipfile
from pathlib import Path

MODEL_DIR = Path(os.environ.get("OUTPUT_DIR", "/root/lora_output"))
ZIP = MODEL_DIR.with_suffix(".zip")
NEEDED = ("adapter_model.safetensors", "adapter_config.json")  # 缺一个都不能用

for name in NEEDED:
    if not (MODEL_DIR / name).is_file():
        raise SystemExit(f"❌ {MODEL_DIR} 里没有 {name}，请先运行第六步。")

files = sorted(path for path in MODEL_DIR.iterdir() if path.is_file())  # checkpoints/ 不用带走
with zipfile.ZipFile(ZIP, "w", zipfile.ZIP_DEFLATED) as bundle:
    for path in files:
        bundle.write(path, path.name)
        print(f"{path.stat().st_size / 1e6:8.2f} MB  {path.name}")

print(f"{ZIP.stat().st_size / 1e6:8.2f} MB  {ZIP}")
print(f"SHA-256：{hashlib.sha256(ZIP.read_bytes()).hexdigest()}")  # 下载后再算一次，一样才算没有损坏
