"""Keys: whom each speaks for, where it may stand, and that a revoked one is refused at once."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from pathlib import Path

import httpx
import pytest
from serving import HTTP, SHORT, SHOWN, TOKEN, Voices, make_adapter, post, refused, running
from typer.testing import CliRunner

from resonance_helpers import ResonanceError
from resonance_helpers.cli import app
from resonance_helpers.core.messages import message
from resonance_helpers.service import keys
from resonance_helpers.service.app import create_app
from resonance_helpers.service.keys import KEYS_FILE, Keyring, make_key, read_keys, revoke_key
from resonance_helpers.service.registry import AdapterRegistry


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Adapters of alice and bob."""
    for patient in SHOWN:
        make_adapter(tmp_path / patient / "adapter", patient)
    return tmp_path


@pytest.fixture
def file(folder: Path) -> Path:
    return folder / KEYS_FILE


@pytest.fixture
def url(folder: Path, file: Path) -> Iterator[str]:
    with running(create_app(Voices, AdapterRegistry(folder), Keyring(TOKEN, file))) as address:
        yield address


def ask(url: str, key: str, patient: str | None = None) -> httpx.Response:
    data = {} if patient is None else {"patient_id": patient}
    return post(url, SHORT, headers={"Authorization": f"Bearer {key}", "Accept-Language": "en"}, data=data)


def ask_address(url: str, key: str, path: str = "transcribe", **data: str) -> httpx.Response:
    """As the guide's app: one address, the field ``file``, no header."""
    return HTTP.post(f"{url}/k/{key}/{path}", files={"file": ("a.wav", SHORT)}, data=data)


# ── Whom a key speaks for ────────────────────────────────────────────────────
def test_a_key_for_one_patient_names_them(url: str, file: Path) -> None:
    _, key = make_key(file, ["bob"])
    assert ask(url, key).json()["text"] == ask(url, key, "bob").json()["text"] == SHOWN["bob"]
    detail = refused(ask(url, key, "alice"), "RZ-0904")
    assert detail == message("RZ-0904", lang="en", patient="alice"), "as if there were no alice at all"


def test_a_key_for_several_has_no_default(url: str, file: Path) -> None:
    _, key = make_key(file, ["alice", "carol"])  # carol is not trained yet: that does not make alice a default
    refused(ask(url, key), "RZ-0905")
    assert ask(url, key, "alice").json()["text"] == SHOWN["alice"]
    for stranger in ("carol", "bob"):
        refused(ask(url, key, stranger), "RZ-0904")


def test_a_key_whose_patient_is_not_here(url: str, file: Path) -> None:
    refused(ask(url, make_key(file, ["carol"])[1]), "RZ-0904")


def test_a_revoked_key_is_refused_at_once_and_the_others_stay(url: str, file: Path) -> None:
    (first, one), (_, other) = make_key(file, ["alice"]), make_key(file, None)
    assert ask(url, one).status_code == ask(url, other, "bob").status_code == 200
    assert revoke_key(file, first.id) == first
    refused(ask(url, one), "RZ-0901")
    assert ask(url, other, "bob").status_code == 200
    with pytest.raises(ResonanceError, match="RZ-0930"):
        revoke_key(file, first.id)


# ── A key in the address ─────────────────────────────────────────────────────
def test_an_app_with_one_address_field_is_answered(url: str, file: Path) -> None:
    _, key = make_key(file, ["bob"], "address")
    assert ask_address(url, key).json()["text"] == SHOWN["bob"]
    assert HTTP.get(f"{url}/k/{key}/health").status_code == 200
    refused(ask_address(url, key, patient_id="alice"), "RZ-0904")


def test_neither_kind_of_key_opens_the_other_door(url: str, file: Path) -> None:
    _, in_address = make_key(file, ["bob"], "address")
    _, in_header = make_key(file, ["bob"])
    refused(ask(url, in_address), "RZ-0901")
    for key in (in_header, TOKEN):
        refused(ask_address(url, key), "RZ-0901")


