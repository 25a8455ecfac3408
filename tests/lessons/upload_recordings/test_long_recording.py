"""One long recording: every sample belongs to a stretch, phrases are found whole, the pairing is put right, and what
is saved is what was confirmed, once."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sounds import encoded, snapshot, voice, wav

from resonance_helpers import ResonanceError, Workspace
from resonance_helpers.audio import decode as audio
from resonance_helpers.audio import quality as clip_quality
from resonance_helpers.audio.decode import read_wav
from resonance_helpers.audio.segment import CutOptions, Stretch, pause_for, split_at_pauses
from resonance_helpers.core.settings import SAMPLE_RATE
from resonance_helpers.dataset.index import Recordings
from resonance_helpers.dataset.labels import read_labels
from resonance_helpers.lessons.upload_recordings import long_recording
from resonance_helpers.lessons.upload_recordings.long_recording import LongRecording, Pairing, pair

Span = tuple[int, int]
NOISE = np.random.default_rng(5).normal(0, 1, 1 << 20).astype(np.float32)


def read_aloud(clips: list[np.ndarray], gaps: list[float], noise_db: float = -60.0) -> tuple[np.ndarray, list[Span]]:
    """``clips`` with ``gaps`` seconds before, between and after them in a room with noise; where each one lies."""
    parts, spans, position = [], [], 0
    for gap, clip in zip(gaps, [*clips, np.zeros(0, np.float32)], strict=True):
        position += round(gap * SAMPLE_RATE)
        parts += [np.zeros(round(gap * SAMPLE_RATE), np.float32), clip]
        spans.append((position, position + len(clip)))
        position += len(clip)
    samples = np.concatenate(parts)
    return samples + np.resize(NOISE, len(samples)) * np.float32(10 ** (noise_db / 20)), spans[:-1]


def said(seconds: float = 1.5, pitch: float = 180.0, level: float = 0.4) -> np.ndarray:
    """A phrase without quiet ends."""
    return voice(seconds + 0.2, SAMPLE_RATE, pitch, level)[1600:-1600]


def spoken(samples: np.ndarray, options: CutOptions | None = None) -> list[Stretch]:
    return [stretch for stretch in split_at_pauses(samples, options or CutOptions()) if stretch.kind == "speech"]


def right(pieces: list[Stretch], spans: list[Span]) -> int:
    """How many phrases lie whole in a piece of their own. A tenth of a second at an end is the quiet of the clip."""
    slack = SAMPLE_RATE // 10
    inside = [[n for n, (a, b) in enumerate(spans) if p.start < b - slack and p.stop > a + slack] for p in pieces]
    alone = [(p, spans[held[0]]) for p, held in zip(pieces, inside, strict=True) if len(held) == 1]
    return sum(p.start <= a + slack and p.stop >= b - slack for p, (a, b) in alone)


# ── Cutting ──────────────────────────────────────────────────────────────────
def test_every_phrase_is_one_piece_with_quiet_around_it() -> None:
    samples, spans = read_aloud([said(1.4), said(0.8, 140), said(2.0, level=0.1)], [1.0, 2.0, 1.6, 3.0])
    pieces = spoken(samples)
    assert right(pieces, spans) == len(pieces) == 3
    for piece, (start, stop) in zip(pieces, spans, strict=True):
        assert 0.1 < (start - piece.start) / SAMPLE_RATE < 0.4
        assert 0.1 < (piece.stop - stop) / SAMPLE_RATE < 0.4


@settings(max_examples=40)
@given(
    gaps=st.lists(st.floats(0.0, 3.0), min_size=2, max_size=6),
    seconds=st.lists(st.floats(0.02, 2.0), min_size=5, max_size=5),
    pause=st.floats(0.3, 3.0),
    odd=st.integers(0, 399),
)
def test_no_sample_is_lost(gaps: list[float], seconds: list[float], pause: float, odd: int) -> None:
    samples, _ = read_aloud([said(s) for s in seconds[: len(gaps) - 1]], gaps)
    samples = np.concatenate([samples, NOISE[:odd] * np.float32(1e-3)])
    stretches = split_at_pauses(samples, CutOptions(pause_s=pause))
    assert [0, *(each.stop for each in stretches)] == [*(each.start for each in stretches), len(samples)]
    assert all(each.stop > each.start for each in stretches)
    assert all(a.kind != b.kind for a, b in pairwise(stretches) if a.kind != "speech")


@pytest.mark.parametrize("samples", [np.zeros(0), np.zeros(80_000), NOISE[:160_000] * 0.05])
def test_where_nobody_speaks_there_are_no_pieces(samples: np.ndarray) -> None:
    assert not spoken(samples.astype(np.float32))
    assert pause_for(samples.astype(np.float32), 5) is None


def test_a_rest_inside_a_phrase_is_left_alone_and_a_longer_one_is_adjustable() -> None:
    samples, _ = read_aloud([said(0.8), said(0.9), said(1.0)], [1.0, 1.0, 2.2, 1.0])
    assert len(spoken(samples)) == 2
    assert len(spoken(samples, CutOptions(pause_s=0.8))) == 3
    assert len(spoken(samples, CutOptions(pause_s=3.0))) == 1


def test_a_click_hides_no_pause_and_is_named() -> None:
    samples, spans = read_aloud([said(), said()], [1.0, 2.0, 1.0])
    middle = (spans[0][1] + spans[1][0]) // 2
    samples[middle : middle + 800] += said(1.0)[2000:2800]
    stretches = split_at_pauses(samples)
    assert [each.kind for each in stretches] == ["quiet", "speech", "click", "speech", "quiet"]
    assert stretches[2].start < middle < stretches[2].stop


def test_a_slammed_door_hides_no_soft_phrase() -> None:
    soft = [said(level=0.01) for _ in range(8)]
    samples, spans = read_aloud(soft, [2.0] * 9, noise_db=-75)
    samples[3000:5400] += NOISE[:2400] * 0.5  # 0.15 s
    assert right(spoken(samples), spans) == 8


def test_the_pause_for_as_many_pieces_as_there_are_phrases() -> None:
    clips, gaps = [said(0.8)] * 6, [1.0, 2.0, 1.5, 2.0, 1.5, 2.0, 1.0]  # three phrases, each with a rest of 1.5 s
    samples, _ = read_aloud([said(), *clips[:5]], gaps)
    pause = pause_for(samples, 4)
    assert pause is not None and len(spoken(samples, CutOptions(pause_s=pause))) == 4
    assert pause_for(samples, 7) is None and pause_for(samples, 1) is None
    nearly, _ = read_aloud([said(0.8)] * 3, [1.0, 1.5, 1.525, 1.0])
    close = pause_for(nearly, 2)
    assert close is not None and len(spoken(nearly, CutOptions(pause_s=close))) == 2


@pytest.mark.parametrize("options", [{"pause_s": 0.0}, {"pause_s": float("nan")}, {"margin_s": 9.0}])
def test_options_that_make_no_sense_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ResonanceError, match="RZ-0001"):
        CutOptions(**options)


@pytest.mark.real
def test_forty_phrases_of_a_real_impaired_voice_come_out_whole(shared_speech: Path) -> None:
    """Phrases 1.5–3 s apart in a noisy room, a third of them with a hesitation of a second inside."""
    rng = np.random.default_rng(11)
    clips = []
    for path in sorted((shared_speech / "impaired_speaker" / "audio_raw").iterdir())[:80:2]:
        samples = audio.load(path, 30)
        levels = clip_quality.frame_levels(samples)
        sound = np.flatnonzero(clip_quality.stands_out(levels))
        first, last = max(0, sound[0] - 2), sound[-1] + 3
        quarter = (last - first) // 4
        middle = first + quarter + int(np.argmin(levels[first + quarter : last - quarter]))
        rest = np.zeros(SAMPLE_RATE if rng.random() < 1 / 3 else 0, np.float32)
        clips.append(np.concatenate([samples[first * 400 : middle * 400], rest, samples[middle * 400 : last * 400]]))
    recording, spans = read_aloud(clips, [1.0, *rng.uniform(1.5, 3.0, len(clips))], noise_db=-50)
    pieces = spoken(recording)
    assert right(pieces, spans) >= 39 and len(pieces) <= 41
    better = pause_for(recording, len(clips))
    assert better is not None and right(spoken(recording, CutOptions(pause_s=better)), spans) >= 39


# ── Pairing ──────────────────────────────────────────────────────────────────
PHRASES = ("我很疼", "不要", "我想喝水", "停", "帮帮我")


def pairing(pieces: int = 5) -> Pairing:
    stretches = [Stretch(n * 1000, n * 1000 + 500, "speech") for n in range(pieces)]
    return pair([*stretches, Stretch(pieces * 1000, pieces * 1000 + 10, "quiet")], PHRASES)


def texts(paired: Pairing) -> list[str]:
    lines = enumerate(paired.lines)
    return ["–" if line.state == "dropped" else paired.text(index) for index, line in lines]


def test_pieces_and_phrases_begin_side_by_side() -> None:
    assert texts(pairing(6)) == [*PHRASES, ""] and texts(pairing(2)) == ["我很疼", "不要"]
    assert pairing().count("open") == 5


def test_a_phrase_that_was_skipped_and_one_said_twice() -> None:
    skipped = pairing(4).later(1)
    assert texts(skipped) == ["我很疼", "我想喝水", "停", "帮帮我"]
    assert texts(skipped.earlier(1)) == texts(pairing(4))
    assert texts(pairing().earlier(2)) == ["我很疼", "不要", "不要", "我想喝水", "停"]
    assert pairing().earlier(0) == pairing()


def test_a_cough_gives_its_phrase_to_the_next_piece_and_can_be_taken_back() -> None:
    dropped = pairing(6).drop(2)
    assert texts(dropped) == ["我很疼", "不要", "–", "我想喝水", "停", "帮帮我"]
    assert dropped.drop(2) == dropped and dropped.restore(2) == pairing(6)
    assert pairing().restore(1) == pairing()
    assert texts(dropped.later(1)) == ["我很疼", "我想喝水", "–", "停", "帮帮我", ""]


def test_two_pieces_of_one_phrase_are_joined_with_what_lies_between() -> None:
    joined = pairing(6).join(1)
    assert texts(joined) == list(PHRASES)
    assert (joined.lines[1].piece.start, joined.lines[1].piece.stop) == (1000, 2500)
    assert pairing().join(4) == pairing()
    assert texts(pairing(6).drop(2).join(1)) == ["我很疼", "不要", "我想喝水", "停", "帮帮我"]


def test_what_moves_to_another_phrase_has_to_be_confirmed_again() -> None:
    confirmed = pairing()
    for index in range(5):
        confirmed = confirmed.confirm(index)
    states = [line.state for line in confirmed.later(3).lines]
    assert states == ["confirmed", "confirmed", "confirmed", "open", "open"]
    assert [line.state for line in confirmed.drop(3).lines] == [*["confirmed"] * 3, "dropped", "open"]
    assert confirmed.reopen(0).count("confirmed") == 4


def test_other_words_than_the_lists_are_what_counts() -> None:
    changed = pairing(6).confirm(1, " 我不要 ").confirm(5, "谢谢")
    assert texts(changed) == ["我很疼", "我不要", "我想喝水", "停", "帮帮我", "谢谢"]
    assert pairing().confirm(1, "不要").lines[1].said is None
    for refused in (lambda: pairing(6).confirm(5), lambda: pairing().confirm(0, " 。")):
        with pytest.raises(ResonanceError, match="RZ-0451"):
            refused()


@given(
    st.lists(st.tuples(st.sampled_from(["later", "earlier", "drop", "restore", "join", "confirm"]), st.integers(0, 5)))
)
def test_whatever_is_pressed_pieces_keep_their_order_and_no_sound_goes(presses: list[tuple[str, int]]) -> None:
    paired = pairing(6)
    for name, index in presses:
        if index < len(paired.lines):
            try:
                paired = getattr(paired, name)(index)
            except ResonanceError:
                assert not paired.text(index)
    numbers = [line.number for line in paired.lines if line.state != "dropped"]
    assert all(number >= 0 for number in numbers)
    spans = [(line.piece.start, line.piece.stop) for line in paired.lines]
    assert spans == sorted(spans) and spans[0][0] == 0 and spans[-1][1] == 5500
    assert all(line.state != "confirmed" or paired.text(n) for n, line in enumerate(paired.lines))


# ── Keeping and saving ───────────────────────────────────────────────────────
@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    (tmp_path / "data").mkdir()
    return Workspace(tmp_path / "data", tmp_path / "out", "anna")


@pytest.fixture
def recording(workspace: Workspace) -> LongRecording:
    samples, _ = read_aloud([said(1.2), said(1.5, 150), said(0.9, 210)], [1.0, 2.0, 2.0, 1.0])
    return long_recording.read(long_recording.keep(workspace, "语音 001.wav", wav(samples)))


def test_an_upload_lies_where_lesson_04_does_not_count_it(workspace: Workspace) -> None:
    content = encoded("m4a")
    path = long_recording.keep(workspace, "../../语音 001.m4a", content)
    assert path == workspace.data_dir / "long_recordings" / "语音_001.m4a" and path.read_bytes() == content
    assert long_recording.listed(workspace) == (path,) and Recordings(workspace).files == ()
    assert long_recording.keep(workspace, "语音 001.m4a", content) == path
    assert long_recording.keep(workspace, "语音 001.m4a", content + b" ").name == "语音_001_2.m4a"
    assert path.read_bytes() == content
    with pytest.raises(ResonanceError, match="RZ-0450"):
        long_recording.keep(workspace, "清单.pdf", b"%PDF-1.7")


def test_a_recording_may_be_long_but_not_endless(workspace: Workspace) -> None:
    path = long_recording.keep(workspace, "a.m4a", encoded("m4a"))
    assert long_recording.read(path).seconds == pytest.approx(2.0, abs=0.1)
    with pytest.raises(ResonanceError, match="RZ-0504"):
        long_recording.read(path, CutOptions(max_seconds=1.0))


def test_only_what_is_confirmed_is_saved_and_the_recording_stays(
    workspace: Workspace, recording: LongRecording
) -> None:
    before = snapshot(workspace.data_dir)
    paired = pair(split_at_pauses(recording.samples), PHRASES)
    assert not long_recording.save(workspace, recording, paired).added and snapshot(workspace.data_dir) == before
    saved = long_recording.save(workspace, recording, paired.confirm(0).drop(1).confirm(2, "不要了"))
    assert [(label.audio, label.text) for label in saved.added] == [
        ("audio_raw/001_我很疼.wav", "我很疼"),
        ("audio_raw/002_不要了.wav", "不要了"),
    ]
    piece = paired.lines[2].piece
    kept = read_wav(workspace.data_dir / saved.added[1].audio)
    assert np.allclose(kept, recording.samples[piece.start : piece.stop], atol=1e-4)
    assert {label.session for label in read_labels(workspace.labels)} == {f"语音_001 #{recording.sha256[:8]}"}
    assert before.items() <= snapshot(workspace.data_dir).items()


def test_the_same_recording_again_is_noticed_and_nothing_is_doubled(
    workspace: Workspace, recording: LongRecording
) -> None:
    paired = pair(split_at_pauses(recording.samples), PHRASES).confirm(0).confirm(1)
    assert not long_recording.taken_before(workspace, recording)
    first = long_recording.save(workspace, recording, paired)
    renamed = replace(recording, name="另一个名字.wav")
    assert long_recording.taken_before(workspace, renamed) == first.added
    again = long_recording.save(workspace, renamed, paired.confirm(2))
    assert [label.text for label in again.added] == ["我想喝水"] and again.there == first.added
    assert len(read_labels(workspace.labels)) == 3
    other = replace(recording, sha256="0" * 64)
    assert not long_recording.taken_before(workspace, other)


def test_pieces_to_listen_to_lie_in_the_cache_until_the_next_recording(
    workspace: Workspace, recording: LongRecording
) -> None:
    piece = spoken(recording.samples)[1]
    path = long_recording.piece_file(workspace, recording, piece)
    assert path.is_relative_to(workspace.cache)
    assert len(read_wav(path)) == piece.stop - piece.start
    assert long_recording.piece_file(workspace, recording, piece) == path
    long_recording.clear_pieces(workspace)
    assert not path.exists()
