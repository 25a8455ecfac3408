"""Recordings that come in as files: every name that phones give, nothing overwritten, nothing moved, nothing twice."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest
from sounds import encoded, put, snapshot, voice, wav

from resonance_helpers import ResonanceError, Workspace
from resonance_helpers.core import archives
from resonance_helpers.core.messages import message
from resonance_helpers.core.settings import SAMPLE_RATE
from resonance_helpers.dataset.index import Recordings
from resonance_helpers.dataset.labels import read_labels
from resonance_helpers.dataset.takes import add_file
from resonance_helpers.lessons import upload_recordings
from resonance_helpers.lessons.upload_recordings import intake
from resonance_helpers.lessons.upload_recordings.arrivals import IntakeLimits
from resonance_helpers.lessons.upload_recordings.intake import Item, plan, take_in

M4A = encoded("m4a")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    (tmp_path / "data").mkdir()
    return Workspace(tmp_path / "data", tmp_path / "out", "anna")


@pytest.fixture
def came(tmp_path: Path) -> Path:
    """A folder as somebody copies it from a phone."""
    files = {
        "我想喝水 (1).m4a": M4A,
        "wx_camera_1699000000000.mp4": encoded("mp4"),
        "mmexport1699000000.mp3": encoded("mp3"),
        "旧的/002 不要_2.wav": wav(voice(1.1, SAMPLE_RATE)),
        "旧的/同一个.m4a": M4A,
        "坏的.m4a": M4A[:500],
        "一整段.wav": wav(voice(31.0, SAMPLE_RATE)),
        "清单.txt": "我想喝水".encode(),
        ".DS_Store": b"x",
        "__MACOSX/._我想喝水.m4a": b"x",
    }
    put(tmp_path / "phone", files)
    return tmp_path / "phone"


def zipped(files: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return file.getvalue()


def by_name(planned: intake.Plan) -> dict[str, Item]:
    return {item.shown: item for item in planned.items}


def corrected(planned: intake.Plan, texts: dict[str, str]) -> list[str]:
    """The texts of the plan, but those by ``Item.shown`` as somebody put them right."""
    assert texts.keys() <= by_name(planned).keys()
    return [texts.get(item.shown, item.text or "") for item in planned.items]


# ── The plan ─────────────────────────────────────────────────────────────────
def test_every_file_has_its_verdict_and_nothing_is_written(workspace: Workspace, came: Path) -> None:
    before = snapshot(came)
    planned = plan(came, workspace)
    items = by_name(planned)
    assert {name: item.verdict for name, item in items.items()} == {
        "我想喝水 (1).m4a": "ready",
        "wx_camera_1699000000000.mp4": "no_text",
        "mmexport1699000000.mp3": "no_text",
        "旧的/002 不要_2.wav": "ready",
        "旧的/同一个.m4a": "same",
        "坏的.m4a": "broken",
        "一整段.wav": "long",
        "清单.txt": "not_audio",
    }
    water = items["我想喝水 (1).m4a"]
    assert (water.text, water.name, water.size) == ("我想喝水", "audio_raw/001_我想喝水.m4a", len(M4A))
    assert water.seconds == pytest.approx(2.0, abs=0.1) and not water.reason
    assert items["旧的/002 不要_2.wav"].name == "audio_raw/002_不要.wav"
    assert "我想喝水 (1).m4a" in items["旧的/同一个.m4a"].reason and "RZ-0503" in items["坏的.m4a"].reason
    assert all(item.name is None and item.reason for item in planned.items if item.verdict != "ready")
    assert planned.count("ready") == 2 and planned.count("ready", "no_text") == 4
    assert snapshot(came) == before and not list(workspace.data_dir.iterdir())


def test_what_is_there_already_is_known_by_its_content(workspace: Workspace, came: Path) -> None:
    put(workspace.data_dir, {"audio_raw/别的名字.m4a": M4A})
    item = by_name(plan(came / "我想喝水 (1).m4a", workspace))["我想喝水 (1).m4a"]
    assert item.verdict == "same" and "audio_raw/别的名字.m4a" in item.reason


def test_a_zip_and_uploads_are_staged_and_removed_again(workspace: Workspace, tmp_path: Path) -> None:
    archive = zipped({"盘/我想喝水.m4a": M4A, "盘/readme.txt": b"x", "__MACOSX/._x.m4a": b"x"})
    planned = plan([("我的 录音.zip", archive), ("../../不要.wav", wav(voice(1.0, SAMPLE_RATE)))], workspace)
    assert [(item.shown, item.verdict) for item in planned.items] == [
        ("我的 录音.zip/盘/readme.txt", "not_audio"),
        ("我的 录音.zip/盘/我想喝水.m4a", "ready"),
        ("_.._不要.wav", "ready"),
    ]
    assert all(item.source.is_relative_to(workspace.cache) for item in planned.items)
    take_in(planned)
    assert not list(workspace.cache.rglob("*.m4a")) and not (tmp_path.parent / "不要.wav").exists()
    (tmp_path / "a.zip").write_bytes(archive)
    assert by_name(plan(tmp_path / "a.zip", workspace))["a.zip/盘/我想喝水.m4a"].verdict == "same"


def test_a_zip_that_leads_elsewhere_is_refused_whole(workspace: Workspace) -> None:
    leading = zipped({"不要.wav": wav(voice(1.0, SAMPLE_RATE)), "../../x.wav": b"x"})
    (item,) = plan([("a.zip", leading)], workspace).items
    assert (item.shown, item.verdict) == ("a.zip", "broken") and "RZ-0051" in item.reason
    assert not list(workspace.cache.rglob("*.wav"))
    (item,) = plan([("a.zip", zipped({f"{n}.wav": b"" for n in range(5)}))], workspace, IntakeLimits(files=4)).items
    assert item.verdict == "broken" and "RZ-0055" in item.reason


def test_a_bad_zip_is_named_and_what_came_beside_it_goes_in(workspace: Workspace, tmp_path: Path) -> None:
    """One broken archive among good recordings costs nobody the others."""
    put(
        tmp_path / "came",
        {"a/坏.zip": M4A, "a/好.zip": zipped({"不要.m4a": M4A}), "停.wav": wav(voice(1.0, SAMPLE_RATE))},
    )
    planned = plan(tmp_path / "came", workspace)
    assert {item.shown: item.verdict for item in planned.items} == {
        "a/坏.zip": "broken",
        "a/好.zip/不要.m4a": "ready",
        "停.wav": "ready",
    }
    result = take_in(planned)
    assert {label.text for label in result.added} == {"不要", "停"}
    assert [(name, "RZ-0050" in reason) for name, reason in result.left_out] == [("a/坏.zip", True)]


def test_zips_have_one_bound_together_and_a_refusal_leaves_nothing(workspace: Workspace, tmp_path: Path) -> None:
    tones = [wav(voice(1.0 + n / 10, SAMPLE_RATE)) for n in range(4)]
    put(tmp_path / "came", {f"{n}.zip": zipped({f"{n}.wav": tone}) for n, tone in enumerate(tones)})
    enough = sum(map(len, tones))
    assert plan(tmp_path / "came", workspace, IntakeLimits(all_bytes=enough, files=4)).count("no_text") == 4
    for limits, code in ((IntakeLimits(all_bytes=enough - 1), "RZ-0459"), (IntakeLimits(files=3), "RZ-0454")):
        with pytest.raises(ResonanceError, match=code):
            plan(tmp_path / "came", workspace, limits)
        assert not list(workspace.cache.rglob("*.wav"))


def test_a_zip_for_which_there_is_no_room_any_more_is_not_unpacked(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bound is over all zips: a disk is not filled with one more of them only to find that it was too much."""
    tones = [wav(voice(1.0 + n / 10, SAMPLE_RATE)) for n in range(2)]
    put(tmp_path / "came", {f"{n}.zip": zipped({f"{n}.wav": tone}) for n, tone in enumerate(tones)})
    written: list[str] = []
    contents = archives._contents
    monkeypatch.setattr(archives, "_contents", lambda z, info: (written.append(info.filename), contents(z, info))[1])
    with pytest.raises(ResonanceError, match="RZ-0459"):
        plan(tmp_path / "came", workspace, IntakeLimits(all_bytes=sum(map(len, tones)) - 1))
    assert written == ["0.wav"]
    damaged = bytearray((tmp_path / "came/0.zip").read_bytes())
    damaged[200] ^= 0xFF
    put(tmp_path / "came", {"0.zip": bytes(damaged)})  # gives its room back
    planned = plan(tmp_path / "came", workspace, IntakeLimits(all_bytes=sum(map(len, tones)) - 1))
    assert [item.verdict for item in planned.items] == ["broken", "no_text"]


