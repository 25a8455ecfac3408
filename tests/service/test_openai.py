"""OpenAI's transcription API, driven by their own client."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai.types.audio import TranscriptionCreateParams
from serving import HTTP, SHORT, SHOWN, TOKEN, Voices, make_adapter, running, sound

from resonance_helpers.asr.manifest import MANIFEST
from resonance_helpers.asr.whisper import Hypothesis
from resonance_helpers.core.messages import LANGUAGES, message
from resonance_helpers.service.app import create_app
from resonance_helpers.service.keys import KEYS_FILE, Keyring, make_key
from resonance_helpers.service.openai_routes import PARAMETERS
from resonance_helpers.service.registry import AdapterRegistry

TRAINED = "2026-11-22T12:00:00+00:00"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("two")
    for patient in SHOWN:
        manifest = make_adapter(root / patient / "adapter", patient) / MANIFEST
        manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"time": TRAINED}))
    return root


@pytest.fixture(scope="module")
def voices() -> Voices:
    return Voices()


@pytest.fixture(scope="module")
def url(folder: Path, voices: Voices) -> Iterator[str]:
    with running(create_app(lambda: voices, AdapterRegistry(folder), Keyring(TOKEN, folder / KEYS_FILE))) as address:
        yield f"{address}/v1"


@pytest.fixture(scope="module")
def client(url: str) -> openai.OpenAI:
    return client_of(url, TOKEN)


def client_of(url: str, key: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=url, api_key=key, max_retries=0, timeout=30)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def clip(seconds: float = 1.5) -> tuple[str, bytes]:
    return ("clip.wav", sound(seconds))


def test_the_models_are_the_patients_of_the_key(client: openai.OpenAI, url: str, folder: Path) -> None:
    assert [(model.id, model.created) for model in client.models.list()] == [
        (patient, 1_795_348_800) for patient in ("alice", "bob")
    ]
    _, key = make_key(folder / KEYS_FILE, ["bob"])
    assert [model.id for model in client_of(url, key).models.list()] == ["bob"]


@pytest.mark.parametrize("patient", SHOWN)
def test_a_recording_is_answered_in_the_voice_of_the_model(client: openai.OpenAI, patient: str) -> None:
    answer = client.audio.transcriptions.create(model=patient, file=clip(), language="zh", prompt="", temperature=0)
    assert answer.text == SHOWN[patient]


def test_every_format(client: openai.OpenAI) -> None:
    said = {
        kind: client.audio.transcriptions.create(model="alice", file=clip(), response_format=kind)
        for kind in ("json", "text", "verbose_json", "srt", "vtt")
    }
    text = SHOWN["alice"]
    assert said["json"].text == text and said["text"] == f"{text}\n"
    assert said["srt"] == f"1\n00:00:00,000 --> 00:00:01,500\n{text}\n\n"
    assert said["vtt"] == f"WEBVTT\n\n00:00:00.000 --> 00:00:01.500\n{text}\n\n"
    whole = said["verbose_json"]
    assert (whole.text, whole.language, whole.duration) == (text, "zh", 1.5)
    assert [(each.start, each.end, each.text) for each in whole.segments] == [(0.0, 1.5, text)]


def test_where_nobody_speaks_no_format_says_anything(
    client: openai.OpenAI, voices: Voices, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        voices, "recognise", lambda samples, voice, window_s: [Hypothesis("", truncated=False, unsure=True)]
    )
    kinds = ("json", "text", "verbose_json", "srt", "vtt")
    said = [client.audio.transcriptions.create(model="alice", file=clip(), response_format=kind) for kind in kinds]
    assert said[0].text == said[2].text == "" and said[2].segments == []
    assert (said[1], said[3], said[4]) == ("\n", "", "WEBVTT\n\n")


# ── Parameters ───────────────────────────────────────────────────────────────
VERBOSE = ("response_format", "verbose_json")
ANYWAY = [  # asks for what happens anyway, or for nothing
    *([("language", value)] for value in ("zh", "ZH", "zh-CN", "zh_CN", "zh-Hans", "Chinese", "auto", "", " ")),
    *([("languages[]", "zh"), ("languages[]", "zh-CN")], [("languages", '["zh"]')]),
    *([("temperature", value)] for value in ("0", "0.0", "0.00", "-0", "0e0", "", "null")),
    *([("response_format", value)] for value in ("json", "JSON", "text", "verbose_json", "srt", "vtt", "")),
    *([("stream", value)] for value in ("false", "False", "0", "", "null")),
    *([(f"timestamp_granularities{end}", "segment"), VERBOSE] for end in ("", "[]", "[0]")),
    [("timestamp_granularities[]", "segment"), ("timestamp_granularities[]", "segment"), VERBOSE],
    [("timestamp_granularities", '["segment"]'), VERBOSE],
    [("timestamp_granularities[]", "segment"), ("response_format", "srt")],
    [("timestamp_granularities[]", "")],
    *([(field, value)] for field in ("vad_filter", "without_timestamps") for value in ("true", "false")),
    *([(field, "false")] for field in ("word_timestamps", "diarize", "translate")),
    [("task", "transcribe")],
    [("chunking_strategy", "auto")],
    *([(field, "")] for field in ("prompt", "hotwords", "chunking_strategy", "include[]", "made_up")),
    *([(field, "[]")] for field in ("include", "keywords", "known_speaker_names", "known_speaker_references")),
    [("prompt", ""), ("language", "zh"), ("temperature", "0"), ("stream", "false"), ("vad_filter", "true"), VERBOSE,
     ("hotwords", ""), ("chunking_strategy", ""), ("include[]", ""), ("timestamp_granularities[]", "segment")],
]  # fmt: skip
NOT_HERE = [  # what can't be done, and what may be written instead
    *([("language", value), "zh, auto"] for value in ("en", "zh-TW", "zh-Hant-HK", "yue", "klingon", "[[")),
    [("languages[]", "en"), "zh, auto"],
    *([("temperature", value), "0"] for value in ("0.2", "1", "nan", "warm", "[0, 0.2]", "true")),
    *([("response_format", value), "json, text, verbose_json, srt, vtt"] for value in ("diarized_json", "xml", "0")),
    *([("stream", value), "false"] for value in ("true", "True", "1", "yes")),
    [("timestamp_granularities[]", "word"), "segment"],
    [("timestamp_granularities", '["segment", "word"]'), "segment"],
    [("timestamp_granularities[]", "segment"), "segment (response_format = verbose_json, srt, vtt)"],
    [("word_timestamps", "true"), "false"],
    [("diarize", "true"), "false"],
    [("translate", "true"), "false"],
    [("task", "translate"), "transcribe"],
    [("vad_filter", "loud"), "true, false"],
    *([(field, "x"), '""'] for field in ("prompt", "hotwords", "keywords[]", "include[]", "known_speaker_names[]",
                                         "known_speaker_references[]", "made_up", "beam_size", "response_formats")),
    [("prompt", "0"), '""'],
    [("prompt", "[" * 100_000), '""'],
    *([("chunking_strategy", value), "auto"] for value in ("x", '{"type": "server_vad"}')),
]  # fmt: skip


def say(url: str, *fields: tuple[str, str], model: str = "alice", key: str = TOKEN) -> httpx.Response:
    """A form with ``fields`` in this order, one of them perhaps several times."""
    parts = [
        ("file", ("clip.wav", SHORT)),
        ("model", (None, model)),
        *((name, (None, value)) for name, value in fields),
    ]
    headers = {"Authorization": f"Bearer {key}", "Accept-Language": "en"}
    return HTTP.post(f"{url}/audio/transcriptions", files=parts, headers=headers, timeout=60)


@pytest.mark.parametrize("fields", ANYWAY, ids=lambda fields: "&".join("=".join(field) for field in fields))
def test_what_happens_anyway_may_be_asked_for(url: str, fields: list[tuple[str, str]]) -> None:
    response = say(url, *fields)
    assert response.status_code == 200 and SHOWN["alice"] in response.text, response.text
    assert VERBOSE not in fields or response.json()["segments"]


@pytest.mark.parametrize("refusal", NOT_HERE, ids=lambda refusal: f"{refusal[0][0]}={refusal[0][1][:20]}")
def test_what_cannot_be_done_is_refused_by_name_with_what_may_be_written(
    url: str, voices: Voices, refusal: list[Any]
) -> None:
    (field, value), allowed = refusal
    heard = len(voices.heard)
    response = say(url, (field, value))
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (400, "RZ-0912", field)
    assert f"do {field} = {value[:64]}" in error["message"] and f"write: {allowed}." in error["message"]
    assert len(voices.heard) == heard


def test_every_parameter_of_openais_client_is_decided() -> None:
    theirs = TranscriptionCreateParams.__args__  # type: ignore[attr-defined]
    names = {name for each in theirs for name in each.__annotations__}
    assert names - {"file", "model"} <= PARAMETERS.keys() and len(names) > 10


def test_defaults_that_clients_write_out_are_accepted(client: openai.OpenAI) -> None:
    answer = client.audio.transcriptions.create(
        model="alice", file=clip(), language="zh", prompt="", response_format="verbose_json", temperature=0.0,
        stream=False, timestamp_granularities=["segment"], include=[], chunking_strategy="auto",
    )  # fmt: skip
    assert answer.text == SHOWN["alice"] and answer.segments


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"language": "en"}, "language"),
        ({"prompt": "他叫小明"}, "prompt"),
        ({"temperature": 0.5}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"response_format": "diarized_json"}, "response_format"),
        ({"response_format": "verbose_json", "timestamp_granularities": ["word"]}, "timestamp_granularities[]"),
        ({"stream": True}, "stream"),
        ({"chunking_strategy": {"type": "server_vad"}}, "chunking_strategy[type]"),
        ({"extra_body": {"made_up": "x"}}, "made_up"),
    ],
)
def test_what_is_not_supported_is_named_and_nothing_is_heard(
    client: openai.OpenAI, voices: Voices, options: dict[str, object], field: str
) -> None:
    heard = len(voices.heard)
    with pytest.raises(openai.BadRequestError) as caught:
        client.audio.transcriptions.create(model="alice", file=clip(), **options)
    assert (caught.value.code, caught.value.param) == ("RZ-0912", field) and field in caught.value.message
    assert len(voices.heard) == heard


# ── The model ────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("model", ["whisper-1", "alice", "carol"])
def test_a_key_of_one_patient_is_told_what_to_write_as_the_model(url: str, folder: Path, model: str) -> None:
    _, key = make_key(folder / KEYS_FILE, ["bob"])
    response = say(url, model=model, key=key)
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (404, "RZ-0961", "model")
    assert error["message"].startswith(f"model cannot be '{model}'") and "write: bob." in error["message"]
    assert "alice" not in error["message"].replace(model, "")


@pytest.mark.parametrize("patients", [["alice", "bob"], ["carol"], None])
def test_any_other_key_is_told_where_it_stands(url: str, folder: Path, patients: list[str] | None) -> None:
    _, key = make_key(folder / KEYS_FILE, patients)
    error = say(url, model="whisper-1", key=key).json()["error"]
    assert (error["code"], error["param"]) == ("RZ-0904", "model") and "GET /v1/models" in error["message"]


@pytest.mark.parametrize("model", ["carol", "whisper-1", "..", "alice/../bob", "a" * 500])
def test_an_unknown_model_is_404(client: openai.OpenAI, model: str) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.audio.transcriptions.create(model=model, file=clip())
    assert caught.value.code == "RZ-0904"


def test_a_key_opens_its_own_patients_only(url: str, folder: Path) -> None:
    _, key = make_key(folder / KEYS_FILE, ["bob"])
    mine = client_of(url, key).audio.transcriptions
    assert mine.create(model="bob", file=clip()).text == SHOWN["bob"]
    with pytest.raises(openai.NotFoundError):
        mine.create(model="alice", file=clip())
    with pytest.raises(openai.AuthenticationError) as caught:
        client_of(url, "wrong-key-of-16-chars").audio.transcriptions.create(model="bob", file=clip())
    assert caught.value.code == "RZ-0901"


def test_what_is_no_audio_is_said_in_their_form_and_in_both_languages(url: str) -> None:
    for lang in LANGUAGES:
        response = HTTP.post(
            f"{url}/audio/transcriptions",
            headers={"Authorization": f"Bearer {TOKEN}", "Accept-Language": lang},
            files={"file": ("a", b"")},
            data={"model": "alice"},
        )
        error = response.json()["error"]
        assert response.status_code == 422 and set(error) == {"message", "type", "param", "code"}
        assert error["message"] == message("RZ-0501", lang=lang, name="file")


@pytest.mark.parametrize("left_out", ["file", "model"])
def test_a_missing_field_is_named(url: str, left_out: str) -> None:
    request = {"files": {"file": ("a.wav", SHORT)}, "data": {"model": "alice"}}
    request.pop({"file": "files", "model": "data"}[left_out])
    response = post(f"{url}/audio/transcriptions", **request)
    assert (response.json()["error"]["code"], response.json()["error"]["param"]) == ("RZ-0903", left_out)


def post(address: str, **request: object) -> httpx.Response:
    return HTTP.post(address, headers={"Authorization": f"Bearer {TOKEN}"}, **request)
