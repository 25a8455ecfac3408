"""第九步 · 部署服务：指南里的 server.py，加上密钥、任意音频格式，并且一次只算一条。运行：python step09_server.py"""

import io
import os
import secrets
from threading import Lock

import av
import numpy as np
import torch
import uvicorn
from fastapi import FastAPI, Header, HTTPException, UploadFile
from peft import PeftModel
from transformers import WhisperForConditionalGeneration, WhisperProcessor

MODEL_DIR = os.environ.get("OUTPUT_DIR", "/root/lora_output")
BASE_MODEL = os.environ.get("BASE_MODEL", "openai/whisper-small")
PORT = int(os.environ.get("PORT", 8000))
TOKEN = os.environ.get("TOKEN") or secrets.token_urlsafe(16)  # 没有密钥，谁都能用这个人的声音模型

processor = WhisperProcessor.from_pretrained(MODEL_DIR)
base = WhisperForConditionalGeneration.from_pretrained(BASE_MODEL, dtype=torch.float32)
model = PeftModel.from_pretrained(base, MODEL_DIR).eval()
one_at_a_time = Lock()  # 两条录音同时用一个模型，答案会串
app = FastAPI()


def decode(data: bytes) -> np.ndarray:
    """手机发来的 m4a、webm 都行，统一变成 16 kHz 单声道。"""
    to_16k = av.AudioResampler(format="flt", layout="mono", rate=16000)
    with av.open(io.BytesIO(data)) as container:
        frames = [out for frame in container.decode(audio=0) for out in to_16k.resample(frame)]
    frames += to_16k.resample(None)
    return np.concatenate([frame.to_ndarray()[0] for frame in frames])


@app.get("/health")
def health() -> dict:
    return {"status": "ok"}


@app.post("/transcribe")
def transcribe(file: UploadFile, authorization: str = Header("")) -> dict:
    if not secrets.compare_digest(authorization.encode(), f"Bearer {TOKEN}".encode()):
        raise HTTPException(401, "密钥不对")
    inputs = processor(decode(file.file.read()), sampling_rate=16000, return_tensors="pt")
    with one_at_a_time, torch.no_grad():
        ids = model.generate(**inputs, language="zh", task="transcribe", max_new_tokens=25)
    return {"text": processor.batch_decode(ids, skip_special_tokens=True)[0].strip()}


if __name__ == "__main__":
    print(f"密钥：{TOKEN}")
    uvicorn.run(app, host="127.0.0.1", port=PORT)  # 只有这台机器能访问；按 Ctrl+C 停止
