"""第五步 · 转换音频：指南里的 convert_audio.py，改到手机录的 m4a 也能读。

运行：DATA_DIR=数据目录 python step05_convert.py
"""

import os
from pathlib import Path

import av
import numpy as np
import soundfile as sf

DATA_DIR = Path(os.environ.get("DATA_DIR", "/root/data"))
INPUT, OUTPUT = DATA_DIR / "audio_raw", DATA_DIR / "audio"  # 原始录音，转换结果
RATE = 16000  # Whisper 只认每秒 16000 个采样点
AUDIO = {".wav", ".mp3", ".m4a", ".ogg", ".opus", ".flac", ".aac", ".amr", ".webm"}


def decode(path: Path) -> np.ndarray:  # 任何格式、任何采样率 → 单声道 16 kHz 的一串整数
    resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
    with av.open(str(path)) as file:
        frames = [piece for frame in file.decode(audio=0) for piece in resampler.resample(frame)]
    frames += resampler.resample(None)  # 把还留在里面的最后一点取出来
    return np.concatenate([frame.to_ndarray().ravel() for frame in frames])


OUTPUT.mkdir(exist_ok=True)
left_out = 0
for path in sorted(p for p in INPUT.iterdir() if p.suffix.lower() in AUDIO):
    target = OUTPUT / (path.stem.replace(" ", "_") + ".wav")  # 文件名里的空格换成下划线
    if target.exists():  # 从不覆盖：已经转换过，或者有两个录音同名
        print(f"⏭️ 已经有了，跳过：{target.name}")
        continue
    try:
        sf.write(target, decode(path), RATE, subtype="PCM_16")
        print(f"✅ {path.name} → {target.name}")
    except (av.FFmpegError, ValueError) as error:  # 一个坏文件不该让其他的也停下
        left_out += 1
        print(f"❌ 读不了，跳过：{path.name}（{error}）")
print(f"转换完成，跳过 {left_out} 个。原始录音没有改动。")
