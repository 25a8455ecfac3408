"""Lesson 10: an app is a POST with a file. This is that app, with an error for each way in which it can fail."""

from .address import app_address, qr_svg, read_key
from .calls import ResonanceClient, Retries, Transcript
from .diagnosis import CheckStep, check_service

__all__ = [
    "CheckStep",
    "ResonanceClient",
    "Retries",
    "Transcript",
    "app_address",
    "check_service",
    "qr_svg",
    "read_key",
]
