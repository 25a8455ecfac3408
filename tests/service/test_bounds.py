"""What the outermost layer bounds beyond the key: slow bodies, all bodies together, headers, other websites."""

from __future__ import annotations

import io
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from serving import HTTP, SHORT, TOKEN, Voices, make_adapter, post, refused, running

from resonance_helpers.core.settings import ServiceSettings
from resonance_helpers.service.app import create_app
from resonance_helpers.service.guard import SECURITY_HEADERS
from resonance_helpers.service.keys import Keyring
from resonance_helpers.service.registry import AdapterRegistry

KEY = {"Authorization": f"Bearer {TOKEN}"}
FRIEND = "https://app.example"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service with little patience and little room."""
    root = tmp_path_factory.mktemp("bounds")
    make_adapter(root / "adapter", "alice")
    room = {"max_held_bytes": 1_000_000, "max_audio_s": 2.0}
    settings = ServiceSettings(body_s=1.0, cors_origins=(FRIEND,), decoders=1, **room)
    with running(create_app(Voices, AdapterRegistry(root), Keyring(TOKEN), settings)) as address:
        yield address


def begin(url: str, content: bytes, length: int) -> socket.socket:
    """A request whose body of ``length`` bytes has only begun."""
    host, port = url.removeprefix("http://").split(":")
    client = socket.create_connection((host, int(port)), timeout=20)
    head = f"POST /transcribe HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: {length}\r\n"
    client.sendall(f"{head}Content-Type: multipart/form-data; boundary=x\r\n\r\n".encode() + content)
    return client


def test_a_body_that_trickles_is_given_up(url: str) -> None:
    started, said = time.perf_counter(), b""
    with begin(url, b"--x\r\n", 1000) as client:
        client.settimeout(0.1)
        while b"RZ-0915" not in said and time.perf_counter() - started < 10:
            try:
                client.sendall(b"y")  # a byte now and then does not buy more time
                said += client.recv(4096)
            except TimeoutError:
                continue
    assert b" 408 " in said and b"RZ-0915" in said
    assert 1.0 <= time.perf_counter() - started < 5


def test_all_bodies_together_are_bounded_and_room_is_given_back(url: str) -> None:
    part = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    with begin(url, part + bytes(900_000), 10_000_000):
        time.sleep(0.2)
        response = post(url, bytes(200_000))
        refused(response, "RZ-0906")
        assert int(response.headers["Retry-After"]) > 0
    time.sleep(0.2)
    refused(post(url, bytes(200_000)), "RZ-0502")


# ── Small files that hold much ───────────────────────────────────────────────
def ten_hours_of_opus() -> bytes:
    """Silence as an encoder writes it that sends nothing then: one byte for two frames of 60 ms. About 650 kB."""
    head = b"OpusHead\x01\x01" + struct.pack("<HIhB", 0, 48_000, 0, 0)
    tags = b"OpusTags" + struct.pack("<II", 0, 0)
    packets = 10 * 3600 * 1000 // 120
    pages = [_ogg_page(0, 0, [head], 2), _ogg_page(1, 0, [tags])]
    for number, first in enumerate(range(0, packets, 255), start=2):
        page = [bytes([3 << 3 | 1])] * min(255, packets - first)
        pages.append(_ogg_page(number, (first + len(page)) * 5_760, page, 4 if first + 255 >= packets else 0))
    return b"".join(pages)


def _ogg_page(number: int, position: int, packets: list[bytes], flags: int = 0) -> bytes:
    sizes = bytes([len(packets), *map(len, packets)])
    header = b"OggS\0" + struct.pack("<BqIII", flags, position, 1, number, 0) + sizes
    page = header + b"".join(packets)
    crc = 0
    for byte in page:
        crc = crc << 8 & 0xFFFFFFFF ^ _OGG_CRC[crc >> 24 ^ byte]
    return page[:22] + struct.pack("<I", crc) + page[26:]


def _ogg_crc_of(byte: int) -> int:
    value = byte << 24
    for _ in range(8):
        value = value << 1 & 0xFFFFFFFF ^ (0x04C11DB7 if value >> 31 else 0)
    return value


_OGG_CRC = [_ogg_crc_of(byte) for byte in range(256)]


def flac_of_a_strange_recorder() -> bytes:
    """Eight seconds in eight channels at the highest rate that FLAC can write."""
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", 655_350, 8, format="FLAC") as writer:
        for _ in range(8):
            writer.write(np.zeros((655_350, 8), np.int16))
    return file.getvalue()


def wav_that_promises_gigabytes() -> bytes:
    content = bytearray(SHORT)
    content[4:8] = content[40:44] = (0xFFFFFFF0).to_bytes(4, "little")
    return bytes(content)


def test_a_length_that_was_never_filled_in_is_no_promise(url: str) -> None:
    assert post(url, wav_that_promises_gigabytes()).status_code == 200


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (ten_hours_of_opus, "RZ-0504"),
        (flac_of_a_strange_recorder, "RZ-0504"),
        (lambda: b"", "RZ-0501"),
        (lambda: SHORT[:44], "RZ-0501"),
    ],
    ids=["ten hours of opus", "655 kHz in 8 channels", "nothing", "a header alone"],
)
def test_a_small_file_that_holds_much_is_refused_at_once(url: str, make: Callable[[], bytes], code: str) -> None:
    content = make()
    assert len(content) < 1_000_000
    started = time.perf_counter()
    refused(post(url, content), code)
    assert time.perf_counter() - started < 3
    assert post(url, SHORT).status_code == 200


def test_an_open_connection_takes_nobodys_turn(url: str) -> None:
    clients = [begin(url, b"--x\r\n", 1000) for _ in range(20)]
    answers: list[int] = []
    asking = threading.Thread(target=lambda: answers.append(post(url, SHORT).status_code))
    asking.start()
    asking.join(0.9)
    assert answers == [200]
    for client in clients:
        client.close()


def test_every_answer_has_the_headers_that_protect_its_reader(url: str) -> None:
    for response in (
        HTTP.get(f"{url}/livez"),
        post(url),
        HTTP.get(f"{url}/nothing"),
        HTTP.get(f"{url}/readyz", headers=KEY),
    ):
        assert {name: response.headers[name] for name in SECURITY_HEADERS} == SECURITY_HEADERS


@pytest.mark.parametrize(("origin", "is_friend"), [(FRIEND, True), ("https://evil.example", False), ("null", False)])
def test_only_named_websites_may_ask(url: str, origin: str, is_friend: bool) -> None:
    wish = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization",
    }
    asked = HTTP.request("OPTIONS", f"{url}/transcribe", headers=wish)
    answered = post(url, headers=KEY | {"Origin": origin})
    for response in (asked, answered):
        assert (response.headers.get("Access-Control-Allow-Origin") == origin) is is_friend
    assert (asked.status_code == 200) is is_friend


def test_no_website_may_ask_unless_it_was_named(folder_of_two: Path) -> None:
    with running(create_app(Voices, AdapterRegistry(folder_of_two), Keyring(TOKEN))) as address:
        for response in (
            HTTP.request("OPTIONS", f"{address}/transcribe", headers={"Origin": FRIEND}),
            post(address, headers=KEY | {"Origin": FRIEND}),
        ):
            assert not [name for name in response.headers if name.lower().startswith("access-control")]
