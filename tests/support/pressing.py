"""Widgets for recordings from a phone as somebody uses them: files are chosen, rows are looked at."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any


def upload(name: str, content: bytes) -> dict[str, Any]:
    modified = datetime(2026, 11, 23, tzinfo=UTC)
    return {"name": name, "type": "", "size": len(content), "content": memoryview(content), "last_modified": modified}


def shown(widget: Any) -> list[Any]:
    return [row for row in widget.pages.rows if row.box.layout.display == ""]


def heard(row: Any) -> str:
    """The HTML of a row's player: in an output, the only place where JupyterLab resolves its link."""
    return str(row.head.outputs[0]["data"]["text/html"])


def texts(widget: Any) -> list[str]:
    return [row.text.value for row in shown(widget)]
