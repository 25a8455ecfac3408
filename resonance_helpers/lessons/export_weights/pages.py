"""The two pages of an export, each in both languages: how to use it without this project, and what it was made from.

Neither names a person, quotes a recording or knows a path of this machine.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from string import Template
from typing import Any

from ...asr.manifest import Manifest
from ...core.messages import LANGUAGES, Language, ResonanceError, message
from ...core.settings import MAX_NEW_TOKENS, PRACTICE_MODEL, SAMPLE_RATE
from ...core.workspace import Workspace, read_json
from ...dataset.consent import PURPOSES, read_consent

_COMMIT = re.compile(r"[0-9a-f]{40}")
_TRAINED = ("recordings", "phrases", "audio_seconds", "steps", "wall_seconds")  # of a report, as in the manifest

# A test takes it out of a bundle and runs it.
SCRIPT = Template(
    """\
import sys
from pathlib import Path
import librosa, torch
from peft import PeftModel
from transformers import WhisperForConditionalGeneration, WhisperProcessor

recording, base_model = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else $base_model
adapter = str(Path(__file__).parent)
processor = WhisperProcessor.from_pretrained(adapter)
model = WhisperForConditionalGeneration.from_pretrained(base_model, revision="$revision", dtype=torch.float32)
model = PeftModel.from_pretrained(model, adapter).eval()
sound, rate = librosa.load(recording, sr=$sample_rate)
features = processor(sound, sampling_rate=rate, return_tensors="pt").input_features
tokens = model.generate(input_features=features, language="$language", task="transcribe", max_new_tokens=$tokens)
print(processor.batch_decode(tokens, skip_special_tokens=True)[0].strip())
"""
)

# Of whole models; a test takes them out of their README.md and runs them.
MERGED_SCRIPT = Template(
    """\
import sys
from pathlib import Path
import librosa
from transformers import WhisperForConditionalGeneration, WhisperProcessor

folder = str(Path(__file__).parent)
processor = WhisperProcessor.from_pretrained(folder)
model = WhisperForConditionalGeneration.from_pretrained(folder).eval()
sound, rate = librosa.load(sys.argv[1], sr=$sample_rate)
features = processor(sound, sampling_rate=rate, return_tensors="pt").input_features
tokens = model.generate(features)  # language, task and a bound on the tokens stand in generation_config.json
print(processor.batch_decode(tokens, skip_special_tokens=True)[0].strip())
"""
)
CT2_SCRIPT = Template(
    """\
import sys
from pathlib import Path
import numpy as np
from faster_whisper import WhisperModel, decode_audio

