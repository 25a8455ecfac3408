"""Tables of other programs: read, looked at, and written into labels.json only when somebody says so."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sounds import put, snapshot

from resonance_helpers import ResonanceError, Workspace
from resonance_helpers.dataset import tables
from resonance_helpers.dataset.labels import read_labels
from resonance_helpers.dataset.phrases.lists import parse
from resonance_helpers.lessons import upload_recordings
from resonance_helpers.lessons.upload_recordings import label_import
from resonance_helpers.lessons.upload_recordings.label_import_form import ImportLabels

NAMES = ("audio_raw/001.wav", "audio_raw/002.m4a", "clips/003.mp3")
TEXTS = ("我想喝水", "我很疼", "不要")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    put(tmp_path / "data", {name: name.encode() for name in NAMES})
    return Workspace(tmp_path / "data", tmp_path / "out", "anna")


_OF, _PACKAGE = "officeDocument/2006/relationships", "package/2006/relationships"
_RELATIONS = f'<Relationships xmlns="http://schemas.openxmlformats.org/{_PACKAGE}">%s</Relationships>'
_RELATION = f'<Relationship Id="r1" Type="http://schemas.openxmlformats.org/{_OF}/%s" Target="%s"/>'
_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"


def workbook(rows: list[tuple[str, ...]]) -> bytes:
    """The least that is a workbook of Excel, with texts in its cells."""
    cell = '<c t="inlineStr"><is><t>%s</t></is></c>'
    cells = "".join("<row>" + "".join(cell % text for text in row) + "</row>" for row in rows)
    sheet = f'<sheet name="a" sheetId="1" xmlns:r="http://schemas.openxmlformats.org/{_OF}" r:id="r1"/>'
    parts = {
        "_rels/.rels": _RELATIONS % (_RELATION % ("officeDocument", "xl/workbook.xml")),
        "xl/workbook.xml": f'<workbook xmlns="{_MAIN}"><sheets>{sheet}</sheets></workbook>',
        "xl/_rels/workbook.xml.rels": _RELATIONS % (_RELATION % ("worksheet", "worksheets/sheet1.xml")),
        "xl/worksheets/sheet1.xml": f'<worksheet xmlns="{_MAIN}"><sheetData>{cells}</sheetData></worksheet>',
    }
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as packed:
        for name, content in parts.items():
            packed.writestr(name, content)
    return written.getvalue()


def lines(heading: str, mark: str = ",", names: tuple[str, ...] = NAMES) -> str:
    return "\r\n".join([heading, *(f"{name}{mark}{text}" for name, text in zip(names, TEXTS, strict=True))])


BARE = tuple(name.rpartition("/")[2] for name in NAMES)
TABLES = {
    "metadata.csv": lines("file_name,transcription").encode(),
    "audio_raw/metadata.csv": lines("file_name,text", names=("001.wav", "002.m4a", "../clips/003.mp3")).encode(
        "utf-8-sig"
    ),
    "metadata.jsonl": "\n".join(
        json.dumps({"file_name": name, "sentence": text}) for name, text in zip(NAMES, TEXTS, strict=True)
    ).encode(),
    "validated.tsv": "\n".join(
        ["client_id\tpath\tsentence\tage", *(f"x\t{n}\t{t}\t" for n, t in zip(BARE, TEXTS, strict=True))]
    ).encode(),
    "labels.csv": lines("audio;text", ";").encode("utf-16"),
    "录音表.csv": lines("文件名,文字").encode("gbk"),
    "录音表.xlsx": workbook([("序号", "录音", "内容"), *zip("123", BARE, TEXTS, strict=True)]),
    "no heading.tsv": lines("\t", "\t").encode(),
    "from windows.csv": lines("Path,Text", names=tuple(f"C:\\\\我的录音\\\\{name}" for name in BARE)).encode(),
    "manifest.jsonl": "\n".join(
        json.dumps({"audio_filepath": f"/home/me/{n}", "duration": 1.5, "text": t})
        for n, t in zip(BARE, TEXTS, strict=True)
    ).encode(),
}


@pytest.mark.parametrize("name", TABLES)
def test_every_table_is_found_looked_at_and_taken_over_once(workspace: Workspace, name: str) -> None:
    path = workspace.data_dir / name
    path.write_bytes(TABLES[name])
    before = snapshot(workspace.data_dir)
    assert label_import.find(workspace) == (path,)
    looked = label_import.preview(path, workspace)
    assert [(label.audio, label.text) for label in looked.new] == list(zip(NAMES, TEXTS, strict=True))
    assert not looked.problems and not looked.different and {"audio", "text"} <= looked.columns.keys()
    assert looked.coding == ("" if name.endswith("xlsx") else {"录": "gbk", "l": "utf-16"}.get(name[0], "utf-8"))
    checked = upload_recordings.check(workspace)
    assert [notice.code for notice in checked.notices] == ["RZ-0486", "RZ-0475"]  # clips/ is not looked into before
    assert name in checked.notices[0].sentence and name not in checked.notices[1].sentence
    assert snapshot(workspace.data_dir) == before, "looking changes nothing"
    assert label_import.write(looked) == 3
    assert [label.text for label in read_labels(workspace.labels)] == list(TEXTS)
    assert "RZ-0486" not in [notice.code for notice in upload_recordings.check(workspace).notices]
    again = label_import.preview(path, workspace)
    assert (again.same, again.new, again.different, label_import.write(again)) == (3, (), (), 0)


def test_an_entry_that_is_there_is_changed_only_when_asked(workspace: Workspace) -> None:
    mine = '[{"text": "我要喝水", "audio": "audio/001.wav", "note": "妈妈听过"}]'
    workspace.labels.write_text(mine, encoding="utf-8")
    path = workspace.data_dir / "metadata.csv"
    path.write_bytes(TABLES["metadata.csv"])
    looked = label_import.preview(path, workspace)
    ((old, new),) = looked.different
    assert (old.text, new.text, new.audio, len(looked.new)) == ("我要喝水", "我想喝水", "audio/001.wav", 2)
    assert label_import.write(looked) == 2
    assert json.loads(workspace.labels.read_text(encoding="utf-8"))[0] == json.loads(mine)[0]
    assert label_import.write(label_import.preview(path, workspace), replace_texts=True) == 1
    first = json.loads(workspace.labels.read_text(encoding="utf-8"))[0]
    assert first == {"text": "我想喝水", "audio": "audio/001.wav", "note": "妈妈听过"}


def test_what_was_changed_since_the_preview_stays(workspace: Workspace) -> None:
    workspace.labels.write_text('[{"audio": "audio_raw/001.wav", "text": "我要喝水"}]', encoding="utf-8")
    path = workspace.data_dir / "metadata.csv"
    path.write_bytes(TABLES["metadata.csv"])
    looked = label_import.preview(path, workspace)
    workspace.labels.write_text(
        '[{"audio": "audio_raw/001.wav", "text": "喝水"}, {"audio": "audio_raw/002.m4a", "text": "疼"}]',
        encoding="utf-8",
    )
    assert label_import.write(looked, replace_texts=True) == 1
    assert [label.text for label in read_labels(workspace.labels)] == ["喝水", "疼", "不要"]


def test_lines_that_give_no_entry_are_named_and_the_rest_goes_in(workspace: Workspace) -> None:
    rows = [
        ("001.wav", "我想喝水", "1", "test"),
        ("nowhere.wav", "我很疼", "", ""),
        ("002.m4a", "<|endoftext|>", "", ""),
        ("", "不要", "", ""),
        ("003.mp3", "不要", "", ""),
        ("003.mp3", "停", "", ""),
        ("../../etc/passwd.wav", "停", "", ""),
        ("002.m4a", "我很疼", "", "dev"),
        ("002.m4a", "", "", ""),
    ]
    content = "\n".join(["file,text,take,split", *(",".join(row) for row in rows)])
    path = workspace.data_dir / "labels.csv"
    path.write_text(content, encoding="utf-8")
    looked = label_import.preview(path, workspace)
    assert [(label.audio, label.take, label.split) for label in looked.new] == [("audio_raw/001.wav", 1, "test")]
    codes = ["RZ-0489", "RZ-0483", "RZ-0403", "RZ-0490", "RZ-0489", "RZ-0403", "RZ-0404"]
    assert [problem[1:8] for problem in looked.problems] == codes
    assert all(f"{line} 行" in problem for line, problem in zip((3, 4, 5, 7, 8, 9, 10), looked.problems, strict=True))


def test_takes_of_a_phrase_are_numbered_on(workspace: Workspace) -> None:
    workspace.labels.write_text('[{"audio": "audio_raw/001.wav", "text": "不要"}]', encoding="utf-8")
    path = workspace.data_dir / "metadata.csv"
    path.write_text("file_name,text\n002.m4a,不要\n003.mp3,不要！", encoding="utf-8")
    assert [label.take for label in label_import.preview(path, workspace).new] == [2, 3]


@pytest.mark.parametrize(
    ("name", "content", "code", "said"),
    [
        ("metadata.csv", b"path,client\na.wav,x\n", "RZ-0488", "path, client"),
        ("metadata.csv", "幫我開燈,要\n".encode("big5"), "RZ-0440", "metadata.csv"),
        ("metadata.csv", b'file_name,text\n"' + b"a" * 200_000, "RZ-0446", "metadata.csv"),
        ("metadata.jsonl", b"[" * 100_000, "RZ-0010", "metadata.jsonl:1"),
        ("metadata.jsonl", b'{"file_name": "a.wav", "text": "a"}\n[1]', "RZ-0010", "metadata.jsonl:2"),
        ("labels.xlsx", b"PK\x03\x04rest", "RZ-0441", "labels.xlsx"),
        ("labels.xls", b"\xd0\xcf\x11\xe0rest", "RZ-0441", "labels.xls"),
        ("metadata.csv", b"", "RZ-0488", "metadata.csv"),
    ],
)
def test_a_table_that_cannot_be_read_is_named(
    workspace: Workspace, name: str, content: bytes, code: str, said: str
) -> None:
    (workspace.data_dir / name).write_bytes(content)
    with pytest.raises(ResonanceError, match=code) as caught:
        label_import.preview(workspace.data_dir / name, workspace)
    assert said in str(caught.value)
    assert code in [notice.code for notice in upload_recordings.check(workspace).notices]


def test_other_tables_and_a_missing_one_are_none(workspace: Workspace) -> None:
    put(
        workspace.data_dir,
        {"phrases.csv": b"text,audio\nx,y.wav", "prices.csv": b"a,b\n1,2", "~$a.xlsx": b"PK\x03\x04"},
    )
    assert label_import.find(workspace) == ()
    with pytest.raises(ResonanceError, match="RZ-0491"):
        label_import.preview(workspace.data_dir / "nowhere.csv", workspace)
    with pytest.raises(ResonanceError, match="RZ-0417"):
        (workspace.data_dir / "metadata.csv").write_bytes(TABLES["metadata.csv"])
        sample = Workspace(workspace.data_dir, workspace.output_dir, "sample", is_sample=True)
        label_import.write(label_import.preview(workspace.data_dir / "metadata.csv", sample))


@pytest.mark.parametrize(
    "name",
    [
        "label.json",
        "labels.json.txt",
        "Labels.json",
        "lables.json",
        "labels (1).json",
        "labels - 副本.json",
        "LABELS.JSON",
    ],
)
def test_a_file_that_is_called_nearly_so_is_named(workspace: Workspace, name: str) -> None:
    put(workspace.data_dir, {name: b"[]", "consent.json": b"{}", "phrases.json": b"{}", "table.json": b""})
    with pytest.raises(ResonanceError, match="RZ-0401") as caught:
        upload_recordings.check(workspace)
    assert f"有 {name}，" in str(caught.value)
    workspace.labels.write_text("[]", encoding="utf-8")
    assert [
        n.sentence for n in upload_recordings.check(workspace).notices if n.code == "RZ-0487" and name in n.sentence
    ]


def test_the_panel_writes_only_when_its_button_is_pressed(workspace: Workspace) -> None:
    put(workspace.data_dir, {"录音表.csv": TABLES["录音表.csv"]}, [{"audio": NAMES[0], "text": "我要喝水"}])
    before = snapshot(workspace.data_dir)
    panel = ImportLabels(workspace)
    assert panel.save.layout.display == "none"
    panel.look.click()
    assert "GBK" in panel.news.value and "我很疼" in panel.shown.value and "我要喝水" in panel.shown.value
    assert panel.save.layout.display == panel.replace.layout.display == "" and snapshot(workspace.data_dir) == before
    panel.save.click()
    assert "2 条" in panel.answer.value
    assert [label.text for label in read_labels(workspace.labels)] == ["我要喝水", "我很疼", "不要"]
    panel.look.click()
    panel.replace.value = True
    panel.save.click()
    assert [label.text for label in read_labels(workspace.labels)] == list(TEXTS)


def test_the_panel_says_what_is_wrong_with_a_table_and_when_there_is_none(workspace: Workspace) -> None:
    panel = ImportLabels(workspace)
    assert "metadata.csv" in panel.news.value and panel.look.disabled
    put(workspace.data_dir, {"metadata.csv": b"a,b\n1,2"})
    panel = ImportLabels(workspace)
    panel.look.click()
    assert "RZ-0488" in panel.news.value and panel.save.layout.display == "none"


def test_a_list_of_phrases_may_be_a_workbook() -> None:
    table = workbook([("主题", "句子"), ("心情", "我要回家"), ("", "不要")])
    assert [phrase.text for phrase in parse(table, "a.xlsx").phrases] == ["我要回家", "不要"]


@given(
    st.binary(max_size=80) | st.text(max_size=60).map(str.encode),
    st.sampled_from(["a.csv", "a.tsv", "a.jsonl", "a.xlsx"]),
)
def test_any_bytes_are_a_table_or_an_error_of_ours(content: bytes, name: str) -> None:
    for start in (b"", b"PK\x03\x04"):
        try:
            tables.read(start + content, name)
        except ResonanceError as error:
            assert error.code in ("RZ-0440", "RZ-0441", "RZ-0446", "RZ-0010")
