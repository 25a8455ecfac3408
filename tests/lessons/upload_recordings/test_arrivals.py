"""What has arrived, and how much: sizes that are said beforehand, bounds that hold, and names."""

from __future__ import annotations

from pathlib import Path

import pytest
from sounds import put

from resonance_helpers import ResonanceError
from resonance_helpers.lessons.upload_recordings.arrivals import IntakeLimits, arrived, check_uploads, upload_hint

LIMITS = IntakeLimits(upload_bytes=1_000_000, all_uploads_bytes=1_500_000)
PLACE = Path("data") / "incoming"


# ── Before anything is chosen ────────────────────────────────────────────────
def test_sizes_are_said_before_and_refused_with_the_other_way() -> None:
    hint = upload_hint(PLACE, LIMITS)
    assert "1.0 MB" in hint and "1.5 MB" in hint and str(PLACE) in hint
    check_uploads([("a.m4a", bytes(900_000)), ("b.m4a", bytes(500_000))], PLACE, LIMITS)
    for uploads in ([("a.m4a", bytes(1_000_001))], [("a.m4a", bytes(900_000)), ("b.m4a", bytes(700_000))]):
        with pytest.raises(ResonanceError, match="RZ-0452") as refused:
            check_uploads(uploads, PLACE, LIMITS)
        assert str(PLACE) in str(refused.value) and "1.5 MB" in str(refused.value)


@pytest.mark.parametrize(
    ("uploads", "said"),
    [
        # two folders of one phone, chosen together: the same name twice is two files
        ([("录音.m4a", 900_000), ("录音.m4a", 700_000)], "这 2 个文件（一共 1.6 MB）太大"),
        ([("录音.m4a", 1_200_000), ("录音.m4a", 10)], "录音.m4a（1.2 MB）太大"),
        ([("录音.m4a", 1_200_000), ("录音.m4a", 1_400_000)], "录音.m4a（1.2 MB）、录音.m4a（1.4 MB）太大"),
        ([("a.m4a", 1_200_000), ("b.m4a", 900_000), ("c.m4a", 1_400_000)], "a.m4a（1.2 MB）、c.m4a（1.4 MB）太大"),
    ],
    ids=["together", "the first", "both", "others beside"],
)
def test_every_upload_counts_whatever_it_is_called(uploads: list[tuple[str, int]], said: str) -> None:
    with pytest.raises(ResonanceError, match="RZ-0452") as refused:
        check_uploads([(name, bytes(size)) for name, size in uploads], PLACE, LIMITS)
    assert said in str(refused.value)


def test_an_upload_within_the_limits_fits_into_one_message_of_jupyters() -> None:
    from tornado.websocket import _default_max_message_size

    assert IntakeLimits().all_uploads_bytes < _default_max_message_size * 0.9


# ── What came ────────────────────────────────────────────────────────────────
def test_nothing_there_and_far_too_much(tmp_path: Path) -> None:
    put(tmp_path / "came", {f"旧的/{n}.wav": b"" for n in range(4)})
    with pytest.raises(ResonanceError, match="RZ-0453"):
        arrived(tmp_path / "没有", tmp_path / "staged")
    with pytest.raises(ResonanceError, match="RZ-0454"):
        arrived(tmp_path / "came", tmp_path / "staged", IntakeLimits(files=3))


def test_links_and_what_a_system_hides_are_passed_over(tmp_path: Path) -> None:
    hidden = (".DS_Store", "__MACOSX/._不要.wav", "a/Thumbs.db", "a/~$不要.txt")
    put(tmp_path / "came", {"a/不要.wav": b"", **dict.fromkeys(hidden, b"")})
    (tmp_path / "came" / "b.wav").symlink_to(tmp_path / "came" / "a" / "不要.wav")
    assert [file.shown for file in arrived(tmp_path / "came", tmp_path / "staged")] == ["a/不要.wav"]