@pytest.mark.parametrize("path", ["openapi.json", "nothing", "", "transcribe/x", "k/x/transcribe", "../openapi.json"])
def test_an_address_opens_nothing_else(url: str, file: Path, path: str) -> None:
    _, key = make_key(file, ["bob"], "address")
    refused(ask_address(url, key, path), "RZ-0901")


@pytest.mark.parametrize("key", ["", "x", "x" * 43, "%00", "a%2Fb"])
def test_an_address_with_a_wrong_key(url: str, file: Path, key: str) -> None:
    make_key(file, ["bob"], "address")
    refused(ask_address(url, key), "RZ-0901")
    refused(HTTP.get(f"{url}/k/{key}/health"), "RZ-0901")  # whoever tries an address out learns whether it is right


def test_a_key_in_the_address_is_in_no_log_and_no_answer(
    url: str, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _, key = make_key(file, ["bob"], "address")
    caplog.set_level(logging.DEBUG)
    answers = [ask_address(url, key), ask_address(url, key, "nothing"), ask_address(url, key + "x")]
    lines = [record.getMessage() for record in caplog.records if record.name.startswith(("resonance", "uvicorn"))]
    assert [line for line in lines if "POST /transcribe 200" in line]
    assert key not in "".join([*lines, *(answer.text for answer in answers)])


@pytest.mark.parametrize("patients", [None, ["alice", "bob"], []])
def test_an_address_is_for_one_patient(file: Path, patients: list[str] | None) -> None:
    with pytest.raises(ResonanceError, match="RZ-0929"):
        make_key(file, patients, "address")
    assert not file.exists()


# ── What is kept ─────────────────────────────────────────────────────────────
def test_only_hashes_are_kept(file: Path) -> None:
    made = [make_key(file, ["alice"], note="妈妈的手机"), make_key(file, None)]
    text = file.read_text(encoding="utf-8")
    assert not any(key in text for _, key in made) and "妈妈的手机" in text
    assert read_keys(file) == tuple(stored for stored, _ in made)
    assert file.stat().st_mode & 0o077 == 0
    ring = Keyring(TOKEN, file)
    assert TOKEN not in repr(vars(ring)) and ring.access(made[1][1], "header") == keys.EVERYBODY


@pytest.mark.parametrize(
    "token", ["", "short", "sixteen letters with spaces", "这个密钥有十六个汉字那么长对不对呀", "x" * 20 + "\n"]
)
def test_a_poor_key_is_refused_at_start(token: str) -> None:
    if not token:
        assert Keyring(token).access("", "header") is None, "no key is no key, not an empty one"
        return
    with pytest.raises(ResonanceError, match="RZ-0924"):
        Keyring(token)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:-20],
        lambda text: "[]",
        lambda text: text.replace('"schema": 1', '"schema": 2'),
        lambda text: text.replace('"place": "header"', '"place": "anywhere"'),
        lambda text: text.replace('"sha256": "', '"sha256": "00'),
        lambda text: text.replace('"alice"', "1"),
    ],
)
def test_a_damaged_file_opens_nothing(url: str, file: Path, damage: object) -> None:
    _, key = make_key(file, ["alice"])
    assert ask(url, key).status_code == 200
    whole = file.read_text(encoding="utf-8")
    file.write_text(damage(whole), encoding="utf-8")  # type: ignore[operator]
    refused(ask(url, key), "RZ-0901")
    assert ask(url, TOKEN, "alice").status_code == 200, "the key of the start stays"
    for act in (lambda: Keyring(TOKEN, file), lambda: make_key(file, ["alice"])):
        with pytest.raises(ResonanceError, match="RZ-0928"):
            act()
    file.write_text(whole, encoding="utf-8")
    assert ask(url, key).status_code == 200


