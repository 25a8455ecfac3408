"""第四步 · 上传录音：检查文件夹和 labels.json 是不是对得上。运行：DATA_DIR=数据目录 python step04_check_data.py"""

import json
import os
from collections import Counter
from pathlib import Path

DATA_DIR = Path(os.environ.get("DATA_DIR", "/root/data"))  # 里面有 labels.json 和 audio/ 或 audio_raw/

try:
    records = json.loads((DATA_DIR / "labels.json").read_text(encoding="utf-8-sig"))  # 记事本会在开头加 BOM
except FileNotFoundError:
    raise SystemExit(f"❌ {DATA_DIR} 里没有 labels.json") from None
except json.JSONDecodeError as error:
    raise SystemExit(f"❌ labels.json 第 {error.lineno} 行第 {error.colno} 列写错了：{error.msg}") from None

files = [path for folder in ("audio", "audio_raw") for path in sorted((DATA_DIR / folder).glob("[!.]*"))]
recordings = {path.stem: path for path in files if path.name != "conversion.json"}  # 后缀不限，内容才算数
named = [Path(record["audio"]).stem for record in records]
problems = [f"labels.json 写了，但找不到录音：{stem}" for stem in named if stem not in recordings]
problems += [f"有录音，但 labels.json 没有写：{path.name}" for stem, path in recordings.items() if stem not in named]
problems += [f"同一个录音写了 {n} 次：{stem}" for stem, n in Counter(named).items() if n > 1]
problems += [f"没有写文字：{record['audio']}" for record in records if not record["text"].strip()]

phrases = {record["text"].strip() for record in records}
print(f"{len(records)} 条标注，{len(phrases)} 个短语，{len(recordings)} 个录音文件")
for problem in problems:
    print("❌", problem)
if problems:
    raise SystemExit(1)
print("✅ 录音和文字全部对得上")