sound = decode_audio(sys.argv[1], sampling_rate=$sample_rate)
# faster-whisper fills a short recording up with what is no silence, and then hears other words: so do it beforehand
sound = np.pad(sound, (0, max(0, $window * $sample_rate - len(sound))))
model = WhisperModel(str(Path(__file__).parent), device="cpu", compute_type="$numbers")
how = dict(language="$language", beam_size=1, temperature=0, max_new_tokens=$tokens, without_timestamps=True)
segments, _ = model.transcribe(sound, no_speech_threshold=None, condition_on_previous_text=False, **how)
print("".join(segment.text for segment in segments).strip())
"""
)


def readme(manifest: Manifest) -> str:
    """README.md of the bundle: what it is, what it needs, and the script that uses it."""
    base, revision = manifest.base_model["name"], manifest.base_model.get("revision", "")
    facts = {"patient": manifest.patient_id, "base_model": base, "revision": revision}
    script = SCRIPT.substitute(
        base_model=json.dumps(base, ensure_ascii=False),  # quoted, whatever is in it
        revision=revision if _COMMIT.fullmatch(revision) else "main",  # a folder that somebody named has no commit
        language=manifest.language,
        sample_rate=SAMPLE_RATE,
        tokens=MAX_NEW_TOKENS,
    )
    practice = [message("export.readme.practice", lang) for lang in LANGUAGES if base == PRACTICE_MODEL]
    said = [message("export.readme", lang, **facts).strip() for lang in LANGUAGES]
    return "\n\n".join([f"# {manifest.patient_id}-adapter", *practice, *said, f"```python\n{script}```"]) + "\n"


def readme_of_merged(manifest: Manifest, kind: str, window_s: float) -> str:
    """README.md of a whole model that listens at ``window_s``: what it is, at which window, and the script for it."""
    base = manifest.base_model["name"]
    is_merged = kind == "merged"
    facts = {"patient": manifest.patient_id, "base_model": base, "revision": manifest.base_model.get("revision", "")}
    script = (MERGED_SCRIPT if is_merged else CT2_SCRIPT).substitute(
        language=manifest.language,
        sample_rate=SAMPLE_RATE,
        tokens=MAX_NEW_TOKENS,
        window=f"{window_s:g}",
        numbers=kind.removeprefix("ct2-"),
    )
    practice = [message("export.whole.practice", lang, window=f"{window_s:g}") for lang in LANGUAGES]
    said = []
    for lang in LANGUAGES:
        use = message("export.whole.use.merged" if is_merged else "export.whole.use.ct2", lang)
        window = _window_note(manifest, window_s, lang)
        said.append(message("export.whole.readme", lang, use=use, window=window, **facts).strip())
    head = [f"# {manifest.patient_id}-{kind}", *(practice if base == PRACTICE_MODEL else [])]
    return "\n\n".join([*head, *said, f"```python\n{script}```"]) + "\n"


def _window_note(manifest: Manifest, window_s: float, lang: Language) -> str:
    key = "export.whole.window.other" if manifest.window_s != window_s else "export.whole.window.same"
    return message(key, lang, trained=f"{manifest.window_s:g}", window=f"{window_s:g}")


def model_card(
    workspace: Workspace, manifest: Manifest, brought: bytes | None = None, kind: str = "adapter", window_s: float = 0.0
) -> str:
    """MODEL_CARD.md of the bundle, or of a whole model of ``kind`` that listens at ``window_s``.

    ``brought`` is the card that an imported adapter came with: where no test of this adapter is known here, what was
    known there stays.
    """
    splits = _scores(workspace, manifest)
    card = (
        brought.decode(errors="replace") if not splits and brought is not None else _card(workspace, manifest, splits)
    )
    if kind == "adapter":
        return card
    library = "transformers" if kind == "merged" else "ctranslate2"
    card = card.replace('library_name: "peft"', f'library_name: "{library}"', 1)
    card = card.replace(f"# {manifest.patient_id}-adapter", f"# {manifest.patient_id}-{kind}", 1)
    notes = [message("export.whole.card", lang, note=_window_note(manifest, window_s, lang)) for lang in LANGUAGES]
    return "\n\n".join([card.rstrip(), *notes]) + "\n"


def _card(workspace: Workspace, manifest: Manifest, splits: Mapping[str, Any]) -> str:
    head = {
        "base_model": manifest.base_model["name"],
        "library_name": "peft",
        "pipeline_tag": "automatic-speech-recognition",
        "language": manifest.language,
        "license": "other",
    }
    front = "\n".join(["---", *(f"{key}: {json.dumps(value)}" for key, value in head.items()), "---"])
    pages = [_card_in(lang, workspace, manifest, splits) for lang in LANGUAGES]
    return "\n\n".join([front, f"# {manifest.patient_id}-adapter", *pages]) + "\n"


def _card_in(lang: Language, workspace: Workspace, manifest: Manifest, splits: Mapping[str, Any]) -> str:
    scores = [_score_line(lang, name, split) for name, split in splits.items() if split]
    return message(
        "export.card",
        lang,
        base_model=manifest.base_model["name"],
        revision=manifest.base_model.get("revision", ""),
        weights=manifest.base_model["tensors_sha256"][:12],
        date=manifest.time[:10],
        recordings=manifest.recordings,
        phrases=manifest.phrases,
        minutes=f"{manifest.audio_seconds / 60:.1f}",
        steps=manifest.steps,
        window_s=f"{manifest.window_s:g}",
        data=message("export.card.data.synthetic" if workspace.is_sample else "export.card.data.person", lang),
        scores="\n".join(f"- {line}" for line in scores or [message("export.card.score.none", lang)]),
        consent=_consent(lang, workspace),
    ).strip()


def _scores(workspace: Workspace, manifest: Manifest) -> dict[str, Any]:
    """The two scores of the report, if there is one and it is of this very training."""
    if not workspace.report_json.is_file():
        return {}
    report = read_json(workspace.report_json, "splits", "train")
    trained = {name: getattr(manifest, name) for name in _TRAINED}
    return report["splits"] if report["train"] == trained else {}


def _score_line(lang: Language, name: str, split: Mapping[str, Any]) -> str:
    shares = {
        f"{rate}_{when}": f"{split[when][rate]:.0%}（{_between(split[when][f'{rate}_ci'])}）"
        if lang == "zh"
        else f"{split[when][rate]:.0%} ({_between(split[when][f'{rate}_ci'])})"
        for when in ("before", "after")
        for rate in ("exact", "cer")
    }
    return message(f"export.card.score.{name}", lang, n=split["n"], **shares)


def _between(interval: tuple[float, float]) -> str:
    low, high = interval
    return f"{low:.0%}–{high:.0%}"


def _consent(lang: Language, workspace: Workspace) -> str:
    if workspace.is_sample:
        return message("export.card.consent.sample", lang)
    try:
        given = read_consent(workspace.consent)
    except ResonanceError:
        return message("export.card.consent.none", lang)
    known = [message(f"consent.purpose.{each}", lang) for each in given.purposes if each in PURPOSES]
    return message("export.card.consent", lang, date=given.date, purposes=" · ".join(known))
