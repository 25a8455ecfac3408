"""The places weights can be fetched from, one after the other, each with its own reason when it fails.

The real clients do the talking (huggingface_hub, modelscope_hub). Here stands what they leave open: which files,
whether every byte is the publisher's, that a token stays with Hugging Face, and that a half download never looks like a
model.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from ...core.messages import ResonanceError, message
from ...core.workspace import make_folder, megabytes, replacing_folder, write_json
from .weights import SOURCE_FILE, choose_files, missing_files, missing_names

if TYPE_CHECKING:
    from modelscope_hub import HubApi

HUGGING_FACE = "https://huggingface.co"
MIRROR = "https://hf-mirror.com"
MODELSCOPE = "https://www.modelscope.cn"
# ModelScope keeps OpenAI's models under another owner. Set RESONANCE_MODELSCOPE_OWNER where that changes.
MODELSCOPE_OWNERS = {"openai": "openai-mirror"}
_HASH_CHUNK = 1 << 20  # bytes


@dataclass(frozen=True)
class Source:
    """A place that serves models. ``owners`` maps a model's owner to the one it has there."""

    title: str
    endpoint: str
    client: Literal["huggingface", "modelscope"] = "huggingface"
    send_token: bool = False  # only ever True for Hugging Face itself
    owners: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float = 10.0  # to wait for an answer about the model; the download has its own limits

    def their_name(self, name: str) -> str:
        """What ``owner/model`` is called there."""
        owner, model = name.split("/", 1)
        return f"{self.owners.get(owner, owner)}/{model}"


def default_sources() -> tuple[Source, ...]:
    """Hugging Face (or what HF_ENDPOINT names), its mirror, ModelScope."""
    endpoint = (os.environ.get("HF_ENDPOINT") or HUGGING_FACE).rstrip("/")
    official = endpoint == HUGGING_FACE
    first = Source("Hugging Face" if official else "HF_ENDPOINT", endpoint, send_token=official)
    owner = os.environ.get("RESONANCE_MODELSCOPE_OWNER")
    owners = {"openai": owner} if owner else MODELSCOPE_OWNERS
    mirror = Source("hf-mirror", MIRROR)
    last = Source("ModelScope", os.environ.get("MODELSCOPE_ENDPOINT") or MODELSCOPE, client="modelscope", owners=owners)
    return (first, last) if endpoint == MIRROR else (first, mirror, last)


@dataclass(frozen=True)
class RemoteFile:
    """A file as the source lists it. Large files come with ``sha256``, small ones with the hash git gives them."""

    name: str
    size: int
    sha256: str | None
    git_sha1: str | None


class SourceRefused(Exception):
    """A source answered, but not with a whole model; says why in the user's language."""


def fetch_from_any(name: str, target: Path, sources: Sequence[Source], on_message: Callable[[str], None]) -> None:
    """Fetch ``name`` into ``target`` from the first source that has all of it. Raises RZ-0650, RZ-0004."""
    tried = []
    for source in sources:
        on_message(message("base_model.looking", name=name, source=source.title, endpoint=source.endpoint))
        try:
            revision = _fetch(source, name, target, on_message)
        except ResonanceError:
            raise  # such as a full disk, which no other source would mend
        except Exception as error:  # whatever a source does wrong, the next may do right
            sentence = message("base_model.failed", source=source.title, endpoint=source.endpoint, reason=reason(error))
            on_message(sentence)
            tried.append(f"- {sentence}")
        else:
            on_message(message("base_model.fetched", name=name, source=source.title, revision=revision[:12]))
            return
    raise ResonanceError("RZ-0650", name=name, tried="\n".join(tried), page=f"{MIRROR}/{name}")


def _fetch(source: Source, name: str, target: Path, on_message: Callable[[str], None]) -> str:
    theirs = source.their_name(name)
    listing, download = _CLIENTS[source.client]
    revision, offered = listing(source, theirs)
    names = choose_files(file.name for file in offered)
    if missing := missing_names({*names}):
        raise SourceRefused(message("base_model.reason.no_weights", missing=message("list.comma").join(missing)))
    files = [file for file in offered if file.name in names]
    size = sum(file.size for file in files)
    on_message(message("base_model.size", size=megabytes(size), path=target))
    _require_space(target, size)
    with replacing_folder(target) as folder:
        download(source, theirs, revision, names, folder)
        for file in files:
            verify(folder / file.name, file)
        if missing := missing_files(folder):  # an index that names shards which the source does not offer
            raise SourceRefused(message("base_model.reason.no_weights", missing=message("list.comma").join(missing)))
        for kept_by_client in [path for path in folder.iterdir() if path.name not in names]:
            shutil.rmtree(kept_by_client, ignore_errors=True)
        hashes = {file.name: {"size": file.size, "sha256": file.sha256} for file in files}
        record = {
            "name": name,
            "revision": revision,
            "source": source.title,
            "endpoint": source.endpoint,
            "files": hashes,
        }
        write_json(folder / SOURCE_FILE, record)
    return revision


def verify(path: Path, file: RemoteFile) -> None:
    """Raise :class:`SourceRefused` unless the bytes at ``path`` are those that the source listed."""
    found = path.stat().st_size
    if found != file.size:
        raise SourceRefused(message("base_model.reason.wrong_size", file=file.name, expected=file.size, found=found))
    if file.sha256:
        right = _digest(path, hashlib.sha256()) == file.sha256
    elif file.git_sha1:
        right = _digest(path, hashlib.sha1(b"blob %d\0" % found, usedforsecurity=False)) == file.git_sha1
    else:
        right = True  # this source gives no hash for small files: the size is all there is
    if not right:
        raise SourceRefused(message("base_model.reason.wrong_hash", file=file.name))


