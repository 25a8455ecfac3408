"""Clients that strangers wrote: addresses spelled in other ways, HEAD, and forms as they come off the wire."""

from __future__ import annotations

import http.client
import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from serving import SHORT, SHOWN, TOKEN, Voices, make_adapter, running

from resonance_helpers.core.messages import LANGUAGES
from resonance_helpers.service import page_routes
from resonance_helpers.service.app import create_app
from resonance_helpers.service.keys import KEYS_FILE, Keyring, make_key
from resonance_helpers.service.registry import AdapterRegistry

KEY = {"Authorization": f"Bearer {TOKEN}"}
OPENAI = "/v1/audio/transcriptions"
GETS = ("/livez", "/readyz", "/health", "/metrics", "/openapi.json", "/v1/models", *sorted(page_routes.PATHS))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("one")
    make_adapter(root / "alice" / "adapter", "alice")
    return root


@pytest.fixture(scope="module")
def address_key(folder: Path) -> str:
    return make_key(folder / KEYS_FILE, ["alice"], "address")[1]


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    with running(create_app(Voices, AdapterRegistry(folder), Keyring(TOKEN, folder / KEYS_FILE))) as address:
        yield address.removeprefix("http://")


class Answer:
    """One response, as its bytes came."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status, self.headers, self.body = response.status, response.headers, response.read()

    @property
    def json(self) -> dict[str, str]:
        said = json.loads(self.body)
        error = said.get("error", said)
        return {"detail": error.get("message", ""), **error} if "error" in said else said


def ask(url: str, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
    """Nothing is normalised, followed or written into the request by a library."""
    connection = http.client.HTTPConnection(url, timeout=60)
    try:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        return Answer(connection.getresponse())
    finally:
        connection.close()


def part(disposition: str, content: bytes, more: str = "") -> bytes:
    return f"--x\r\nContent-Disposition: form-data; {disposition}\r\n{more}\r\n".encode() + content + b"\r\n"


def form(*parts: bytes, end: bytes = b"--x--\r\n") -> bytes:
    return b"".join(parts) + end


FILE = part('name="file"; filename="clip.wav"', SHORT, "Content-Type: audio/wav\r\n")
MULTIPART = "multipart/form-data; boundary=x"


def send(url: str, body: bytes, kind: str | None = MULTIPART, path: str = "/transcribe", lang: str = "en") -> Answer:
    headers = KEY | {"Accept-Language": lang} | ({"Content-Type": kind} if kind is not None else {})
    return ask(url, "POST", path, body, **headers)


# ── Addresses ────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("path", ["/transcribe", "/transcribe/", "//transcribe", "//transcribe//", "/transcribe%2F"])
def test_a_recording_is_answered_however_the_slashes_are_spelled(url: str, path: str) -> None:
    answer = send(url, form(FILE), path=path)
    assert (answer.status, answer.json.get("text")) == (200, SHOWN["alice"])


@pytest.mark.parametrize("path", [f"{OPENAI}/", f"/{OPENAI}", "//v1///audio//transcriptions//"])
def test_so_is_one_in_openais_form(url: str, path: str) -> None:
    assert send(url, form(FILE, part('name="model"', b"alice")), path=path).json == {"text": SHOWN["alice"]}
    refused = send(url, form(FILE, part('name="model"', b"carol")), path=path)
    assert set(json.loads(refused.body)) == {"error"}


@pytest.mark.parametrize("path", ["/transcribe", "/transcribe/", "//transcribe", "//transcribe//"])
@pytest.mark.parametrize("before", ["/k/", "//k/", "/k//"])
def test_so_is_one_whose_key_stands_in_the_address(
    url: str, address_key: str, before: str, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    answer = ask(url, "POST", f"{before}{address_key}{path}", form(FILE), Content_Type=MULTIPART)
    assert (answer.status, answer.json.get("text")) == (200, SHOWN["alice"])
    until = time.monotonic() + 10
    while "POST /transcribe 200" not in caplog.text and time.monotonic() < until:
        time.sleep(0.01)  # the line is written after the answer
    assert "POST /transcribe 200" in caplog.text and address_key not in caplog.text


@pytest.mark.parametrize("path", ["//health", "/health/", "//livez//", "//", "//page//about.json/"])
def test_what_is_open_is_open_in_every_spelling(url: str, path: str) -> None:
    assert ask(url, "GET", path).status == 200


def spelled(path: str, slashes: list[int]) -> str:
    """``path`` with so many slashes in the place of each, and behind it."""
    parts = path.split("/")[1:]
    return "".join("/" * (count + 1) + part for count, part in zip(slashes, parts, strict=False)) + "/" * slashes[-1]


@given(
    path=st.sampled_from(
        [*GETS, "/transcribe", "/nothing", "/k/KEY/health", "/k/KEY/readyz", "/k/wrong/health", "/k/KEY"]
    ),
    slashes=st.lists(st.integers(0, 3), min_size=5, max_size=5),
    key=st.booleans(),
    method=st.sampled_from(["GET", "HEAD", "POST"]),
)
@settings(max_examples=60)
def test_the_key_opens_the_same_doors_in_every_spelling_and_nobody_is_sent_elsewhere(
    url: str, address_key: str, path: str, slashes: list[int], key: bool, method: str
) -> None:
    path, headers = path.replace("KEY", address_key), KEY if key else {}
    plain, other = (ask(url, method, each, **headers) for each in (path, spelled(path, slashes)))
    assert other.status == plain.status and other.status not in range(300, 400)
    assert "location" not in other.headers and address_key.encode() not in other.body


# ── HEAD and other methods ───────────────────────────────────────────────────
@pytest.mark.parametrize("path", [*GETS, "/nothing", "/transcribe", "//health/"])
@pytest.mark.parametrize("key", [True, False])
def test_head_is_get_without_the_body(url: str, path: str, key: bool) -> None:
    headers = KEY if key else {}
    get, head = (ask(url, method, path, **headers) for method in ("GET", "HEAD"))
    assert head.status == get.status and head.body == b""
    said = [
        {name.lower(): value for name, value in each.headers.items() if name.lower() != "date"} for each in (get, head)
    ]
    if path != "/metrics" or not key:  # whose numbers grow
        assert said[0] == said[1] and said[1]["content-length"] == str(len(get.body))
    assert {"content-length", "content-type"} <= said[1].keys()


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/transcribe", "POST"),
        ("PUT", "/transcribe/", "POST"),
        ("DELETE", OPENAI, "POST"),
        ("POST", "/health", "GET, HEAD"),
        ("POST", "/v1/models", "GET, HEAD"),
        ("PATCH", "/", "GET, HEAD"),
    ],
)
def test_a_wrong_method_is_named_with_the_right_ones(url: str, method: str, path: str, allowed: str) -> None:
    answer = ask(url, method, path, Accept_Language="en", **KEY)
    assert (answer.status, answer.headers["Allow"], answer.json["code"]) == (405, allowed, "RZ-0960")
    assert f"takes {allowed}," in answer.json["detail"] and f"was {method}." in answer.json["detail"]


# ── Forms that mean a recording ──────────────────────────────────────────────
@pytest.mark.parametrize(
    "body",
    [
        form(part("name=\"file\"; filename*=utf-8''%E5%BD%95%E9%9F%B3.wav", SHORT)),
        form(part('name="file"; filename="clip.wav"; filename*=utf-8\'\'clip.wav', SHORT)),
        form(part('name="file"', SHORT)),
        form(part("name=file", SHORT)),
        form(part('name="file"; filename=""', SHORT)),
        form(part('name="file"; filename="录音 1.wav"', SHORT)),
        form(part('filename="clip.wav"; name="file"', SHORT)),
        form(part('name="file"', SHORT, "Content-Type: text/plain\r\n")),
        form(FILE, part('name="patient_id"', b"alice", "Content-Type: text/plain; charset=utf-8\r\n")),
        form(part('name="patient_id"', b"alice"), FILE, end=b"--x--"),
        form(FILE, end=b"--x--\r\nan epilogue"),
    ],
)
def test_a_recording_is_one_whatever_its_part_says(url: str, body: bytes) -> None:
    answer = send(url, body)
    assert (answer.status, answer.json.get("text")) == (200, SHOWN["alice"]), answer.body


def test_a_large_recording_needs_no_filename_either(url: str) -> None:
    answer = send(url, form(part('name="file"', SHORT + bytes(1_500_000))))
    assert answer.json.get("text") == SHOWN["alice"] or answer.json["code"] in ("RZ-0503", "RZ-0506"), answer.body


@pytest.mark.parametrize(
    "kind", ['multipart/form-data; boundary="x"', "Multipart/Form-Data; Boundary=x; charset=utf-8"]
)
def test_the_content_type_may_be_spelled_in_other_ways(url: str, kind: str) -> None:
    assert send(url, form(FILE), kind).status == 200


# ── Forms that don't ─────────────────────────────────────────────────────────
WRONG = {  # what was sent, its Content-Type, the code, what the sentence names
    "another field": (form(part('name="audio"; filename="a.wav"', SHORT)), MULTIPART, "RZ-0903", "has: audio"),
    "no field": (form(), MULTIPART, "RZ-0903", "has: –"),
    "only a text": (form(part('name="patient_id"', b"alice")), MULTIPART, "RZ-0903", "has: patient_id"),
    "json": (b'{"file": "x"}', "application/json", "RZ-0910", "'application/json'"),
    "raw sound": (SHORT, "audio/wav", "RZ-0910", "'audio/wav'"),
    "raw bytes": (SHORT, "application/octet-stream", "RZ-0910", "'application/octet-stream'"),
    "curl --data-binary": (SHORT, "application/x-www-form-urlencoded", "RZ-0910", "x-www-form-urlencoded"),
    "curl -d": (b"file=@a.wav", "application/x-www-form-urlencoded", "RZ-0903", "as text"),
    "no content type": (form(FILE), None, "RZ-0910", "'–'"),
    "another multipart": (form(FILE), "multipart/mixed; boundary=x", "RZ-0910", "'multipart/mixed'"),
    "no boundary": (form(FILE), "multipart/form-data", "RZ-0910", "names no boundary"),
    "another boundary": (form(FILE), "multipart/form-data; boundary=y", "RZ-0910", "does not follow"),
    "two files": (form(FILE, FILE), MULTIPART, "RZ-0910", "more than one file"),
    "no end": (form(FILE, end=b""), MULTIPART, "RZ-0910", "does not end"),
    "half of it": (FILE[:2000], MULTIPART, "RZ-0910", "does not end"),
    "nothing": (b"", MULTIPART, "RZ-0910", "does not end"),
    "no name": (form(part('filename="a.wav"', SHORT)), MULTIPART, "RZ-0910", "has no name"),
    "too many fields": (form(*(part(f'name="a{i}"', b"") for i in range(65))), MULTIPART, "RZ-0910", "than 64 fields"),
    "a large text": (form(part('name="audio"', bytes(2**20 + 1))), MULTIPART, "RZ-0910", "over 1 MB"),
    "an empty file": (form(part('name="file"; filename="a.wav"', b"")), MULTIPART, "RZ-0501", "empty"),
    "a browser's empty field": (form(part('name="file"; filename=""', b"")), MULTIPART, "RZ-0501", "empty"),
    "no sound": (form(part('name="file"', b"hello")), MULTIPART, "RZ-0502", ""),
    "an unknown script": (form(FILE, part('name="script"', b"runes")), MULTIPART, "RZ-0903", "simplified, traditional"),
    "a doubtful switch": (
        form(FILE, part('name="punctuation"', b"maybe")),
        MULTIPART,
        "RZ-0903",
        "allowed: true, false",
    ),
}


@pytest.mark.parametrize("sent", WRONG)
def test_the_sentence_says_what_was_wrong_with_this_request(url: str, sent: str) -> None:
    body, kind, code, named = WRONG[sent]
    answer = send(url, body, kind)
    assert (answer.status // 100, answer.json["code"]) == (4, code) and named in answer.json["detail"]


def test_no_two_faults_get_the_same_sentence(url: str) -> None:
    for lang in LANGUAGES:
        said = {name: send(url, *WRONG[name][:2], lang=lang).json["detail"] for name in WRONG}
        alike = {("no end", "half of it", "nothing"), ("an empty file", "a browser's empty field")}
        assert len(set(said.values())) == len(WRONG) - sum(len(names) - 1 for names in alike), said


def test_no_sound_is_quoted_in_a_sentence(url: str) -> None:
    detail = send(url, b"\xff\xfe" * 500 + b"=1&\x00=2&a=3", "application/x-www-form-urlencoded").json["detail"]
    assert "has: …, …, a" in detail
