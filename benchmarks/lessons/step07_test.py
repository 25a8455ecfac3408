"""第七步 · 测试模型：指南里的 test.py，多了「训练前」，也限制了答案的长度。运行：python step07_test.py"""

import os

import soundfile as sf
import torch
from peft import PeftModel
from transformers import WhisperForConditionalGeneration, WhisperProcessor

MODEL_DIR = os.environ.get("OUTPUT_DIR", "/root/lora_output")
BASE_MODEL = os.environ.get("BASE_MODEL", "openai/whisper-small")
# 换成一条没有用来训练的录音：指南这里写的是训练用过的 001_我想喝水.wav，成绩会偏高
TEST_AUDIO = os.environ.get("TEST_AUDIO", "/root/data/audio/001_我想喝水_3.wav")

processor = WhisperProcessor.from_pretrained(MODEL_DIR)
base_model = WhisperForConditionalGeneration.from_pretrained(BASE_MODEL, dtype=torch.float32)
model = PeftModel.from_pretrained(base_model, MODEL_DIR)
model.eval()

audio, rate = sf.read(TEST_AUDIO, dtype="float32")
inputs = processor(audio, sampling_rate=rate, return_tensors="pt")  # 采样率不对会报错，而不是悄悄听错


def listen() -> str:
    with torch.no_grad():  # 给定语言；限制字数，否则没把握时会没完没了地重复
        ids = model.generate(**inputs, language="zh", task="transcribe", max_new_tokens=25)
    return processor.batch_decode(ids, skip_special_tokens=True)[0].strip()


with model.disable_adapter():
    print(f"训练前：{listen()}")
print(f"训练后：{listen()}")
