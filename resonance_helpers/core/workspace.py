"""The folders of one patient, and the only way anything is written into them.

``DATA_DIR`` is theirs (recordings, labels.json, consent.json); ``OUTPUT_DIR`` is ours. Nothing is written outside the
two: the caches of libraries go to ``OUTPUT_DIR/cache``. A file appears whole or not at all, and is for its owner alone
from its first byte, as is every folder that is made here: they are medical data, whatever the umask. A folder that is
there already keeps its mode.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from threading import Lock
from typing import IO, TYPE_CHECKING, Any

from .messages import ResonanceError, message
from .parameters import check_parameters
from .settings import AUDIO_SUFFIXES, RARE_AUDIO_SUFFIXES, SAMPLE_PATIENT

if TYPE_CHECKING:
    from filelock import FileLock

REPOSITORY = Path(__file__).resolve().parents[2]
NOTEBOOKS_DIR = REPOSITORY / "notebooks"
SAMPLE_DIR = REPOSITORY / "data_sample"
PRACTICE_MODEL_DIR = SAMPLE_DIR / "practice_model"
# Folders of DATA_DIR for which lesson 04 has cells of their own; their recordings are not counted.
INCOMING, LONG_RECORDINGS = "incoming", "long_recordings"
_NAME = 40  # characters of its file's name that a temporary one bears: what is added has to fit too
_FILE, _FOLDER = 0o600, 0o700  # the modes of what is made here
_LEFTOVER = re.compile(r"\.(?P<name>.+)\.[a-z0-9_]{8}(?P<suffix>\.\w+)?")  # what ``replacing`` leaves when killed
# What systems and programs keep beside a user's files, by the name of a file or a folder.
_SYSTEMS_OWN = re.compile(
    r"\._.*|\.ds_store|\.localized|\.apdisk|\.fseventsd|\.spotlight-v100|\.trashes|\.temporaryitems|__macosx|icon\r"
    r"|(?:eh)?thumbs\.db|desktop\.ini|~\$.*|\$recycle\.bin|system volume information"
    r"|\.nomedia|\.thumbnails|\.directory|\.~lock\..*#|\.trash-\d+|@eadir|\.ipynb_checkpoints|\..*\.lock"
    r"|\.git(?:ignore|keep)",
    re.IGNORECASE,
)
_PATIENT_ID = re.compile(r"[a-z0-9_-]{1,64}")


@dataclass(frozen=True)
class Workspace:
    """Where the files of one patient lie. Paths only; nothing is read or written by looking at them."""

    data_dir: Path
    output_dir: Path
    patient_id: str
    is_sample: bool = False

    @property
    def labels(self) -> Path:
        return self.data_dir / "labels.json"

    @property
    def consent(self) -> Path:
        return self.data_dir / "consent.json"

    @property
    def audio(self) -> Path:
        """The 16 kHz mono WAV files that training reads."""
        return self.data_dir / "audio"

    @property
    def audio_raw(self) -> Path:
        """The recordings as they came."""
        return self.data_dir / "audio_raw"

    @property
    def conversion_index(self) -> Path:
        """From source recording to WAV, with content hashes; written by lesson 05."""
        return self.audio / "conversion.json"

    @property
    def adapter(self) -> Path:
        return self.output_dir / "adapter"

    @property
    def runs(self) -> Path:
        return self.output_dir / "runs"

    @property
    def report_json(self) -> Path:
        return self.output_dir / "report.json"

    @property
    def report_html(self) -> Path:
        return self.output_dir / "report.html"

    @property
    def export(self) -> Path:
        return self.output_dir / "export"

    @property
    def cache(self) -> Path:
        return self.output_dir / "cache"

    @property
    def notebooks(self) -> Path:
        """Executed copies of the lessons."""
        return self.output_dir / "notebooks"

    @property
    def summary_json(self) -> Path:
        return self.output_dir / "summary.json"


def open_workspace(
    data_dir: str | Path = "", output_dir: str | Path = "", patient_id: str = SAMPLE_PATIENT
) -> Workspace:
    """The workspace that a lesson's parameters name.

    An empty ``output_dir`` is ``workspaces/<patient_id>`` in the repository (ignored by git). An empty ``data_dir`` is
    a copy of the bundled sample inside the output folder, made once. Raises RZ-0001 and RZ-1405 (parameters), RZ-0002
    (patient id), RZ-0003 (no such folder), RZ-0011 (a locale without Chinese), RZ-0012 (a folder that can't be).
    """
    check_parameters({"DATA_DIR": data_dir, "OUTPUT_DIR": output_dir, "PATIENT_ID": patient_id})
    check_patient_id(patient_id)
    require_unicode_names()
    output = _folder("OUTPUT_DIR", output_dir or REPOSITORY / "workspaces" / patient_id)
    sample_copy = output / "sample_data"
    if data_dir:
        data = _folder("DATA_DIR", data_dir)
        if not data.is_dir():
            raise ResonanceError("RZ-0003", path=data)
        workspace = Workspace(data, output, patient_id, is_sample=data == sample_copy)
    else:
        workspace = Workspace(sample_copy, output, patient_id, is_sample=True)
        with _said_of("OUTPUT_DIR", output):
            _copy_sample(sample_copy)
    with _said_of("OUTPUT_DIR", output):
        make_folder(output)
    _keep_library_caches_inside(workspace.cache)
    return workspace


def require_unicode_names() -> None:
    """RZ-0011 where the locale has no Chinese: not one of the files that the lessons work on could be opened."""
    try:
        os.fsencode("我想喝水")
    except UnicodeEncodeError as error:
        raise ResonanceError("RZ-0011", encoding=sys.getfilesystemencoding()) from error


def _folder(name: str, given: str | Path) -> Path:
    """The folder that a parameter means. RZ-0012 where no folder can be called so."""
    with _said_of(name, given):
        folder = Path(given).expanduser().resolve()
        str(folder).encode()
        folder.exists()  # a name that is too long
        return folder


@contextmanager
def _said_of(name: str, given: str | Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: ~ of nobody
        reason = getattr(error, "strerror", None) or error
        raise ResonanceError("RZ-0012", name=name, value=given, reason=reason) from error


def check_patient_id(patient_id: str) -> str:
    """``patient_id`` if it is a pseudonym as DESIGN says, else RZ-0002."""
    if not is_patient_id(patient_id):
        raise ResonanceError("RZ-0002", value=patient_id)
    return patient_id


def is_patient_id(text: str) -> bool:
    """Whether ``text`` is a pseudonym as DESIGN says."""
    return bool(_PATIENT_ID.fullmatch(text))


def require(path: Path, lesson: int) -> Path:
    """``path`` if it exists, else RZ-0006, which names the lesson (1–10) that makes it and offers the sample."""
    if not path.exists():
        raise ResonanceError("RZ-0006", path=path, needs=message(f"lesson.{lesson:02d}"))
    return path


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


class NotJson(ResonanceError, ValueError):
    """A file that is not the JSON it should be; a ValueError too, for who goes on without it."""


def read_json(path: Path, *keys: str, an_object: bool = False) -> Any:
    """What a JSON file in UTF-8 holds: anything, an object, or an object that has all of ``keys``.

    Whatever is wrong with it is ``NotJson``, RZ-0010, which names the place; OSError where there is no file to read.
    """
    return parse_json(path.read_bytes(), path, *keys, an_object=an_object)


def parse_json(data: bytes, path: Path, *keys: str, an_object: bool = False) -> Any:
    """As ``read_json``, of bytes that were read from ``path``."""
    try:
        text = data.decode("utf-8-sig")
        value = json.loads(text)
    except UnicodeDecodeError as error:
        line, column = data.count(b"\n", 0, error.start) + 1, error.start - data.rfind(b"\n", 0, error.start)
        raise _not_json(path, "utf8", line, column) from error
    except json.JSONDecodeError as error:
        raise _not_json(path, "syntax", error.lineno, error.colno) from error
    except (RecursionError, ValueError) as error:  # brackets in brackets without end; a number of thousands of digits
        raise _not_json(path, "endless") from error
    if (keys or an_object) and not isinstance(value, dict):
        raise _not_json(path, "object")
    if missing := [key for key in keys if key not in value]:
        raise _not_json(path, "key", key=missing[0])
    return value


def _not_json(path: Path, problem: str, line: int = 1, column: int = 1, key: str = "") -> NotJson:
    problem = message(f"json.problem.{problem}", line=line, column=column, key=key)
    return NotJson("RZ-0010", path=path, line=line, column=column, problem=problem)


def write_json(path: Path, value: Any) -> None:
    """Write JSON whole or not at all, readable by a person (indented, Chinese as it is)."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def make_folder(path: Path) -> Path:
    """``path``, made with what is missing above it."""
    if not path.is_dir():
        make_folder(path.parent)
        path.mkdir(_FOLDER, exist_ok=True)
    return path


def open_private(path: Path, mode: str, **how: Any) -> IO[Any]:
    """As ``path.open``, for what grows in its place."""
    return open(path, mode, opener=partial(os.open, mode=_FILE), **how)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file beside ``path`` that takes its place when the block ends well.

    On any error ``path`` stays as it was and the temporary file goes. A full disk becomes RZ-0004. Afterwards a power
    cut takes nothing: the bytes are on disk, and the name too where the system can say so.
    """
    make_folder(path.parent)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:_NAME]}.", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        with disk_full_is_said(path):
            yield temporary
            _keep(temporary)  # renamed before it is on disk, it could be empty after a crash
            temporary.replace(path)
            _keep(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside ``path`` that takes its place when the block ends well.

    The previous folder is removed last, so that at every moment one whole folder exists, after a power cut too.
    """
    make_folder(path.parent)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        with disk_full_is_said(path):
            yield temporary
            for inside in (*temporary.rglob("*"), temporary):
                if not inside.is_symlink():
                    inside.chmod(_FOLDER if inside.is_dir() else _FILE)  # libraries write as the umask has it
                    _keep(inside)
            put_in_place(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(_aside(temporary), ignore_errors=True)


def remove_leftovers(*paths: Path) -> None:
    """Remove what killed processes left where they were replacing ``paths``; for who knows that nobody does so now."""
    names = ((path, name) for path in paths for name in (path.name, path.name[:_NAME]))
    replaced = {(path.parent, name, suffix) for path, name in names for suffix in (path.suffix, ".old")}
    for left in [each for folder in {path.parent for path in paths} for each in folder.iterdir()]:
        found = _LEFTOVER.fullmatch(left.name)
        if not found or (left.parent, found["name"], found["suffix"] or "") not in replaced:
            continue
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


_private, _private_now, _umask_before = Lock(), 0, 0


@contextmanager
def private_files() -> Iterator[None]:
    """Whatever libraries and child processes write in the block is for its owner alone as well."""
    global _private_now, _umask_before
    with _private:
        if not _private_now:  # the umask is the whole process's: the first sets it, the last gives it back
            _umask_before = os.umask(0o077)
        _private_now += 1
    try:
        yield
    finally:
        with _private:
            _private_now -= 1
            if not _private_now:
                os.umask(_umask_before)


# ── One at a time ────────────────────────────────────────────────────────────
@contextmanager
def locked(path: Path, busy: ResonanceError | None = None) -> Iterator[None]:
    """Nobody else who asks for the lock of ``path``, in this process or another, is in such a block meanwhile: what is
    read, changed and written in it loses nobody's change.

    Waits for its turn, or raises ``busy`` where that is given. Raises what ``lock`` raises. Not to be nested.
    """
    from filelock import Timeout  # lessons 01–03 run before anything is installed

    try:
        taken = lock(path, wait=busy is None)
    except Timeout as error:
        assert busy
        raise busy from error
    try:
        yield
    finally:
        taken.release()


def lock(path: Path, wait: bool = True) -> FileLock:
    """The lock of ``path``, a hidden file beside it, taken. It is for the caller to release, from any thread; a killed
    process holds none.

    Raises ``Timeout`` where somebody holds it and the caller does not ``wait``, RZ-0980 where there can be no lock, and
    RZ-0004 (disk full).
    """
    from filelock import FileLock, Timeout

    make_folder(path.parent)
    taken = FileLock(path.with_name(f".{path.name}.lock"), mode=_FILE, thread_local=False)
    try:
        with disk_full_is_said(path):
            taken.acquire(blocking=wait)
    except Timeout:
        raise
    except (OSError, NotImplementedError) as error:  # a disk that knows no locks, or a folder that is not ours
        raise ResonanceError("RZ-0980", path=path.parent, reason=getattr(error, "strerror", None) or error) from error
    return taken


# ── What lies in a folder ────────────────────────────────────────────────────
def is_rubbish(name: str) -> bool:
    """Whether a file or folder of this name is no user's work: a system's own, or left by a killed process of ours."""
    left = _LEFTOVER.fullmatch(name)
    is_left = left and (len(left["name"]) == _NAME or Path(left["name"]).suffix == (left["suffix"] or ""))
    return bool(is_left or _SYSTEMS_OWN.fullmatch(name))


def misplaced(data_dir: Path) -> ResonanceError | None:
    """RZ-0470 where labels.json isn't in ``data_dir`` but one or two levels below, as unpacking a zip leaves it, or
    above an ``audio`` or ``audio_raw`` that was named instead. RZ-0471 where only recordings lie there, and none here.
    Either offers what to write into DATA_DIR."""
    if _holds(data_dir, "labels.json"):
        return None
    named_inside = data_dir.name in ("audio", "audio_raw") and (data_dir.parent / "labels.json").is_file()
    below = _folders_in(data_dir)
    further = [folder for each in below for folder in _folders_in(each)]
    levels = ([data_dir.parent] if named_inside else [], below, further)
    signs = ["labels.json"] if _has_recordings(data_dir) else ["labels.json", "audio_raw", "audio"]
    for sign, level in product(signs, levels):
        if found := [folder for folder in level if _holds(folder, sign)]:
            lines = "\n".join(f"DATA_DIR = {json.dumps(str(folder), ensure_ascii=False)}" for folder in found)
            return ResonanceError("RZ-0470" if sign == "labels.json" else "RZ-0471", path=data_dir, lines=lines)
    return None


def _has_recordings(data_dir: Path) -> bool:
    """Whether it looks as if ``data_dir`` itself holds some."""
    suffixes = (*AUDIO_SUFFIXES, *RARE_AUDIO_SUFFIXES)
    own = (path for name in ("audio", "audio_raw") for path in (data_dir / name).glob("*"))
    return any(own) or any(path.suffix.lower() in suffixes for path in data_dir.glob("*"))


def _holds(folder: Path, name: str) -> bool:
    try:
        return (folder / name).exists()
    except OSError:  # it may not be entered
        return False


def _folders_in(folder: Path) -> list[Path]:
    try:
        entries = [entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith(".")]
    except OSError:
        return []
    passed_over = (INCOMING, LONG_RECORDINGS, "sample_data", "recorder_practice")  # the last two in OUTPUT_DIR
    return sorted(entry for entry in entries if not is_rubbish(entry.name) and entry.name not in passed_over)


def files_in(folder: Path, without: Collection[Path] = ()) -> Iterator[Path]:
    """Everything in ``folder`` and below but plain folders, rubbish and ``without``, in no particular order.

    A link to a folder, and a folder that can't be read, stand for what would be in them.
    """
    waiting = [folder]
    while waiting:
        place = waiting.pop()
        try:
            entries = list(os.scandir(place))
        except OSError:
            yield place
            continue
        for entry in entries:
            path = place / entry.name
            if is_rubbish(entry.name) or path in without:
                continue
            if entry.is_dir(follow_symlinks=False):
                waiting.append(path)
            else:
                yield path


def put_in_place(folder: Path, path: Path) -> None:
    """Let ``folder`` take the place of ``path``. What was there is afterwards where ``folder`` was, or beside it, and
    the caller's to remove.

    The two trade places in one step, so that every reader finds a whole folder at ``path``, after a kill too. Where the
    system can't do that (only Linux can, and not on every disk), the previous one is moved aside a moment before.
    """
    if not _exchange(folder, path):
        if path.exists():
            path.rename(_aside(folder))
        try:
            folder.rename(path)
        except OSError:
            if _aside(folder).exists():
                _aside(folder).rename(path)
            raise
    _keep(path.parent)


def _aside(folder: Path) -> Path:
    return folder.with_name(folder.name + ".old")


def _exchange(one: Path, other: Path) -> bool:
    """Whether the two could trade places; not where one of them is missing."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None) if sys.platform == "linux" else None
    here, trade = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return rename is not None and rename(here, os.fsencode(one), here, os.fsencode(other), trade) == 0


@contextmanager
def disk_full_is_said(path: Path) -> Iterator[None]:
    """Turn "no space left on device" into RZ-0004 for ``path``."""
    try:
        yield
    except Exception as error:
        if not _is_disk_full(error):
            raise
        free = shutil.disk_usage(path.parent).free
        raise ResonanceError("RZ-0004", path=path, free=megabytes(free)) from error


def _keep(path: Path) -> None:
    """Wait until the bytes of a file, or the names in a folder, are on disk; before, a power cut can take them back.

    Windows has no call for folders, nor for files that may only be read, and some network disks refuse it.
    """
    is_folder = path.is_dir()
    if is_folder and sys.platform == "win32":
        return
    handle = os.open(path, os.O_RDWR if not is_folder and os.access(path, os.W_OK) else os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(handle)


def _is_disk_full(error: Exception) -> bool:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    # native code raises its own errors: soundfile and safetensors quote the system's words, torch names its writer
    said = str(error).lower()
    return "no space left" in said or "pytorchstreamwriter" in said or "inline_container" in said


def megabytes(size: int) -> str:
    """``size`` in bytes as a person reads it, such as ``7.1 MB``."""
    return f"{size / 1e6:.1f} MB"


def _copy_sample(target: Path) -> None:
    if (target / "labels.json").exists():
        return
    with replacing_folder(target) as temporary:
        for name in ("labels.json", "consent.json"):
            shutil.copy2(SAMPLE_DIR / name, temporary / name)
        shutil.copytree(SAMPLE_DIR / "audio_raw", temporary / "audio_raw")


def _keep_library_caches_inside(cache: Path) -> None:
    # Only where the user has not chosen a place: a cache of weights on a server's data disk must still be found.
    for variable, folder in (
        ("HF_DATASETS_CACHE", "datasets"),
        ("HF_MODULES_CACHE", "hf_modules"),
        ("MPLCONFIGDIR", "matplotlib"),
        ("NUMBA_CACHE_DIR", "numba"),
    ):
        os.environ.setdefault(variable, str(cache / folder))
