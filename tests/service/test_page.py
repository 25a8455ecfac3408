"""The phone page over HTTP: open to everybody, strict about what it may load, its sentences complete in both languages;
and the phrases to choose from, which are not open to everybody."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from serving import CONSENT, HTTP, KEY, TOKEN, Voices, make_adapter, post, refused, running

from resonance_helpers.core.messages import LANGUAGES, catalogue
from resonance_helpers.core.settings import ServiceSettings
from resonance_helpers.core.workspace import write_json
from resonance_helpers.dataset.labels import read_labels
from resonance_helpers.service import page_routes
from resonance_helpers.service.app import ANSWER_HEADER, create_app
from resonance_helpers.service.keys import KEYS_FILE, Keyring, make_key
from resonance_helpers.service.registry import AdapterRegistry

PAGE = Path(page_routes.__file__).parent / "page"
SOURCES = {path.name: path.read_text(encoding="utf-8") for path in PAGE.iterdir()}
NOT_SERVED = [
    *("page", "page/", "page/index.html", "page/nothing.js", "page/page.js/x", "PAGE/page.js", "index.html"),
    *("page/../app.py", "page/%2e%2e/app.py", "page/..%2fkeys.py", "page/%2fetc%2fpasswd", "page/page.js%00"),
    "favicon.ico",
]
OURS = {key.removeprefix("page."): both for key, both in catalogue().items() if key.startswith("page.")}


@pytest.fixture(scope="module")
def url(folder_of_two: Path) -> Iterator[str]:
    with running(create_app(Voices, AdapterRegistry(folder_of_two), Keyring(TOKEN))) as address:
        yield address


# ── What is served ───────────────────────────────────────────────────────────
@pytest.mark.parametrize("path", sorted(page_routes.PATHS))
def test_the_page_needs_no_key_and_is_bound_to_this_service(url: str, path: str) -> None:
    response = HTTP.get(url + path)
    assert response.status_code == 200 and response.content
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
    assert not re.search(r"unsafe|https?:|\*|data:|blob:", policy)
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["referrer-policy"] == "no-referrer"
    assert response.headers["cache-control"] == "no-store"
    if path == "/":
        assert response.headers["content-type"] == "text/html; charset=utf-8"
        assert "microphone=(self)" in response.headers["permissions-policy"]


def test_every_file_of_the_page_has_its_kind(url: str) -> None:
    kinds = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml", "html": "text/html"}
    for name, source in SOURCES.items():
        response = HTTP.get(f"{url}/" if name == "index.html" else f"{url}/page/{name}")
        assert response.headers["content-type"].split(";")[0] == kinds[name.rpartition(".")[2]]
        assert response.text == source


@pytest.mark.parametrize("path", NOT_SERVED)
def test_nothing_else_is_served_without_a_key_nor_with_one(url: str, path: str) -> None:
    refused(HTTP.get(f"{url}/{path}"), "RZ-0901")
    assert HTTP.get(f"{url}/{path}", headers=KEY).status_code == 404


def test_only_reading_is_open(url: str) -> None:
    assert HTTP.post(f"{url}/").status_code == 405
    refused(HTTP.get(f"{url}/phrases"), "RZ-0901")
    refused(HTTP.get(f"{url}/readyz"), "RZ-0901")


def test_what_is_not_the_page_keeps_the_strictest_policy(url: str) -> None:
    assert "script-src" not in HTTP.get(f"{url}/health").headers["content-security-policy"]


# ── What stands in it ────────────────────────────────────────────────────────
def test_it_says_whether_the_model_is_for_rehearsal_and_how_long_a_recording_may_be(url: str, tmp_path: Path) -> None:
    about = HTTP.get(f"{url}/page/about.json").json()
    assert about["practice"] is True and about["longest_s"] == ServiceSettings.max_audio_s
    make_adapter(tmp_path / "adapter", "alice", name="openai/whisper-small")
    with running(create_app(Voices, AdapterRegistry(tmp_path), Keyring(TOKEN)), until_ready=False) as other:
        assert HTTP.get(f"{other}/page/about.json").json()["practice"] is False


def test_its_sentences_are_complete_and_all_used(url: str) -> None:
    texts = HTTP.get(f"{url}/page/about.json").json()["texts"]
    assert set(texts) == set(LANGUAGES)
    assert texts == {lang: {key: both[lang] for key, both in OURS.items()} for lang in LANGUAGES}
    code = "\n".join(SOURCES.values())
    assert set(re.findall(r'(?:data-text=|say\(|hint\(|key: )"([\w.]+)"', code)) <= OURS.keys()
    names = set(re.findall(r'"([\w.]+)"', code))
    assert {name for name in re.findall(r'(?:Problem|trouble)\("(\w+)"', code) if f"problem.{name}" not in OURS} == {
        "cancelled"
    }
    for key in OURS:  # some are put together
        assert {key, key.removesuffix(".hint"), key.removeprefix("problem.")} & names, f"{key} is said nowhere"


def test_nothing_of_it_comes_from_elsewhere_and_nothing_stands_inline() -> None:
    for name, source in SOURCES.items():
        assert set(re.findall(r"https?://[^\s\"'<>]+", source)) <= {"http://www.w3.org/2000/svg"}, name
        assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\(", source), name
    assert not re.search(r"<script(?![^>]*\bsrc=)|\son\w+=|\sstyle=", SOURCES["index.html"])
    assert not re.search(r"MediaRecorder\(|console\.", "\n".join(SOURCES.values()))


# ── The phrases to choose from ───────────────────────────────────────────────
def test_the_key_decides_whose_phrases_there_are_and_consent_whether(
    folder_of_two: Path, data: Path, tmp_path: Path
) -> None:
    keyring = Keyring(TOKEN, tmp_path / KEYS_FILE)
    alices, bobs, shared = (make_key(tmp_path / KEYS_FILE, who)[1] for who in (["alice"], ["bob"], ["alice", "bob"]))
    with running(create_app(Voices, AdapterRegistry(folder_of_two), keyring, corrections=data)) as url:

        def ask(key: str) -> object:
            return HTTP.get(f"{url}/phrases", headers={"Authorization": f"Bearer {key}", "Accept-Language": "en"})

        expected = list(dict.fromkeys(label.text for label in read_labels(data / "alice" / "labels.json")))
        assert ask(alices).json() == {"phrases": expected} and len(expected) > 5
        refused(ask(bobs), "RZ-0917")  # who did not agree
        refused(ask(shared), "RZ-0905")
        refused(ask(TOKEN), "RZ-0905")
        write_json(data / "alice" / "consent.json", CONSENT | {"assent": False})
        refused(ask(alices), "RZ-0917")
        assert ANSWER_HEADER not in post(url).headers


def test_switched_off_there_are_no_phrases(tmp_path: Path) -> None:
    make_adapter(tmp_path / "adapter", "alice")
    with running(create_app(Voices, AdapterRegistry(tmp_path), Keyring(TOKEN))) as url:
        assert "--corrections" in refused(HTTP.get(f"{url}/phrases", headers=KEY), "RZ-0917")
