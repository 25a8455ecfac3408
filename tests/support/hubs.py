"""A hub on this machine that imitates Hugging Face and ModelScope, and fails on request; and a model to publish."""

from __future__ import annotations

import hashlib
import json
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np
from safetensors.numpy import save_file

NAME = "openai/whisper-small"
SMALL = ("config.json", "tokenizer.json", "preprocessor_config.json")
UNWANTED = ("pytorch_model.bin", "flax_model.msgpack", "onnx/model.onnx", "model.fp32-00001-of-00002.safetensors")
COMMIT = "a" * 40
real_sleep = time.sleep  # the clients wait between their attempts; the tests do not


def make_model(folder: Path, dtype: type = np.float32) -> Path:
    folder.mkdir(parents=True)
    rows = np.arange(6, dtype=dtype).reshape(2, 3)
    tensors = {"model.decoder.embed_tokens.weight": rows, "model.encoder.conv1.bias": np.ones(3, dtype)}
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"model_type": "whisper"}))
    (folder / "tokenizer.json").write_text("{}")
    (folder / "preprocessor_config.json").write_text('{"sampling_rate": 16000}')
    return folder


class Hub(ThreadingHTTPServer):
    """A hub that serves one folder as both hubs do, with one ``fault`` or none, and remembers what it was asked."""

    daemon_threads = True

    def __init__(self, folder: Path, fault: str = "", elsewhere: str = "") -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder, self.fault, self.elsewhere = folder, fault, elsewhere
        self.requests: list[tuple[str, str, dict[str, str]]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def files(self) -> dict[str, bytes]:
        return {p.relative_to(self.folder).as_posix(): p.read_bytes() for p in self.folder.rglob("*") if p.is_file()}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def log_message(self, *_: object) -> None: ...

    def answer(self, body: bool) -> None:
        hub, path = self.server, unquote(urlsplit(self.path).path)
        hub.requests.append((self.command, path, {key.lower(): value for key, value in self.headers.items()}))
        if hub.fault == "timeout":
            real_sleep(3)
            return
        status = {"404": 404, "401": 401, "gated": 403, "500": 500}.get(hub.fault)
        if status:
            code = {404: "RepoNotFound", 401: "RepoNotFound", 403: "GatedRepo"}.get(status, "")
            self.send(status, b"{}", {"X-Error-Code": code, "X-Error-Message": "no"}, body)
            return
        if hub.fault == "308" or (hub.fault == "308 for files" and "/resolve/" in path):
            self.send(308, b"", {"Location": hub.elsewhere + self.path}, body)
            return
        if path.startswith("/api/v1/repos/"):  # ModelScope's client asks for a faster route inside Alibaba's cloud
            self.send(404, b"{}", {}, body)
            return
        if path.startswith("/api/v1/models/"):
            self.modelscope(path, body)
            return
        if path.startswith("/api/models/"):
            self.send(200, json.dumps(self.listing()).encode(), {"Content-Type": "application/json"}, body)
            return
        self.file(path.split(f"/resolve/{COMMIT}/")[-1].removeprefix("/cdn/"), path.startswith("/cdn/"), body)

    def listing(self) -> dict:
        files = []
        for name, content in self.server.files().items():
            file = {"rfilename": name, "size": len(content)}
            if name.endswith((".safetensors", ".bin")):
                file["lfs"] = {"sha256": sha256(content), "size": len(content), "pointerSize": 134}
            else:
                file["blobId"] = git_sha1(content)
            files.append(file)
        return {"id": NAME, "sha": COMMIT, "siblings": files}

    def file(self, name: str, from_cdn: bool, body: bool) -> None:
        content = self.server.files()[name]
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{git_sha1(content)}"'}
        if name.endswith(".safetensors") and not from_cdn:  # large files lie elsewhere, as on the real hub
            linked = {"X-Linked-Etag": f'"{sha256(content)}"', "X-Linked-Size": str(len(content))}
            self.send(302, b"", {**headers, **linked, "Location": f"{self.server.url}/cdn/{name}"}, body)
            return
        self.send_content(name, content, headers, body)

    def send_content(self, name: str, content: bytes, headers: dict[str, str], body: bool) -> None:
        fault = self.server.fault
        if fault == "wrong hash" and name.endswith(".safetensors"):
            content = content[:-1] + bytes([content[-1] ^ 1])
        if fault == "wrong small file" and name == "config.json":
            content = content.replace(b"whisper", b"whispet")
        self.send(200, content, headers, body, cut=fault == "truncated" and name.endswith(".safetensors"))

    def modelscope(self, path: str, body: bool) -> None:
        files = self.server.files()
        if path.endswith("/repo/files"):
            listed = [
                {"Path": name, "Size": len(content), "Sha256": sha256(content), "Type": "blob"}
                for name, content in files.items()
            ]
            data = {"Code": 200, "Success": True, "Data": {"Files": listed}}
            self.send(200, json.dumps(data).encode(), {"Content-Type": "application/json"}, body)
            return
        name = parse_qs(urlsplit(self.path).query)["FilePath"][0]
        self.send_content(name, files[name], {"ETag": f'"{sha256(files[name])}"'}, body)

    def send(self, status: int, content: bytes, headers: dict[str, str], body: bool, cut: bool = False) -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(key, value)
        self.end_headers()
        if body:
            self.wfile.write(content[: len(content) // 2] if cut else content)
        self.close_connection = cut


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def git_sha1(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