def test_every_hash_is_compared_in_constant_time(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = [make_key(file, ["alice"])[1] for _ in range(3)]
    ring, compared = Keyring(TOKEN, file), []
    real = keys.hmac.compare_digest
    monkeypatch.setattr(keys.hmac, "compare_digest", lambda *pair: (compared.append(pair), real(*pair))[1])
    for key in (TOKEN, *made, "a stranger's key"):
        compared.clear()
        ring.access(key, "header")
        assert len(compared) == 4, "the place of a key in the list must not show in the time"


# ── Many at once, and killed in between ──────────────────────────────────────
def _make_and_revoke(file: Path, start: Barrier, number: int) -> None:
    start.wait()
    for nth in range(3):
        make_key(file, ["alice"], note=f"kept {number} {nth}")
        gone, _ = make_key(file, None, note="gone")
        revoke_key(file, gone.id)


def test_no_key_is_lost_and_no_revoked_one_comes_back_where_many_change_the_file(file: Path) -> None:
    make_key(file, ["bob"], note="kept")
    fork = get_context("fork")
    start = fork.Barrier(4)
    all_of_them = [fork.Process(target=_make_and_revoke, args=(file, start, number)) for number in range(4)]
    for process in all_of_them:
        process.start()
    for process in all_of_them:
        process.join(120)
        assert process.exitcode == 0
    notes = sorted(key.note for key in read_keys(file))
    assert notes == sorted(["kept", *(f"kept {number} {nth}" for number in range(4) for nth in range(3))])


@pytest.mark.parametrize("dies_at", ["fsync", "replace", "chmod"])
def test_whoever_is_killed_leaves_nothing_readable_and_what_is_left_goes_with_the_next_change(
    file: Path, dies_at: str
) -> None:
    first, _ = make_key(file, ["alice"])
    before = os.umask(0)
    try:
        if not (child := os.fork()):  # a kill at this moment: nothing is cleaned up
            setattr(os, dies_at, lambda *_, **__: os._exit(9))
            make_key(file, ["bob"])
            os._exit(0)  # there was no such moment
        os.waitpid(child, 0)
    finally:
        os.umask(before)
    files = [path for path in file.parent.iterdir() if path.is_file()]
    assert all(path.stat().st_mode & 0o077 == 0 for path in files), files
    assert first in read_keys(file), "the file is whole"
    make_key(file, ["alice"])
    assert {path.name for path in file.parent.iterdir() if path.is_file()} == {KEYS_FILE, f".{KEYS_FILE}.lock"}


# ── The command line ─────────────────────────────────────────────────────────
def call(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["keys", *map(str, arguments)])
    return result.exit_code, result.output


def test_make_list_and_revoke(folder: Path, file: Path, url: str) -> None:
    code, said = call("make", folder, "--patient", "bob", "--address", "--note", "妈妈的手机")
    assert code == 0
    key = said.partition("/k/")[2].partition("/transcribe")[0]
    assert ask_address(url, key).json()["text"] == SHOWN["bob"]
    (stored,) = read_keys(file)
    code, said = call("list", folder)
    assert code == 0 and key not in said
    assert all(word in said for word in (stored.id, "bob", "妈妈的手机", message("cli.keys.place.address")))
    code, said = call("revoke", folder, stored.id)
    assert code == 0 and stored.id in said
    refused(ask_address(url, key), "RZ-0901")
    assert message("cli.keys.none") in call("list", folder)[1]


def test_a_key_that_an_earlier_version_made_for_an_administrator_is_one_for_everybody(file: Path) -> None:
    _, key = make_key(file, None)
    kept = json.loads(file.read_text())
    file.write_text(json.dumps({**kept, "keys": [entry | {"admin": True} for entry in kept["keys"]]}))
    assert Keyring(file=file).access(key, "header") == keys.EVERYBODY


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ((), "RZ-0931"),
        (("--everybody", "--patient", "bob"), "RZ-0931"),
        (("--everybody", "--address"), "RZ-0929"),
        (("--patient", "../bob"), "RZ-0002"),
    ],
)
def test_what_cannot_be_made_is_said_and_nothing_is_written(
    folder: Path, file: Path, arguments: tuple[str, ...], code: str
) -> None:
    exit_code, said = call("make", folder, *arguments)
    assert exit_code == 1 and code in said and not file.exists()


def test_the_file_is_plain_json_with_a_schema(file: Path) -> None:
    make_key(file, ["alice"])
    assert set(json.loads(file.read_text(encoding="utf-8"))) == {"schema", "keys"}
