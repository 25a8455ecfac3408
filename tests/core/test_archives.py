"""Zips from elsewhere: what is good comes out as it was, and everything else leaves nothing behind."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resonance_helpers import ResonanceError
from resonance_helpers.core import archives
from resonance_helpers.core.archives import UnpackLimits, unpack
from resonance_helpers.core.messages import LANGUAGES, message

LIMITS = UnpackLimits(files=10, file_bytes=3_000_000, all_bytes=4_000_000, ratio=50)
LINK, FIFO, DEVICE = 0o120777, 0o010644, 0o060644


def archive(*entries: tuple[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_DEFLATED) -> io.BytesIO:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as made:
        for name, data in entries:
            made.writestr(name, data)
    return file


def entry(name: str, mode: int = 0o100644) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    return info


def forged(zipped: BinaryIO, changes: dict[tuple[int, int], tuple[str, int]]) -> io.BytesIO:
    """With other numbers in the headers of the first entry: (place in its local header, in the table) → (kind, number);
    a place of -1 is left alone."""
    data = bytearray(zipped.getvalue())  # type: ignore[attr-defined]
    table = data.index(b"PK\x01\x02")
    for (local, central), (kind, number) in changes.items():
        for start, place in ((0, local), (table, central)):
            if place >= 0:
                struct.pack_into(f"<{kind}", data, start + place, number)
    return io.BytesIO(data)


def renamed(zipped: BinaryIO, old: bytes, new: bytes) -> io.BytesIO:
    """The same archive with another name in both headers, byte for byte."""
    assert len(old) == len(new)
    return io.BytesIO(zipped.getvalue().replace(old, new))  # type: ignore[attr-defined]


def refused(zipped: Path | BinaryIO, folder: Path, code: str, limits: UnpackLimits = LIMITS) -> None:
    before = sorted(folder.parent.rglob("*"))
    with pytest.raises(ResonanceError) as caught:
        unpack(zipped, folder, limits)
    assert caught.value.code == code, caught.value
    for lang in LANGUAGES:
        assert message(code, lang=lang, **caught.value.facts)
    assert sorted(folder.parent.rglob("*")) == before, "nothing is left"


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "inside").mkdir()
    return tmp_path / "inside" / "target"


# ── What is good ─────────────────────────────────────────────────────────────
NAME = st.text(st.characters(codec="utf-8", categories=["L", "N"]), min_size=1, max_size=20)


@given(st.dictionaries(st.lists(NAME, min_size=1, max_size=3).map("/".join), st.binary(max_size=500), max_size=8))
def test_what_was_packed_comes_out(tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]) -> None:
    folder = tmp_path_factory.mktemp("any") / "target"
    seen = [archives._as_seen(name) for name in files]
    if len(set(seen)) < len(seen) or any(a.startswith(f"{b}/") for a in seen for b in seen):
        refused(archive(*files.items()), folder, "RZ-0054")
        return
    paths = unpack(archive(*files.items()), folder, LIMITS)
    assert {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths} == files
    assert {path for path in folder.rglob("*") if path.is_file()} == set(paths)


def test_a_path_an_empty_folder_and_no_compression(tmp_path: Path, target: Path) -> None:
    file = tmp_path / "a.zip"
    file.write_bytes(archive((entry("empty/", 0o040755), b""), ("a.txt", b"1" * 10)).getvalue())
    target.mkdir()
    assert unpack(file, target, LIMITS) == (target / "a.txt",)
    assert not (target / "a.txt").stat().st_mode & 0o111
    stored = archive(("a.txt", b"1"), method=zipfile.ZIP_STORED)
    assert unpack(stored, target.with_name("other"), LIMITS)[0].read_bytes() == b"1"


def test_a_folder_with_something_in_it_is_not_touched(target: Path) -> None:
    target.mkdir()
    (target / "mine").write_text("我")
    with pytest.raises(FileExistsError):
        unpack(archive(("a.txt", b"")), target, LIMITS)
    assert [path.name for path in target.iterdir()] == ["mine"]


@pytest.mark.parametrize(
    ("system", "encoding"),
    [(0, "gbk"), (3, "utf-8")],
    ids=["the Explorer of a Chinese Windows", "the Finder of a Mac"],
)
@pytest.mark.parametrize(
    "name", ["我想喝水", "邪", "联通", "誠", "水\u3000温"]
)  # GBK that is UTF-8 as well, nearly so, a backslash
def test_chinese_names_are_repaired(target: Path, system: int, encoding: str, name: str) -> None:
    raw = name.encode(encoding)
    plain = archive((entry("x" * len(raw)), b"1"))
    bare = forged(renamed(plain, b"x" * len(raw), raw), {(-1, 5): ("B", system)})
    assert [path.name for path in unpack(bare, target, LIMITS)] == [name]


def test_a_name_in_no_known_alphabet_stays_readable(target: Path) -> None:
    bare = renamed(archive((entry("xx.txt"), b"1")), b"xx", b"\xff\xff")
    assert unpack(forged(bare, {(-1, 5): ("B", 3)}), target, LIMITS)[0].read_bytes() == b"1"


# ── What leads elsewhere ─────────────────────────────────────────────────────
@pytest.mark.parametrize(
    "name",
    [
        "../evil.txt",
        "a/../../evil.txt",
        "a/..",
        "..",
        "/etc/evil.txt",
        "//server/evil.txt",
        "a//evil.txt",
        "./evil.txt",
        "C:/evil.txt",
        "C:evil.txt",
        "a.txt:hidden",
        "..\\evil.txt",
        "a\\..\\..\\evil.txt",
        "\\\\server\\evil.txt",
        "trailing.",
        "trailing ",
        "bell\a.txt",
        "line\n.txt",
        "right-to-left\u202etxt.exe",
        "x" * 300,
        "字" * 86,
        "../folder/",
        "/",
    ],
)
def test_zip_slip(target: Path, name: str) -> None:
    refused(archive((entry("good.txt"), b"1"), (entry(name), b"2")), target, "RZ-0051")


def test_a_nul_does_not_cut_a_name_off(target: Path) -> None:
    refused(renamed(archive(("a.txtX.png", b"1")), b"a.txtX.png", b"a.txt\0.png"), target, "RZ-0051")


def test_a_backslash_in_gbk_is_found(target: Path) -> None:
    bare = renamed(archive((entry("..xevil"), b"1")), b"..xevil", b"..\\evil")
    refused(forged(bare, {(-1, 5): ("B", 0)}), target, "RZ-0051")


@pytest.mark.parametrize("mode", [LINK, FIFO, DEVICE, 0o140755])
@pytest.mark.parametrize("name", ["link", "link/"])
def test_links_and_devices(target: Path, mode: int, name: str) -> None:
    refused(archive((entry(name, mode), b"/etc/passwd")), target, "RZ-0052")


def test_a_file_through_a_link(target: Path) -> None:
    refused(archive((entry("out", LINK), b"/tmp"), (entry("out/evil.txt"), b"1")), target, "RZ-0052")


@pytest.mark.parametrize(
    "names", [("a.txt", "a.txt"), ("a.txt", "A.TXT"), ("é", "e\u0301"), ("a", "a/b"), ("A/b", "a"), ("ſ", "s")]
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_in_one_place(target: Path, names: tuple[str, str]) -> None:
    refused(archive(*((name, name.encode()) for name in names)), target, "RZ-0054")


# ── What is too much ─────────────────────────────────────────────────────────
def test_too_many_files(target: Path) -> None:
    refused(archive(*((f"{i}", b"") for i in range(11))), target, "RZ-0055")
    assert len(unpack(archive(*((f"{i}", b"") for i in range(10))), target, LIMITS)) == 10


def test_a_million_files_are_counted_before_there_is_a_table(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = archive(("x", b"")).getvalue()
    table, end = one.index(b"PK\x01\x02"), one.index(b"PK\x05\x06")
    many = one[:table] + one[table:end] * 100_000 + one[end:]
    monkeypatch.setattr(zipfile, "ZipFile", lambda *_: pytest.fail("read the table"))
    refused(io.BytesIO(many), target, "RZ-0055")


def test_the_count_sees_entries_across_its_chunks(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zipped = archive(*((f"{i}", b"") for i in range(11)))
    for chunk in range(1, 12):
        monkeypatch.setattr(archives, "CHUNK", chunk)
        refused(zipped, target, "RZ-0055")


def test_one_large_file_and_many_middling_ones(target: Path) -> None:
    noise = bytes(zlib.crc32(i.to_bytes(4, "big")) & 0xFF for i in range(300_000)) * 10
    refused(archive(("large", noise + b"1")), target, "RZ-0056")
    refused(archive(("a", noise[:2_500_000]), ("b", noise[:2_500_000])), target, "RZ-0056")


@pytest.mark.parametrize(
    ("files", "code"), [({"a": 2_500_000, "b": 2_500_000}, "RZ-0056"), ({"a": 10, "b": 2_000_000}, "RZ-0057")]
)
def test_what_the_table_admits_is_refused_before_a_byte_is_written(
    target: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, int], code: str
) -> None:
    monkeypatch.setattr(archives, "_contents", lambda *_: pytest.fail("unpacked"))
    method = zipfile.ZIP_STORED if code == "RZ-0056" else zipfile.ZIP_DEFLATED
    refused(archive(*((name, bytes(size)) for name, size in files.items()), method=method), target, code)


def test_a_caller_hears_how_much_will_come_out_and_may_refuse_it(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zipped = archive(("a", b"12345"), ("b", b"123"))
    sizes: list[int] = []
    assert unpack(zipped, target.with_name("other"), LIMITS, sizes.append) and sizes == [8]
    monkeypatch.setattr(archives, "_contents", lambda *_: pytest.fail("unpacked"))

    def no(_: int) -> None:
        raise LookupError

    with pytest.raises(LookupError):
        unpack(zipped, target, LIMITS, no)
    assert not target.exists()


def test_a_bomb_by_its_ratio(target: Path) -> None:
    refused(archive(("zeros", bytes(2_000_000))), target, "RZ-0057")
    assert unpack(archive(("zeros", bytes(1_000_000))), target, LIMITS), "a small file of zeros is no bomb"


def test_a_bomb_whose_header_says_it_is_small(target: Path) -> None:
    bomb = archive((entry("zeros"), bytes(50_000_000)))
    for said in (10, 0):
        refused(forged(bomb, {(22, 24): ("I", said)}), target, "RZ-0050")


def test_a_header_that_says_too_much(target: Path) -> None:
    refused(forged(archive((entry("a"), b"1234")), {(22, 24): ("I", 100)}), target, "RZ-0050")
    refused(forged(archive((entry("a"), b"1234")), {(22, 24): ("I", 2**31)}), target, "RZ-0056")


def test_a_bomb_of_entries_that_share_their_bytes(target: Path) -> None:
    one = archive((entry("a"), bytes(900_000)), method=zipfile.ZIP_STORED).getvalue()
    table, end = one.index(b"PK\x01\x02"), one.rindex(b"PK\x05\x06")
    size = end - table
    closing = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 9, 9, 9 * size, table, 0)
    refused(io.BytesIO(one[:table] + one[table:end] * 9 + closing), target, "RZ-0054")


# ── What can't be read ───────────────────────────────────────────────────────
def test_an_encrypted_entry(target: Path) -> None:
    for flag in (0x1, 0x41, 0x2000):
        refused(forged(archive((entry("a"), b"1")), {(6, 8): ("H", flag)}), target, "RZ-0053")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_compression_that_python_unpacks_without_a_bound(target: Path, method: int) -> None:
    refused(archive(("a", bytes(100)), method=method), target, "RZ-0053")


@pytest.mark.parametrize("data", [b"", b"PK", b"not a zip" * 100, b"PK\x05\x06" + bytes(17)])
def test_no_zip(target: Path, data: bytes) -> None:
    refused(io.BytesIO(data), target, "RZ-0050")


def test_damage_in_the_middle(target: Path) -> None:
    good = archive(("a", bytes(range(256)) * 40)).getvalue()
    at = good.index(b"PK\x01\x02") - 50
    refused(io.BytesIO(good[:at] + bytes(10) + good[at + 10 :]), target, "RZ-0050")
    refused(io.BytesIO(good[:-30]), target, "RZ-0050")


def test_an_entry_before_the_start_of_the_file(tmp_path: Path, target: Path) -> None:
    data = bytearray(archive(("a", b"1")).getvalue())
    at = data.index(b"PK\x05\x06") + 16  # where the table is said to begin; Python moves every entry by the difference
    struct.pack_into("<I", data, at, struct.unpack_from("<I", data, at)[0] + 1)
    (tmp_path / "a.zip").write_bytes(data)
    for zipped in (tmp_path / "a.zip", io.BytesIO(data)):
        refused(zipped, target, "RZ-0050")


@given(st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=12), st.booleans())
def test_any_damage_is_refused_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int]], as_file: bool
) -> None:
    root = tmp_path_factory.mktemp("damage")
    data = bytearray(archive(("a/b.txt", b"1" * 30), (entry("字.json"), b"{}")).getvalue())
    for place, value in changes:
        data[place % len(data)] = value
    file = root / "any.zip"
    file.write_bytes(data)
    try:
        paths = unpack(file if as_file else io.BytesIO(data), root / "target", LIMITS)
    except ResonanceError as error:
        assert error.code.startswith("RZ-005")
        assert sorted(root.iterdir()) == [file]
    else:
        assert all(path.resolve().is_relative_to(root / "target") for path in paths)


def test_a_full_disk_leaves_nothing(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(archives, "_contents", full)
    refused(archive(("a", b"1")), target, "RZ-0004")


def test_limits_are_the_callers(target: Path) -> None:
    zipped = archive(("a", b"12345"))
    refused(zipped, target, "RZ-0056", replace(LIMITS, file_bytes=4))
    assert unpack(zipped, target, replace(LIMITS, file_bytes=5))
