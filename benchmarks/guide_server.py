"""The guide's step nine, changed only as far as today's libraries force: the yardstick of ``make bench-service``.

    python benchmarks/guide_server.py --base-model FOLDER --adapter FOLDER --port 8000

Kept: one model, one adapter, 30 s of padding for every clip, the bare ``model.generate(**inputs)``, which finds out by
itself what language it is, and a handler that holds the event loop while the model computes. Changed, and why:

- ``dtype``: today's ``from_pretrained`` takes the precision of the file, the guide's took float32;
- the folders, the port and the threads (``OMP_NUM_THREADS``) come from the command line and the environment.
"""

from __future__ import annotations

import argparse
import io

import soundfile as sf
import torch
import uvicorn
from fastapi import FastAPI, UploadFile
from peft import PeftModel
from transformers import WhisperForConditionalGeneration, WhisperProcessor


def create_app(base_model: str, adapter: str) -> FastAPI:
    """The guide's application with the adapter in the folder ``adapter`` on ``base_model``."""
    app = FastAPI()
    processor = WhisperProcessor.from_pretrained(adapter)
    base = WhisperForConditionalGeneration.from_pretrained(base_model, dtype=torch.float32)
    model = PeftModel.from_pretrained(base, adapter)
    model.eval()

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/transcribe")
    async def transcribe(file: UploadFile) -> dict[str, str]:
        data = await file.read()
        audio, _ = sf.read(io.BytesIO(data))
        inputs = processor(audio, sampling_rate=16000, return_tensors="pt")
        with torch.no_grad():
            ids = model.generate(**inputs)
        text = processor.batch_decode(ids, skip_special_tokens=True)[0]
        return {"text": text}

    return app


def main() -> None:
    """Read the command line and serve until Ctrl + C."""
    parser = argparse.ArgumentParser(description="The guide's server, repaired.")
    parser.add_argument("--base-model", required=True)
    parser.add_argument("--adapter", required=True)
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args()
    uvicorn.run(create_app(options.base_model, options.adapter), host="127.0.0.1", port=options.port)


if __name__ == "__main__":
    main()
