"""Speech recognition for one person: base models, Whisper with an adapter, windows, rescoring, VAD, augmentation."""