def test_two_zips_of_one_name_keep_their_texts_apart(workspace: Workspace, tmp_path: Path) -> None:
    """Both hold a 录音1.m4a, of another phrase each: a text written beside the one is never saved with the other."""
    first, second = wav(voice(1.0, SAMPLE_RATE)), wav(voice(1.5, SAMPLE_RATE))
    put(tmp_path / "a", {"手机.zip": zipped({"录音1.wav": first})})
    put(tmp_path / "b", {"手机.zip": zipped({"录音1.wav": second})})
    planned = plan([tmp_path / "a" / "手机.zip", tmp_path / "b" / "手机.zip"], workspace)
    assert [item.shown for item in planned.items] == ["手机.zip/录音1.wav", "手机.zip/录音1.wav [2]"]
    added = take_in(planned, ["我很疼", "不要"]).added
    assert {label.text: (workspace.data_dir / label.audio).read_bytes() for label in added} == {
        "我很疼": first,
        "不要": second,
    }


def test_two_tables_at_once_keep_their_sounds_apart(workspace: Workspace) -> None:
    """Every phone calls its first recording the same. What was written in one table, a helper having listened to its
    sound, is never saved with the sound of another table that was opened meanwhile."""
    water, pain = wav(voice(1.0, SAMPLE_RATE)), wav(voice(1.5, SAMPLE_RATE))
    tables = {"我想喝水": plan([("录音.wav", water)], workspace), "我很疼": plan([("录音.wav", pain)], workspace)}
    for text, planned in tables.items():
        take_in(planned, [text])
    there = {label.text: (workspace.data_dir / label.audio).read_bytes() for label in read_labels(workspace.labels)}
    assert there == {"我想喝水": water, "我很疼": pain}


