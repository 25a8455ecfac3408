"""Sounds without speech: the same for a seed, of the lengths asked for, and each kind what its name says."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from resonance_helpers import Workspace
from resonance_helpers.asr import vad
from resonance_helpers.asr.nonspeech import KINDS, SHORTEST_S, Sound, sounds
from resonance_helpers.audio import decode as audio
from resonance_helpers.audio import quality as clip_quality
from resonance_helpers.core.settings import OTHER_SOUNDS, SAMPLE_RATE, SPEECH_THRESHOLD
from resonance_helpers.dataset.index import load_utterances
from resonance_helpers.dataset.splits import split_utterances

LONGEST_S = 4.0
STEADY = {"silence", "white", "pink", "brown", "hum", "fan"}  # what the gate is made to refuse


@pytest.fixture(scope="module")
def clips() -> tuple[Sound, ...]:
    return sounds(300, LONGEST_S)


def test_all_kinds_in_turn_as_float32_within_full_scale(clips: tuple[Sound, ...]) -> None:
    assert Counter(clip.kind for clip in clips) == dict.fromkeys(KINDS, 30)
    assert all(clip.samples.dtype == np.float32 and np.abs(clip.samples).max() <= 1 for clip in clips)
    seconds = [len(clip.samples) / SAMPLE_RATE for clip in clips]
    assert min(seconds) >= SHORTEST_S and max(seconds) <= LONGEST_S and np.ptp(seconds) > 2


def test_a_seed_gives_the_same_clips_however_many_are_asked_for(clips: tuple[Sound, ...]) -> None:
    again, other = sounds(20, LONGEST_S), sounds(20, LONGEST_S, seed=18)
    for one, same, different in zip(clips, again, other, strict=False):
        assert np.array_equal(one.samples, same.samples)
        assert not np.array_equal(one.samples, different.samples) or not one.samples.any()


def test_no_two_clips_are_alike(clips: tuple[Sound, ...]) -> None:
    heard = [clip.samples.tobytes() for clip in clips if clip.samples.any()]
    assert len(set(heard)) == len(heard)


def test_the_colours_fall_as_their_names_say() -> None:
    """Energy above 1 kHz: almost all of white noise, about half of pink, almost none of brown."""
    share = {kind: [] for kind in ("white", "pink", "brown")}
    for clip in sounds(100, LONGEST_S):
        if clip.kind in share:
            power = np.abs(np.fft.rfft(clip.samples)) ** 2
            high = np.fft.rfftfreq(len(clip.samples), 1 / SAMPLE_RATE) > 1000
            share[clip.kind].append(power[high].sum() / power.sum())
    assert min(share["white"]) > 0.8 > max(share["pink"])
    assert min(share["pink"]) > 0.2 > 0.05 > max(share["brown"])


def test_levels_are_of_many_rooms(clips: tuple[Sound, ...]) -> None:
    for kind in ("silence", "white", "hum"):
        levels = [clip_quality.measure(clip.samples).rms_dbfs for clip in clips if clip.kind == kind]
        assert np.ptp(levels) > 20


# ── The speech gate ──────────────────────────────────────────────────────────
def test_the_gate_refuses_what_stays_level_and_says_how_much_else_it_lets_through(clips: tuple[Sound, ...]) -> None:
    passed = Counter(clip.kind for clip in clips if clip_quality.has_speech(clip.samples))
    assert not STEADY & set(passed)
    assert passed["clicks"] <= 2  # two that fall together may last as long as a syllable
    assert passed.total() < 0.3 * len(clips)


def test_the_gate_lets_the_sample_through(converted_sample: Workspace) -> None:
    heard = [clip_quality.has_speech(audio.read_wav(each.wav)) for each in load_utterances(converted_sample)]
    assert len(heard) == 120 and np.mean(heard) >= 0.99


def test_the_gate_does_not_depend_on_level_or_length(converted_sample: Workspace) -> None:
    """A word stays a word when it is said softly, or within ten seconds of a room's noise."""
    rng = np.random.default_rng(1)
    for each in load_utterances(converted_sample)[::6]:
        voice = audio.read_wav(each.wav)
        assert clip_quality.has_speech(voice * 10 ** (-20 / 20))
        room = 1e-3 * rng.standard_normal(10 * SAMPLE_RATE).astype(np.float32)
        assert not clip_quality.has_speech(room)
        room[SAMPLE_RATE : SAMPLE_RATE + len(voice)] += voice
        assert clip_quality.has_speech(room)


