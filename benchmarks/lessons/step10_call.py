"""第十步 · 连接 App：任何 App 要做的只有这一件事。运行：TOKEN=密钥 python step10_call.py"""

import os
from pathlib import Path

import httpx

ADDRESS = os.environ.get("ADDRESS", "http://127.0.0.1:8000/transcribe")  # 换成你的服务地址，末尾是 /transcribe
TOKEN = os.environ.get("TOKEN", "")  # 服务启动时显示的密钥
RECORDING = os.environ.get("TEST_AUDIO", "/root/data/audio/001_我想喝水_3.wav")

answer = httpx.post(
    ADDRESS,
    files={"file": ("recording", Path(RECORDING).read_bytes())},  # 文件名里往往写着那句话，不发出去
    headers={"Authorization": f"Bearer {TOKEN}"},
    timeout=60,
)

if answer.status_code == 401:
    raise SystemExit("❌ 密钥不对：请从服务的启动信息里重新复制。")
answer.raise_for_status()
print(f"识别结果：{answer.json()['text']}")
