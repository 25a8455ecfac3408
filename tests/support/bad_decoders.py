"""Decoder processes that fail in some way. They import little, so that they start soon."""

from __future__ import annotations

import os
import signal
import struct
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from resonance_helpers.audio import decode as audio
from resonance_helpers.service import decoding


def hang(pipe: Connection, _: float) -> None:
    pipe.send_bytes(b"hello")
    while True:
        if pipe.recv_bytes():
            pipe.send_bytes(b"taken")
            time.sleep(600)
        pipe.send_bytes(b"taken")
        pipe.send_bytes(decoding._answer(b"", 1.0))


def half_an_answer(pipe: Connection, _: float) -> None:
    pipe.send_bytes(b"hello")
    pipe.recv_bytes()
    pipe.send_bytes(b"taken")
    os.write(pipe.fileno(), struct.pack("!i", 1000) + b"samples:")  # the length that comes before a message
    os.kill(os.getpid(), signal.SIGSTOP)


def nonsense(pipe: Connection, _: float) -> None:
    pipe.send_bytes(b"hello")
    pipe.recv_bytes()
    pipe.send_bytes(b"taken")
    pipe.send_bytes(b"r{}")
    pipe.recv_bytes()


def die_once(mark: Path, pipe: Connection, max_audio_s: float) -> None:
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    decoding._serve(pipe, max_audio_s)


def serve_greedily(share: float, pipe: Connection, max_audio_s: float) -> None:
    real = audio.load

    def greedy(*args: Any, **names: Any) -> np.ndarray:
        assert np.ones(round(share * decoding.MEMORY / 8)).any()
        return real(*args, **names)

    audio.load = greedy
    decoding._serve(pipe, max_audio_s)