@pytest.mark.real
@pytest.mark.parametrize(("speaker", "n"), [("healthy_speaker", 40), ("impaired_speaker", 240)])
def test_the_gate_lets_real_voices_through(shared_speech: Path, speaker: str, n: int) -> None:
    folder = shared_speech / speaker
    entries = json.loads((folder / "labels.json").read_text(encoding="utf-8"))
    heard = [clip_quality.has_speech(audio.load(folder / entry["audio"], 60.0)) for entry in entries]
    assert len(heard) == n and np.mean(heard) >= 0.99


# ── And a voice? The whole gate, with a bar for each person ──────────────────
def test_of_three_hundred_sounds_six_at_most_pass_for_a_voice() -> None:
    clips = sounds(OTHER_SOUNDS, 6.0, seed=5)  # the bar was chosen on those of seed 17
    passes = vad.is_speech([clip.samples for clip in clips], SPEECH_THRESHOLD)
    assert sum(passes) <= 6, Counter(clip.kind for clip, passed in zip(clips, passes, strict=True) if passed)


def test_nobody_is_shut_out_by_the_bar_that_their_recordings_set(converted_sample: Workspace) -> None:
    split = split_utterances(load_utterances(converted_sample), 17)
    bar = vad.speaker_threshold([audio.read_wav(each.wav) for each in split.train])
    assert 0 < bar < SPEECH_THRESHOLD  # Silero hardly takes espeak's voice for one
    own = [audio.read_wav(each.wav) for each in (*split.train, *split.seen, *split.unseen)]
    assert np.mean(vad.is_speech(own, bar)) >= 0.98


@pytest.mark.real
def test_the_bar_of_a_real_voice_holds_on_another_day(shared_speech: Path) -> None:
    folder = shared_speech / "impaired_speaker"
    entries = json.loads((folder / "labels.json").read_text(encoding="utf-8"))
    train, test = [
        [audio.load(folder / e["audio"], 60.0) for e in entries if e["split"] == split][::3]
        for split in ("train", "test")
    ]
    bar = vad.speaker_threshold(train)
    assert bar == SPEECH_THRESHOLD
    assert np.mean(vad.is_speech(test, bar)) >= 0.98


@pytest.mark.parametrize("length", [0, 1, 511, 512, 1025])
def test_the_detector_takes_any_length(length: int) -> None:
    (alone,) = vad.speech_probability([np.zeros(length, np.float32)])
    longer = np.random.default_rng(1).standard_normal(9000).astype(np.float32)
    assert 0 <= alone < SPEECH_THRESHOLD
    assert vad.speech_probability([longer, np.zeros(length, np.float32)])[1] == pytest.approx(alone, abs=1e-4)
    assert vad.speech_probability([]) == []


def test_the_detector_leaves_torch_its_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("silero_vad")]:
        monkeypatch.delitem(sys.modules, name)  # what spoils the threads is its first import
    vad._detector.cache_clear()
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    vad.speech_probability([np.zeros(512, np.float32)])
    found = torch.get_num_threads()
    torch.set_num_threads(threads)
    assert found == 2


@pytest.mark.parametrize("length", [0, 1, 399, 400])
def test_the_gate_takes_any_length(length: int) -> None:
    assert clip_quality.has_speech(np.zeros(length, np.float32)) is False
