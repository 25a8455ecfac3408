"""The page, section by section: first what a family wants to know, then what a helper needs, then the small print."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from importlib import resources
from statistics import median
from typing import TYPE_CHECKING, Any

from ....core.messages import language, message
from ....core.settings import PRACTICE_MODEL
from ....core.workspace import Workspace, write_text
from ....scoring.error_analysis.confusions import Confused, confusions
from ....scoring.error_analysis.polarity import polarity_errors
from ....scoring.error_rates import PARTS
from ....scoring.text import normalise
from ....ui.html import Markup, escape, table_html
from ..charts import MEASURES, before_after_table, diff_html, diff_legend, eight_of_ten_words, polarity_table
from ..charts_svg import intervals_svg, ten_dots_svg
from ..recording_again import Reason, record_again
from ..takes import Takes
from .background import Background, gather
from .players import Players

if TYPE_CHECKING:
    from pathlib import Path

    from ....scoring.error_rates import Difference
    from ..logic import Report, TestRow

_MARKS = {"usable": "✓", "careful": "⚠", "not_yet": "✗"}  # the verdict without its colour
_MOST_SHOWN = 12  # confusions of one kind; the rest are met once and teach nothing
# The page may show what is in it and fetch nothing: it is opened on the user's computer.
_POLICY = "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'"


def write_html(workspace: Workspace, report: Report, with_audio: bool = False) -> Path:
    """Write ``report`` as ``report.html``, whole or not at all, in the user's language. Returns its path.

    ``with_audio`` puts players into the page with the recordings inside, at most ``MAX_AUDIO_BYTES`` of them, the
    wrong ones first. Raises what ``load_utterances`` and ``read_manifest`` raise.
    """
    text = page(report, gather(workspace), Players() if with_audio else None)
    write_text(workspace.report_html, text)
    return workspace.report_html


def page(report: Report, background: Background, players: Players | None = None) -> str:
    """The whole page as text. The same for the same test, apart from the date in ``background``."""
    practice = report.base_model == PRACTICE_MODEL
    title = escape(message("report.title"))
    meta = message("report.meta", patient=background.patient_id, date=background.tested_on)
    clips = _clips(report, players)  # before the notice on sound, which says how much of it is in the page
    sections = {
        "ten": _ten(report),
        "flips": polarity_table(polarity_errors(report.rows)),
        "again": _again(report.rows, background.takes),
        "scores": _scores(report),
        "confusions": _confusions(report.rows),
        "clips": clips,
        "quality": _quality(background.takes),
        "settings": _settings(report, background),
    }
    body = [
        f'<header><h1>{title}</h1><p class="meta">{escape(meta)}</p></header>\n<main>',
        _verdict(report),
        _limits([*_sound(players), *limits(practice, background.simulated), *report.warnings]),
        _contents(sections),
        *(f'<section id="{name}"><h2>{_heading(name)}</h2>\n{piece}\n</section>' for name, piece in sections.items()),
        f'</main>\n<footer><p class="small">{escape(message("report.limits"))}</p></footer>',
    ]
    head = (
        f'<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{title}</title>'
        f"<style>{_style()}</style>"
    )
    tag = "zh-CN" if language() == "zh" else "en"
    return f'<!doctype html>\n<html lang="{tag}"><head>{head}</head>\n<body>\n' + "\n".join(body) + "\n</body></html>\n"


def headlines(report: Report) -> list[str]:
    """One sentence for the known and one for the new phrases, such as "10 句对 8 句"."""
    return [
        message("report.headline", split=message(f"chart.split.{name}"), words=eight_of_ten_words(both.after))
        for name, both in report.tested.items()
    ]


def limits(practice: bool, simulated: bool) -> list[str]:
    """What these figures do not say, and what the service is not for."""
    notes = [message("chart.practice")] if practice else []
    notes += [message("report.simulated")] if simulated else []
    return [*notes, message("report.limits"), message("report.few")]


# ── The top ──────────────────────────────────────────────────────────────────
def _verdict(report: Report) -> str:
    level = report.verdict.level
    flips = polarity_errors(report.rows)
    words = escape(message(f"verdict.{level}"))
    warning = (
        f'<p><a href="#flips">⚠ {escape(message("report.verdict.polarity", n=len(flips)))}</a></p>' if flips else ""
    )
    lines = "".join(f'<p class="headline">{escape(line)}</p>' for line in headlines(report))
    return (
        f'<div class="verdict {level}"><p class="level">{_MARKS[level]} {words}</p>{lines}'
        f"<p>{escape(message(f'report.verdict.{level}'))}</p>{warning}"
        f'<p class="small">{escape(message("report.verdict.rule", rule=report.verdict.rule))}</p></div>'
    )


def _sound(players: Players | None) -> list[str]:
    if players is None:
        return []
    rest = message("report.audio.left_out", n=players.left_out) if players.left_out else ""
    return [message("report.audio", n=players.embedded) + rest]


def _limits(lines: list[str]) -> str:
    return f'<div class="limits">{_list(lines)}</div>'


def _contents(names: Iterable[str]) -> str:
    links = "".join(f'<li><a href="#{name}">{_heading(name)}</a></li>' for name in names)
    return f'<nav aria-label="{escape(message("report.contents"))}"><ul>{links}</ul></nav>'


def _ten(report: Report) -> str:
    pieces = [
        f"<div><h3>{escape(message(f'chart.split.{name}'))}</h3>{ten_dots_svg(both.after)}"
        f'<p class="small">{escape(message(f"report.split.{name}"))}</p></div>'
        for name, both in report.tested.items()
    ]
    return f'<div class="side">{"".join(pieces)}</div>'


# ── What a helper needs ──────────────────────────────────────────────────────
def _again(rows: Sequence[TestRow], takes: Takes) -> str:
    advice = record_again(rows, takes.used)
    if not advice:
        return _good(message("report.again.none"))
    headers = [message("report.again.phrase"), message("report.again.why")]
    cells = [(each.text, Markup(_list(map(_why, each.reasons)))) for each in advice]
    return f"<p>{escape(message('report.again.intro'))}</p>" + table_html(headers, cells)


def _why(reason: Reason) -> str:
    facts = dict(reason.facts)
    if reason.kind == "flip":
        facts["kind"] = message(f"chart.polarity.kind.{facts['kind']}")
    return message(f"report.again.{reason.kind}", **facts)


def _scores(report: Report) -> str:
    if not report.tested:
        return ""
    drawn = [
        f"<div><h3>{escape(message(f'chart.before_after.{field}'))}</h3>{intervals_svg(report, field, form)}</div>"
        for field, form in MEASURES
    ]
    return f'<div class="side">{"".join(drawn)}</div>' + before_after_table(report) + _list(changes(report))


def changes(report: Report) -> list[str]:
    """What training changed, clip by clip, and what it may have spoilt: one sentence for each thing measured."""
    said: list[tuple[str, dict[str, Any]]] = []
    for name, both in report.tested.items():
        split = message(f"chart.split.{name}")
        if both.difference:
            said.append(("report.change", {"split": split, **_difference(both.difference)}))
        if both.before.repetitions or both.after.repetitions:
            counts = {"before": both.before.repetitions, "after": both.after.repetitions, "n": both.n}
            said.append(("report.repetitions", {"split": split, **counts}))
    if report.forgetting and report.forgetting.difference:
        cers = {"before": f"{report.forgetting.before.cer:.2f}", "after": f"{report.forgetting.after.cer:.2f}"}
        said.append(
            ("report.forgetting", {"n": report.forgetting.n, **cers, **_difference(report.forgetting.difference)})
        )
    if report.silence:
        silence = report.silence
        shares = {"phrases": f"{silence.phrases:.0%}", "gated": f"{silence.gated:.0%}"}
        own = {"refused": silence.own_refused, "own": silence.own_clips}
        said.append(("report.silence", {"n": silence.n, "decoded": silence.decoded, **shares, **own}))
    if report.real_time_factor:
        said.append(("report.real_time_factor", {"after": f"{report.real_time_factor.after:.2f}"}))
    return [message(key, **facts) for key, facts in said]


def _difference(difference: Difference) -> dict[str, str]:
    facts: dict[str, str] = {}
    for field, unit, digits in (("cer", 1, 2), ("sentence_accuracy", 100, 0)):  # of shares in percentage points
        values = (getattr(difference, field), *getattr(difference, f"{field}_ci"))
        change, low, high = (f"{round(value * unit, digits) + 0.0:+.{digits}f}" for value in values)  # no minus zero
        facts |= {field: change, f"{field}_ci": message("report.from_to", low=low, high=high)}
    return facts


def _confusions(rows: Sequence[TestRow]) -> str:
    found = confusions(rows)
    kinds = ("characters", "syllables", "phrases")
    tables = [f"<div>{_pairs(kind, pairs)}</div>" for kind in kinds if (pairs := getattr(found, kind))]
    lines = [message("report.confusions.other", n=found.other_sentences)] if found.other_sentences else []
    lines += [message("report.confusions.silent", n=found.silent)] if found.silent else []
    if not tables and not lines:
        return _good(message("report.confusions.none"))
    return f'<div class="side">{"".join(tables)}</div>' + (_list(lines) if lines else "")


def _pairs(kind: str, pairs: Sequence[Confused]) -> Markup:
    headers = [message(f"report.confusions.{name}") for name in ("pair", "count", "example")]
    rows = [(_pair(each), each.count, each.example) for each in pairs[:_MOST_SHOWN]]
    rest = len(pairs) - len(rows)
    return table_html(
        headers[: 2 if kind == "phrases" else 3],  # a phrase is its own example
        [row[: 2 if kind == "phrases" else 3] for row in rows],
        message(f"report.confusions.{kind}"),
        [message("report.confusions.more", n=rest)] if rest else [],
    )


def _pair(pair: Confused) -> str:
    if not pair.heard:
        return message("report.confusions.lost", text=pair.meant)
    if not pair.meant:
        return message("report.confusions.added", text=pair.heard)
    return f"{pair.meant} → {pair.heard}"


def _clips(report: Report, players: Players | None) -> str:
    pieces = [f"<p>{escape(message('report.clips.intro'))}</p>", diff_legend()]
    for name in PARTS:
        rows = sorted((row for row in report.rows if row.split == name), key=_is_right)  # the wrong ones first
        if rows:
            pieces.append(_clip_table(message(f"chart.split.{name}"), rows, players))
    return "\n".join(pieces)


def _clip_table(caption: str, rows: Sequence[TestRow], players: Players | None) -> Markup:
    headers = [message(f"chart.clips.{name}") for name in ("reference", "before", "after")]
    return table_html(headers, [_clip(row, players) for row in rows], caption)


def _clip(row: TestRow, players: Players | None) -> tuple[Markup, Markup, Markup]:
    player = players.player(row.wav, row.audio) if players else None
    meant = Markup(f'{escape(row.reference)}<span class="file">{escape(row.audio)}</span>{player or ""}', row.reference)
    mark = "right" if _is_right(row) else "wrong"
    sign = f'<span class="mark {mark}">{escape(message(f"report.clips.{mark}"))}</span> '
    return meant, _heard(row.reference, row.before), Markup(sign + _heard(row.reference, row.after))


def _heard(reference: str, heard: str) -> Markup:
    return diff_html(reference, heard) if normalise(heard) else Markup(escape(message("report.clips.silence")))


def _is_right(row: TestRow) -> bool:
    return normalise(row.reference) == normalise(row.after)


# ── The small print ──────────────────────────────────────────────────────────
def _quality(takes: Takes) -> str:
    if not takes.used:
        return f"<p>{escape(message('report.quality.unknown'))}</p>"
    qualities = [take.quality for take in takes.used]
    levels = "、" if language() == "zh" else ", "
    facts: dict[str, Any] = {
        "n": len(qualities),
        "minutes": f"{sum(quality.seconds for quality in qualities) / 60:.1f}",
        "snr": f"{median(quality.snr_db for quality in qualities):.0f}",
        "levels": levels.join(f"{message(f'chart.verdict.{level}')} {n}" for level, n in takes.levels().items()),
    }
    pieces = [f"<p>{escape(message('report.quality.sum', **facts))}</p>"]
    poor = [take for take in takes.used if take.level != "ok"]
    if poor:
        headers = [message(f"report.quality.{name}") for name in ("audio", "why")]
        rows = [(take.text + f" ({take.audio})", Markup(_list(take.reasons))) for take in poor]
        pieces.append(table_html(headers, rows))
    if takes.left_out:
        lines = [message("report.quality.left_out", source=left.source, code=left.problem) for left in takes.left_out]
        pieces.append(_list(lines))
    if len(pieces) == 1:
        pieces.append(_good(message("report.quality.good")))
    return "\n".join(pieces)


def _settings(report: Report, background: Background) -> Markup:
    facts = {"base_model": report.base_model, "window_s": report.window_s, **report.train, **background.settings}
    rows = [(message(f"report.fact.{name}"), value) for name, value in facts.items()]
    rows += list(background.versions.items())
    return table_html([message("report.fact"), message("report.value")], rows)


# ── Pieces ───────────────────────────────────────────────────────────────────
def _heading(name: str) -> str:
    return escape(message(f"report.{name}"))


def _good(words: str) -> str:
    return f'<p><span class="mark right">✓</span> {escape(words)}</p>'


def _list(lines: Iterable[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>"


@cache
def _style() -> str:
    return resources.files(__package__).joinpath("style.css").read_text(encoding="utf-8")