def _digest(path: Path, digest: hashlib._Hash) -> str:
    with path.open("rb") as stream:
        while chunk := stream.read(_HASH_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _require_space(target: Path, size: int) -> None:
    free = shutil.disk_usage(make_folder(target.parent)).free
    if free < size:
        raise ResonanceError("RZ-0004", path=target, free=megabytes(free))


# ── Hugging Face and its mirrors ─────────────────────────────────────────────
def _hub_listing(source: Source, name: str) -> tuple[str, list[RemoteFile]]:
    from huggingface_hub import HfApi

    api = HfApi(endpoint=source.endpoint, token=_token(source))
    info = api.model_info(name, files_metadata=True, timeout=source.timeout_s)
    files = [
        RemoteFile(s.rfilename, s.size or 0, s.lfs.sha256 if s.lfs else None, None if s.lfs else s.blob_id)
        for s in info.siblings or ()
    ]
    return info.sha or "", files


def _hub_download(source: Source, name: str, revision: str, names: Sequence[str], folder: Path) -> None:
    from huggingface_hub import hf_hub_download

    with _plain_http():
        for file in names:
            hf_hub_download(
                name,
                file,
                revision=revision,
                local_dir=folder,
                endpoint=source.endpoint,
                token=_token(source),
                etag_timeout=source.timeout_s,
            )


def _token(source: Source) -> bool | None:
    return None if source.send_token else False  # None: the user's own token if there is one; False: never any


@contextmanager
def _plain_http() -> Iterator[None]:
    # Xet, the hub's other way to move bytes, asks its own servers: behind a mirror they are out of reach, and it keeps
    # a cache outside our folders. The switch is read at each call but set only at import, hence this.
    from huggingface_hub import constants

    before = constants.HF_HUB_DISABLE_XET
    constants.HF_HUB_DISABLE_XET = True
    try:
        yield
    finally:
        constants.HF_HUB_DISABLE_XET = before


# ── ModelScope ───────────────────────────────────────────────────────────────
def _modelscope_listing(source: Source, name: str) -> tuple[str, list[RemoteFile]]:
    with _modelscope(source) as api:
        listed = [file for file in api.list_repo_files(name, "model") if not file.is_dir]
    files = [RemoteFile(file.path, file.size, file.sha256, None) for file in listed]
    # The client hides commits, so the content itself is the revision.
    content = "\n".join(sorted(f"{file.name} {file.size} {file.sha256}" for file in files))
    return hashlib.sha256(content.encode()).hexdigest()[:40], files


def _modelscope_download(source: Source, name: str, revision: str, names: Sequence[str], folder: Path) -> None:
    with _modelscope(source) as api:
        api.download_repo(name, "model", local_dir=folder, allow_patterns=list(names), max_workers=2)


@contextmanager
def _modelscope(source: Source) -> Iterator[HubApi]:
    from modelscope_hub import HubApi
    from modelscope_hub.config import HubConfig

    with tempfile.TemporaryDirectory() as state:  # the client keeps locks and an install id: not in the user's home
        yield HubApi(HubConfig(endpoint=source.endpoint, token="", cache_dir=Path(state), config_dir=Path(state)))


_CLIENTS = {
    "huggingface": (_hub_listing, _hub_download),
    "modelscope": (_modelscope_listing, _modelscope_download),
}


# ── Why it failed ────────────────────────────────────────────────────────────
def reason(error: BaseException) -> str:
    """Why a source failed, as a sentence. The clients wrap one error in another, so the whole chain is looked at."""
    chain = list(_chain(error))
    kinds = {kind.__name__ for link in chain for kind in type(link).__mro__}
    if refused := next((link for link in chain if isinstance(link, SourceRefused)), None):
        return str(refused)
    if "OfflineModeIsEnabled" in kinds:
        return message("base_model.reason.offline")
    if status := next((s for s in map(_status, chain) if s), None):
        return _status_reason(status)
    if kinds & {"TimeoutException", "Timeout", "TimeoutError"}:
        return message("base_model.reason.timeout")
    if kinds & {"RemoteProtocolError", "ReadError", "IncompleteRead", "ChunkedEncodingError", "FileIntegrityError"}:
        return message("base_model.reason.damaged")
    if kinds & {"ConnectError", "ConnectionError", "NetworkError", "ProxyError"}:
        return message("base_model.reason.unreachable", detail=_detail(chain[-1]), host=_host(chain))
    if "FileMetadataError" in kinds:
        return message("base_model.reason.not_a_hub")
    return message("base_model.reason.other", detail=_detail(chain[0]))


def _chain(error: BaseException) -> Iterator[BaseException]:
    """``error`` and everything it was raised from; ModelScope's client keeps the causes in a dictionary of its own."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        link = waiting.pop(0)
        if link is None or id(link) in seen:
            continue
        seen.add(id(link))
        yield link
        waiting += [*getattr(link, "failed_files", {}).values(), link.__cause__, link.__context__]


def _status(error: BaseException) -> int | None:
    response: Any = getattr(error, "response", None)
    return getattr(response, "status_code", None) or getattr(error, "status_code", None)


def _status_reason(status: int) -> str:
    if status in (401, 403):
        return message("base_model.reason.refused", status=status)
    if status == 404:
        return message("base_model.reason.not_found")
    return message("base_model.reason.server_error", status=status)


def _host(chain: Sequence[BaseException]) -> str:
    """The host that was asked last: a mirror may have sent the client on to one that cannot be reached."""
    urls = (str(getattr(_request_of(link), "url", "")) for link in chain)
    return next((urlsplit(url).netloc for url in urls if url), "")


def _request_of(error: BaseException) -> Any:
    try:
        return getattr(error, "request", None)
    except RuntimeError:  # httpx raises it where an error knows no request
        return None


def _detail(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}".rstrip(": ")