def test_what_a_plan_staged_goes_with_it_and_with_no_other(workspace: Workspace) -> None:
    def staged() -> list[str]:
        return sorted(path.name for path in workspace.cache.rglob("*.wav"))

    (abandoned := workspace.cache / "incoming" / "by a killed kernel").mkdir(parents=True)
    kept, dropped = plan([("不要.wav", wav(voice(1.0, SAMPLE_RATE)))], workspace), plan([("停.wav", b"")], workspace)
    assert staged() == ["不要.wav", "停.wav"] and not abandoned.exists()
    dropped.discard()
    assert staged() == ["不要.wav"] and not take_in(dropped).added
    take_in(kept)
    assert not list((workspace.cache / "incoming").iterdir())


def test_a_labels_file_that_came_along_is_believed_and_a_broken_one_named(workspace: Workspace, tmp_path: Path) -> None:
    entries = [{"audio": "audio/001 a.wav", "text": "帮帮我"}]
    put(tmp_path / "set", {"audio_raw/001_a.m4a": M4A}, entries)
    planned = plan(tmp_path / "set", workspace)
    assert [(item.text, item.verdict) for item in planned.items] == [("帮帮我", "ready")]
    assert "1" in planned.notes[0]
    (tmp_path / "set" / "labels.json").write_text("[")
    broken = plan(tmp_path / "set", workspace)
    assert "RZ-0402" in broken.notes[0] and broken.items[0].verdict == "no_text"


# ── Taking in ────────────────────────────────────────────────────────────────
def test_copies_go_in_under_the_guides_names_and_the_check_likes_them(workspace: Workspace, came: Path) -> None:
    before = snapshot(came)
    planned = plan(came, workspace)
    texts = {"mmexport1699000000.mp3": " 我想喝水 ", "旧的/002 不要_2.wav": ""}
    result = take_in(planned, corrected(planned, texts), session="2026-11-23")
    assert [(label.audio, label.text, label.take) for label in result.added] == [
        ("audio_raw/001_我想喝水.mp3", "我想喝水", 1),
        ("audio_raw/001_我想喝水_2.m4a", "我想喝水", 2),
    ]
    assert list(result.added) == read_labels(workspace.labels) and result.added[0].session == "2026-11-23"
    assert (workspace.data_dir / "audio_raw/001_我想喝水_2.m4a").read_bytes() == M4A
    left = dict(result.left_out)
    assert set(left) == set(by_name(planned)) - {"我想喝水 (1).m4a", "mmexport1699000000.mp3"} and all(left.values())
    assert snapshot(came) == before
    assert set(Recordings(workspace).files) == {label.audio for label in result.added}
    assert not upload_recordings.check(workspace).unlabelled


def test_pressed_twice_it_goes_in_once(workspace: Workspace, came: Path) -> None:
    planned = plan(came, workspace)
    take_in(planned)
    again = take_in(planned)
    assert not again.added and len(read_labels(workspace.labels)) == 2
    assert all(item.verdict not in ("ready",) for item in plan(came, workspace).items)


def test_a_file_that_went_away_and_a_folder_that_changed_are_left_out(workspace: Workspace, came: Path) -> None:
    planned = plan(came, workspace)
    (came / "旧的/002 不要_2.wav").unlink()
    put(workspace.data_dir, {"audio_raw/001_我想喝水.m4a": M4A})
    result = take_in(planned)
    assert not result.added and not workspace.labels.exists()
    assert (workspace.audio_raw / "001_我想喝水.m4a").read_bytes() == M4A


def test_a_file_that_was_replaced_since_it_was_listened_to_is_left_out(workspace: Workspace, tmp_path: Path) -> None:
    """A phone that syncs its folder calls the next recording the same."""
    put(tmp_path / "came", {"录音.wav": wav(voice(1.0, SAMPLE_RATE)), "不要.wav": wav(voice(1.2, SAMPLE_RATE))})
    planned = plan(tmp_path / "came", workspace)
    put(tmp_path / "came", {"录音.wav": wav(voice(1.0, SAMPLE_RATE, 240.0))})
    result = take_in(planned, corrected(planned, {"录音.wav": "我想喝水"}))
    assert [label.text for label in result.added] == ["不要"]
    assert result.left_out == (("录音.wav", message("RZ-0467", name="录音.wav")),)
    assert by_name(plan(tmp_path / "came", workspace))["录音.wav"].can_go_in


def test_a_copy_never_takes_the_place_of_a_file(workspace: Workspace, came: Path) -> None:
    put(workspace.data_dir, {"audio_raw/001_我想喝水.wav": b"theirs"})
    label = add_file(workspace, came / "我想喝水 (1).m4a", "我想喝水")
    assert label.audio == "audio_raw/001_我想喝水_2.m4a"
    assert (workspace.audio_raw / "001_我想喝水.wav").read_bytes() == b"theirs"
