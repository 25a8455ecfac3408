"""The practice model's own vocabulary and features: Whisper's, cut down to common Chinese and a short window.

Whisper's byte-level vocabulary spends two or three tokens on many Chinese characters. Here every listed character is
one token, built without training: merge the first two bytes of a character, then add the third.
"""

from __future__ import annotations

from tokenizers import AddedToken
from transformers import WhisperFeatureExtractor, WhisperProcessor, WhisperTokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode

WINDOW_S = 4  # seconds of sound the encoder sees
N_MELS = 80
LANGUAGES = ("en", "zh", "yue", "ja")
END = "<|endoftext|>"
SPECIAL_TOKENS = [
    END,
    "<|startoftranscript|>",
    *(f"<|{language}|>" for language in LANGUAGES),
    "<|translate|>",
    "<|transcribe|>",
    "<|startoflm|>",
    "<|startofprev|>",
    "<|nospeech|>",
    "<|notimestamps|>",
]
TIMESTAMPS = [f"<|{0.02 * step:.2f}|>" for step in range(WINDOW_S * 50 + 1)]  # every 20 ms, as in Whisper


def build_processor(characters: str) -> WhisperProcessor:
    """Return a processor with a `WINDOW_S` second window in which each of `characters` is one token."""
    byte_symbol = bytes_to_unicode()
    symbols = ["".join(byte_symbol[byte] for byte in character.encode()) for character in characters]
    prefixes = list(dict.fromkeys(symbol[:2] for symbol in symbols))
    merges = [(prefix[0], prefix[1]) for prefix in prefixes] + [(symbol[:2], symbol[2]) for symbol in symbols]
    tokens = [*byte_symbol.values(), *prefixes, *symbols]
    tokenizer = WhisperTokenizer(
        vocab={token: index for index, token in enumerate(tokens)},
        merges=merges,
        pad_token=END,
        additional_special_tokens=SPECIAL_TOKENS[1:],
        language="zh",
        task="transcribe",
        model_max_length=64,
    )
    tokenizer.add_tokens([AddedToken(stamp, normalized=False, special=False) for stamp in TIMESTAMPS])
    tokenizer.set_prefix_tokens(language="zh", task="transcribe", predict_timestamps=False)
    features = WhisperFeatureExtractor(feature_size=N_MELS, chunk_length=WINDOW_S)
    return WhisperProcessor(features, tokenizer)


def generation_settings(tokenizer: WhisperTokenizer) -> dict:
    """Return what `generation_config.json` must hold for `generate(language="zh", task="transcribe")`."""
    token_id = tokenizer.convert_tokens_to_ids
    text_free = [token for token in SPECIAL_TOKENS if token != END]  # never part of an answer
    return {
        "bos_token_id": token_id(END),
        "eos_token_id": token_id(END),
        "pad_token_id": token_id(END),
        "decoder_start_token_id": token_id("<|startoftranscript|>"),
        "no_timestamps_token_id": token_id("<|notimestamps|>"),
        "prev_sot_token_id": token_id("<|startofprev|>"),
        "lang_to_id": {f"<|{language}|>": token_id(f"<|{language}|>") for language in LANGUAGES},
        "task_to_id": {task: token_id(f"<|{task}|>") for task in ("transcribe", "translate")},
        "is_multilingual": True,
        "return_timestamps": False,
        "max_initial_timestamp_index": 50,
        "max_length": 32,
        "suppress_tokens": sorted(token_id(text_free)),
        "begin_suppress_tokens": [token_id(bytes_to_unicode()[ord(" ")]), token_id(END)],
    }
