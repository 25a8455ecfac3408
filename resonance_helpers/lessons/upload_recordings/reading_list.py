"""The phrases on paper: large, numbered, with a picture and a box to tick, for somebody who reads them to a phone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...core.messages import language, message
from ...core.workspace import Workspace, write_text
from ...dataset.phrases.lists import Phrase
from ...ui.html import escape

FILE = "reading_list.html"
_FIRST, _OTHERS = 10, 12  # phrases on the first page of A4, which has the instructions, and on the others
# Nothing is fetched: the page is opened on the user's computer, and what a list says is nobody else's business.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { font: 11pt/1.5 'Noto Sans CJK SC', 'Microsoft YaHei', 'PingFang SC', system-ui, sans-serif; color: #222;
  background: #fff; max-width: 50rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 20pt; margin: 0 0 2mm; }
p { margin: 0 0 2mm; }
.small { color: #444; font-size: 10pt; }
section + section { margin-top: 8mm; }
ol { list-style: none; margin: 4mm 0 2mm; padding: 0; }
li { display: flex; align-items: center; gap: 5mm; height: 20mm; border-bottom: .3mm solid #bbb; }
.number { width: 11mm; text-align: right; color: #444; font-size: 12pt; }
.picture { width: 15mm; text-align: center; font: 30pt/1 'Noto Color Emoji', 'Segoe UI Emoji', 'Apple Color Emoji',
  sans-serif; }
.text { flex: 1; font-size: 28pt; line-height: 1.15; overflow-wrap: anywhere; }
.text.medium { font-size: 19pt; }
.text.long { font-size: 13pt; }
.box { width: 10mm; height: 10mm; border: .6mm solid #222; border-radius: 1.5mm; flex: none; }
@media print {
  @page { size: A4; margin: 12mm 14mm; }
  body { max-width: none; padding: 0; }
  section { break-inside: avoid; margin: 0; }
  section + section { break-before: page; margin: 0; }
}
"""
_MEDIUM, _LONG = 14, 35  # characters from which smaller letters are needed, so that every row is as high


def write_reading_list(workspace: Workspace, phrases: Sequence[Phrase]) -> Path:
    """Write ``phrases`` in their order as a page to print, ``OUTPUT_DIR/reading_list.html``; its path.

    One file that fetches nothing, in the user's language, whole pages of A4.
    """
    path = workspace.output_dir / FILE
    write_text(path, _page(phrases))
    return path


def _page(phrases: Sequence[Phrase]) -> str:
    title = escape(message("reading.title", n=len(phrases)))
    head = (
        f'<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{title}</title>'
        f"<style>{_STYLE}</style>"
    )
    intro = (
        f"<h1>{title}</h1><p>{message('reading.how')}</p>"
        f'<p class="small">{escape(message("reading.helper"))}</p><p>{escape(message("reading.fields"))}</p>'
    )
    tag = "zh-CN" if language() == "zh" else "en"
    pages = [intro + _rows(phrases, 0), *(_rows(phrases, start) for start in range(_FIRST, len(phrases), _OTHERS))]
    sections = "\n".join(f"<section>{rows}</section>" for rows in pages)
    return f'<!doctype html>\n<html lang="{tag}"><head>{head}</head>\n<body>\n{sections}\n</body></html>\n'


def _rows(phrases: Sequence[Phrase], start: int) -> str:
    """One page from ``start``, counted from 0. The list's own numbers go on over all pages."""
    stop = min(len(phrases), start + (_OTHERS if start else _FIRST))
    rows = "".join(_row(number, phrase) for number, phrase in enumerate(phrases[start:stop], start=start + 1))
    foot = message("reading.foot", first=start + 1, last=stop, total=len(phrases))
    return f'<ol>{rows}</ol><p class="small">{escape(foot)}</p>'


def _row(number: int, phrase: Phrase) -> str:
    size = "text" + " medium" * (len(phrase.text) >= _MEDIUM) + " long" * (len(phrase.text) >= _LONG)
    return (
        f'<li><span class="number">{number}</span><span class="picture" aria-hidden="true">{escape(phrase.picture)}'
        f'</span><span class="{size}">{escape(phrase.text)}</span><span class="box" aria-hidden="true"></span></li>\n'
    )
