"""Every code that a request may end in has a status of its own, or is known to be the operator's."""

from __future__ import annotations

import ast
import io
import re
from collections.abc import Iterator
from fractions import Fraction
from functools import cache
from pathlib import Path

import av

import resonance_helpers
from resonance_helpers.core.messages import catalogue
from resonance_helpers.service import decoding
from resonance_helpers.service.problems import STATUS

PACKAGE = Path(resonance_helpers.__file__).parent
CODE = re.compile(r"RZ-\d{4}")

# Codes in modules that a request passes through which the operator alone may read (they name paths, or tell of a state
# of the server's disk): a client is told RZ-0909, and the log has the sentence.
OPERATORS = {
    *("RZ-0001", "RZ-0003", "RZ-0004", "RZ-0005", "RZ-0006", "RZ-1405"),  # settings, folders, a full disk
    *("RZ-0010", "RZ-0011", "RZ-0012"),  # a file of ours that is no JSON, names of folders
    *(f"RZ-04{number:02}" for number in (1, 2, 3, 4, 5, 6, 8, 9, 11, 12, 13, 14, 15, 17, 20, 23, 24, 33)),
    *("RZ-0470", "RZ-0471", "RZ-0473", "RZ-0483"),  # where labels.json lies, and what is wrong in it
    *("RZ-0505", "RZ-0507", "RZ-0508"),  # files on disk; a request brings bytes
    *(f"RZ-05{number}" for number in (10, 11, 12, 13, 14, 15, 16, 17, 21, 22)),  # findings about takes, never raised
    *("RZ-0601", "RZ-0603"),  # settings of a model
    *(f"RZ-06{number}" for number in (10, 11, 12, 13, 14, 15, 30, 31)),  # an adapter on disk
    *("RZ-0650", "RZ-0651", "RZ-0652"),  # while the model is loaded
    *(f"RZ-09{number}" for number in (*range(20, 31), *range(50, 54), 82)),  # before the service listens
    *("RZ-0002", "RZ-0945", "RZ-0947"),  # an adapter on disk that the registry refuses, which the log says
    *("RZ-0980", "RZ-0981"),  # locks on the server's disk; whose consent.json it is
}


def module(parts: list[str]) -> Path | None:
    base = PACKAGE.joinpath(*parts)
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.exists()), None)


def imported(path: Path) -> Iterator[Path]:
    """The package's own modules that ``path`` imports."""
    folder = list(path.relative_to(PACKAGE).parts[:-1])
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = folder[: len(folder) - node.level + 1] + (node.module.split(".") if node.module else [])
            yield from filter(None, (module(base), *(module([*base, name.name]) for name in node.names)))


@cache
def passed_through() -> dict[Path, set[str]]:
    """The modules that a request may pass through, with the codes that stand in each."""
    found: dict[Path, set[str]] = {}
    todo = [PACKAGE / "service" / "app.py"]
    while todo:
        if (path := todo.pop()) not in found:
            constants = (n.value for n in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(n, ast.Constant))
            found[path] = {value for value in constants if isinstance(value, str) and CODE.fullmatch(value)}
            todo += imported(path)
    return found


def test_every_code_that_a_request_may_end_in_has_a_status() -> None:
    codes = {(code, path.name) for path, codes in passed_through().items() for code in codes}
    assert ("RZ-0509", "decode.py") in codes
    assert not {(code, name) for code, name in codes if code not in STATUS and code not in OPERATORS}


def test_every_code_with_a_status_has_a_sentence_and_is_not_the_operators() -> None:
    assert not STATUS.keys() - catalogue().keys()
    assert not STATUS.keys() & OPERATORS
    assert all(400 <= status < 500 or status in (503, 507) for code, status in STATUS.items() if code != "RZ-0909")


def mkv_of_one_block(samples: int) -> bytes:
    """A Matroska file whose sound is a single block."""
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as container:
        stream = container.add_stream("pcm_s16le", rate=384_000)
        stream.layout = "mono"
        packet = av.Packet(bytes(2 * samples))
        packet.stream, packet.pts, packet.dts, packet.time_base = stream, 0, 0, Fraction(1, 1000)
        container.mux(packet)
    return file.getvalue()


def test_a_recording_that_unpacks_to_too_much_is_refused_with_a_status() -> None:
    refusal = decoding._read(decoding._answer(mkv_of_one_block(18_000_000), 60.0))
    assert isinstance(refusal, resonance_helpers.ResonanceError)
    assert STATUS[refusal.code] in (413, 422) and refusal.code != "RZ-0970"
