"""Measures of one clip against sounds whose figures are known, and the words that go with a verdict."""

from __future__ import annotations

import numpy as np
import pytest
from sounds import voice

from resonance_helpers.audio import quality as clip_quality
from resonance_helpers.core.messages import LANGUAGES, message
from resonance_helpers.core.settings import SAMPLE_RATE, SOUND_RULES


def test_levels_of_a_known_tone() -> None:
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(SAMPLE_RATE) / SAMPLE_RATE).astype(np.float32)
    quality = clip_quality.measure(tone)
    assert quality.peak_dbfs == pytest.approx(-6.02, abs=0.01)
    assert quality.rms_dbfs == pytest.approx(-9.03, abs=0.01)
    assert quality.seconds == 1.0 and quality.clipped == 0.0


def test_speech_seconds_do_not_depend_on_level_or_rate() -> None:
    for rate in (8_000, 16_000, 48_000):
        for level in (0.05, 0.8):
            assert clip_quality.measure(voice(3.0, rate, level=level), rate).speech_s == pytest.approx(1.4, abs=0.2)


def test_ten_decibels_more_noise_are_ten_less_in_the_estimate() -> None:
    def snr(noise_db: float) -> float:
        noise = np.random.default_rng(1).normal(0, 10 ** (noise_db / 20), 3 * SAMPLE_RATE).astype(np.float32)
        return clip_quality.measure(voice(3.0, SAMPLE_RATE) + noise).snr_db

    assert snr(-60) - snr(-50) == pytest.approx(10, abs=1)
    assert snr(-50) - snr(-40) == pytest.approx(10, abs=1)


@pytest.mark.parametrize("n", [0, 1, 10, 399, 401])
def test_very_short_clips_can_be_measured(n: int) -> None:
    quality = clip_quality.measure(np.full(n, 0.1, np.float32))
    assert all(np.isfinite(value) for value in vars(quality).values()) and quality.seconds == n / SAMPLE_RATE


@pytest.mark.parametrize(
    ("samples", "level", "codes"),
    [
        (voice(3.0, SAMPLE_RATE), "ok", ()),
        (np.zeros(3 * SAMPLE_RATE, np.float32), "unusable", ("RZ-0510",)),
        (voice(1.0, SAMPLE_RATE)[4_000:4_320], "unusable", ("RZ-0532",)),
        (np.full(3 * SAMPLE_RATE, 0.3, np.float32), "unusable", ("RZ-0510",)),
        (voice(3.0, SAMPLE_RATE, level=0.01), "again", ("RZ-0511",)),
        (np.clip(voice(3.0, SAMPLE_RATE, level=6.0), -1, 1), "again", ("RZ-0512",)),
        (voice(7.0, SAMPLE_RATE), "again", ("RZ-0513",)),
        (np.pad(voice(0.5, SAMPLE_RATE), (0, 4 * SAMPLE_RATE)), "listen", ("RZ-0514",)),
    ],
    ids=["ok", "silent", "20 ms", "an offset alone", "quiet", "clipped", "long", "mostly silence"],
)
def test_verdicts(samples: np.ndarray, level: str, codes: tuple[str, ...]) -> None:
    quality = clip_quality.measure(samples)
    assert clip_quality.judge(quality, window_s=6.0) == (level, codes)
    for code in codes:
        assert "x.wav" in clip_quality.explain(code, quality, 6.0, "x.wav")


# ── What is no sound ─────────────────────────────────────────────────────────
TIME = np.arange(3 * SAMPLE_RATE) / SAMPLE_RATE
DRIFTS = {
    "offset": np.full(len(TIME), 0.3),
    "below": np.full(len(TIME), -0.5),
    "small": np.full(len(TIME), 0.02),
    "ramp": np.linspace(-0.4, 0.4, len(TIME)),
    "slow": 0.3 * np.sin(2 * np.pi * 0.5 * TIME),
    "settling": 0.5 * np.exp(-TIME / 0.5),
}


@pytest.mark.parametrize(("drift", "level"), [*((drift, 0.4) for drift in DRIFTS), ("offset", 0.05), ("below", 0.05)])
def test_neither_an_offset_nor_a_drift_is_heard(drift: str, level: float) -> None:
    clean = voice(3.0, SAMPLE_RATE, level=level)
    moved = (clean + DRIFTS[drift]).astype(np.float32)
    one, other = clip_quality.measure(clean), clip_quality.measure(moved)
    assert clip_quality.judge(other, 30.0) == clip_quality.judge(one, 30.0) == ("ok", ())
    assert other.peak_dbfs == pytest.approx(one.peak_dbfs, abs=1.0)
    assert other.rms_dbfs == pytest.approx(one.rms_dbfs, abs=1.0)
    assert clip_quality.has_speech(moved)
    np.testing.assert_array_equal(
        clip_quality.stands_out(clip_quality.frame_levels(moved))[4:-4],
        clip_quality.stands_out(clip_quality.frame_levels(clean))[4:-4],
    )


def test_an_offset_is_no_speech_and_hides_no_clipping() -> None:
    hiss = np.random.default_rng(4).normal(0, 1e-3, 3 * SAMPLE_RATE).astype(np.float32)
    assert not clip_quality.has_speech(hiss + np.float32(0.3))
    torn = np.clip(voice(3.0, SAMPLE_RATE, level=2.0), -0.6, 0.6) + np.float32(0.3)
    assert clip_quality.judge(clip_quality.measure(torn), 30.0) == ("again", ("RZ-0512",))


def test_what_has_no_offset_stays_bit_for_bit() -> None:
    for clean in (voice(3.0, SAMPLE_RATE), np.zeros(100, np.float32), np.zeros(0, np.float32)):
        assert clip_quality.without_offset(clean) is clean


def test_the_words_are_about_the_recording() -> None:
    for code in ("RZ-0510", "RZ-0511", "RZ-0512", "RZ-0513", "RZ-0514"):
        quality = clip_quality.measure(voice(1.0, SAMPLE_RATE))
        for lang in LANGUAGES:
            sentence = message(code, lang, name="x.wav", window_s=6.0, **vars(quality))
            assert not any(word in sentence.lower() for word in ("bad", "worst", "poor", "差", "不好", "不合格"))


def test_rules_are_in_order() -> None:
    assert SOUND_RULES.silent_dbfs < SOUND_RULES.quiet_dbfs < 0
