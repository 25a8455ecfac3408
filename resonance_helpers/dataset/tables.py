"""Tables that come from a spreadsheet, Notepad or another program: CSV, TSV, JSON lines, a workbook of Excel.

Besides UTF-8 and UTF-16 a text may be GBK, which a Chinese Excel still writes. ``labels`` refuses GBK, because there a
wrong character is learnt and nobody sees it. A table is shown before it is used, so GBK is read where nothing else is
meant: all its characters are simplified Chinese, and read as Big5 they would not be everyday ones. Everything else is
refused with the way to save it as UTF-8.
"""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections.abc import Iterable
from pathlib import Path

from python_calamine import CalamineError, CalamineWorkbook

from ..core.messages import ResonanceError
from ..core.workspace import parse_json

Rows = list[tuple[int, list[str]]]  # of each row its line, counted from 1, and its cells
WORKBOOKS = (".xlsx", ".xlsm", ".xls", ".ods")
SUFFIXES = (".csv", ".tsv", ".jsonl", *WORKBOOKS)

_ZIP, _OLE = b"PK\x03\x04", b"\xd0\xcf\x11\xe0"  # how .xlsx and .docx, .xls and .doc begin
_MOST_UNPACKED = 100_000_000  # bytes of a workbook, which is a zip
_SIMPLIFIED_TEXT = re.compile(r"[\x00-\x7f\u4e00-\u9fff\u3000-\u303f\uff00-\uffef—…“”‘’·]*")
_LAST_COMMON_BIG5 = 0xC6  # first byte; the rarer characters stand behind it


def read(data: bytes, name: str) -> tuple[Rows, str]:
    """The rows of a table by its ``name``, and the coding that its text was in, empty for a workbook.

    Of JSON lines the first row is the keys. Raises RZ-0440 (coding), RZ-0441 (no table), RZ-0446 (an endless cell) and
    RZ-0010 (a line that is no JSON object).
    """
    if is_workbook(data):
        return of_workbook(data, name), ""
    text, coding = decode(data, name)
    if name.lower().endswith(".jsonl"):
        return _of_json_lines(text, name), coding
    return of_text(text, name), coding


def is_workbook(data: bytes) -> bool:
    """Whether a file begins as those of Excel do, and of Word."""
    return data.startswith((_ZIP, _OLE))


def of_workbook(data: bytes, name: str) -> Rows:
    """The rows of the first sheet. RZ-0441 where there is none."""
    try:
        if data.startswith(_ZIP):
            with zipfile.ZipFile(io.BytesIO(data)) as packed:
                if sum(entry.file_size for entry in packed.infolist()) > _MOST_UNPACKED:
                    raise ValueError(name)
        rows = CalamineWorkbook.from_filelike(io.BytesIO(data)).get_sheet_by_index(0).to_python(skip_empty_area=False)
    except (CalamineError, zipfile.BadZipFile, OSError, ValueError, IndexError) as error:
        raise ResonanceError("RZ-0441", name=name) from error
    return [(line, [_cell(value) for value in row]) for line, row in enumerate(rows, start=1)]


def of_text(text: str, name: str) -> Rows:
    """The rows of a text with columns. RZ-0446 for a cell that does not end."""
    text = text.rstrip()
    heading = text.partition("\n")[0]
    delimiter = next((mark for mark in "\t,;" if mark in heading), ",")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        return [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise ResonanceError("RZ-0446", name=name, line=reader.line_num) from error


def _of_json_lines(text: str, name: str) -> Rows:
    lines = [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
    objects = [(number, parse_json(line.encode(), Path(f"{name}:{number}"), an_object=True)) for number, line in lines]
    keys = list(dict.fromkeys(key for _, each in objects for key in each))
    return [(1, keys), *((number, [_cell(each.get(key)) for key in keys]) for number, each in objects)]


def _cell(value: object) -> str:
    """A cell as text: Excel keeps every number as one with a point."""
    if value is None:
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


# ── From bytes to text ───────────────────────────────────────────────────────
def decode(data: bytes, name: str) -> tuple[str, str]:
    """The text of a file and the coding it was in. Raises RZ-0440 and RZ-0441."""
    if is_workbook(data):
        raise ResonanceError("RZ-0441", name=name)
    coding = "utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        text = data.decode(coding)
    except UnicodeDecodeError as error:
        text, coding = _decode_gbk(data), "gbk"
        if not text:
            raise ResonanceError("RZ-0440", name=name) from error
    if "\0" in text:
        raise ResonanceError("RZ-0441", name=name)
    return text, coding.removesuffix("-sig")


def _decode_gbk(data: bytes) -> str:
    """``data`` read as GBK, or nothing where it might be something else."""
    try:
        text = data.decode("gb2312")
    except UnicodeDecodeError:
        return ""
    return text if _SIMPLIFIED_TEXT.fullmatch(text) and not _may_be_big5(data) else ""


def _may_be_big5(data: bytes) -> bool:
    try:
        characters: Iterable[str] = data.decode("big5")
    except UnicodeDecodeError:
        return False
    return all(c.encode("big5")[0] <= _LAST_COMMON_BIG5 for c in characters)
