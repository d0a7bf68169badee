"""The sections of an exported view as HTML: words, token strip, tables, figures' places, where the numbers come from.

Everything that comes from a Report is escaped here, and foreign text stands alone, so that it turns no line around.
"""

import html
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from analysis.link_words import link_words
from analysis.report import Finding, Report
from analysis.side_difference import recipe_words
from analysis.view_file import ViewFile
from ui.figures.part import Sentences, Strip, Table
from ui.figures.picture import Picture
from ui.numbers import marked, say_number, say_quantity
from ui.step_words import STEP, step_words

N_SHADES = 32
MAX_ROWS = 200
UNREADABLE = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""What a figure raises for a Report whose numbers are not those of its lens, as a foreign file may have."""


def foreign(text: object) -> str:
    """Text of a person or a model, escaped."""
    return f"<bdi>{html.escape(str(text))}</bdi>"


def section(title: str, inside: Iterable[str], kind: str = "") -> str:
    """A section under its heading."""
    named = f' class="{kind}"' if kind else ""
    return f"<section{named}><h2>{html.escape(title)}</h2>{''.join(inside)}</section>"


def drawn_or_said(make: Callable[[], Iterable[str]]) -> list[str]:
    """What is made, or a sentence where the Report's numbers do not fit."""
    try:
        return list(make())
    except UNREADABLE:
        return ["<p>This part cannot be drawn: the numbers are not those that this version draws.</p>"]


def asked(view: ViewFile) -> str:
    """What the view asks: text or text set, model, options and changes."""
    spec = view.spec
    words = [f"model {spec.model}"]
    words += [_option(name, value) for name, value in sorted(spec.options.items())]
    words += [step_words(one) if one.get("kind") == STEP else recipe_words(one) for one in spec.interventions]
    text = (
        f"<p>Text set {foreign(spec.text_set)}</p>"
        if spec.text_set
        else f"<blockquote>{foreign(spec.text)}</blockquote>"
    )
    return (text if spec.text or spec.text_set else "") + f'<p class="quiet">{" · ".join(map(foreign, words))}</p>'


def _option(name: str, value: Any) -> str:
    """An option in words; a view that is compared by what its link asks."""
    words = link_words(value) if isinstance(value, str) else ""
    return f"{name} {words or value}".replace("_", " ")


def findings(found: Sequence[Finding]) -> list[str]:
    """Each finding's sentence and magnitude, the highest score first."""
    ranked = sorted(found, key=lambda one: -float(one.score))[:MAX_ROWS]
    items = (
        f"<li>{foreign(one.sentence)} <span class=quiet>{foreign(say_quantity(float(one.magnitude), str(one.unit)))}"
        "</span></li>"
        for one in ranked
    )
    return ["<ul>", *items, "</ul>"] if ranked else ["<p>No finding: nothing stands out.</p>"]


def token_strip(strip: Strip) -> list[str]:
    """The tokens, each on the heat of its value, with what the colours mean."""
    values = np.asarray(strip.values, np.float64).reshape(-1)
    shades = shade_of(values, strip.is_log, strip.is_diverging)
    spans = [
        f'<span class="{_look(shade, strip, pos)}" title="position {pos}: '
        f'{html.escape(say_quantity(float(value), strip.unit))}">{html.escape(marked(token, 40))}</span>'
        for pos, (token, value, shade) in enumerate(zip(strip.tokens, values, shades, strict=True))
    ]
    known = values[np.isfinite(values)]
    ends = f": {say_number(known.min())} to {say_quantity(float(known.max()), strip.unit)}" if len(known) else ""
    return [f'<p class="tokens">{"".join(spans)}</p>', f'<p class="quiet">{html.escape(strip.label + ends)}</p>']


def _look(shade: int | None, strip: Strip, pos: int) -> str:
    kind = "none" if shade is None else f"{'d' if strip.is_diverging else 's'}{shade}"
    return f"{kind} pinned" if pos == strip.pinned else kind


def shade_of(values: np.ndarray, is_log: bool, is_diverging: bool) -> list[int | None]:
    """The step of the palette of each value, None where there is no value to show."""
    with np.errstate(divide="ignore", invalid="ignore"):
        size = np.log(values) if is_log and not is_diverging else values.astype(np.float64)
    known = size[np.isfinite(size)]
    if not len(known):
        return [None] * len(values)
    low, high = known.min(), known.max()
    if is_diverging:
        high = max(abs(low), abs(high))
        low = -high
    share = (size - low) / (high - low) if high > low else np.where(np.isfinite(size), 0.5, np.nan)
    return [round(one * (N_SHADES - 1)) if np.isfinite(one) else None for one in share.tolist()]


def sentences(said: Sentences) -> str:
    """Sentences as a list, or one as a paragraph."""
    lines = [foreign(line) for line in said.lines[:MAX_ROWS]]
    if len(lines) < 2:
        return section(said.title, [f"<p>{line}</p>" for line in lines])
    return section(said.title, ["<ul>", *(f"<li>{line}</li>" for line in lines), "</ul>", *_more(len(said.lines))])


def table(shown: Table) -> str:
    """A table with its caption below."""
    head = "".join(f"<th scope=col>{foreign(name)}</th>" for name in shown.columns)
    rows = ("".join(f"<td>{foreign(cell)}</td>" for cell in row) for row in shown.rows[:MAX_ROWS])
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    inside = f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    if not shown.rows:
        inside = "<p>None.</p>"
    note = f'<p class="quiet">{foreign(shown.caption)}</p>' if shown.caption else ""
    return section(shown.title, [inside, *_more(len(shown.rows)), note])


def _more(n: int) -> list[str]:
    return [f"<p>and {n - MAX_ROWS:,} more, in the data</p>"] if n > MAX_ROWS else []


def figure_place(number: int, picture: Picture) -> str:
    """Where a figure is drawn, its title, caption and buttons."""
    height = int(picture.figure.layout.height or 280)
    buttons = "".join(
        f"<button type=button data-figure={number} data-format={kind}>{kind.upper()}</button>"
        for kind in ("svg", "png")
    )
    return (
        f'<figure><div class="head"><h3>{foreign(picture.title)}</h3><span class="tools">{buttons}</span></div>'
        f'<div class="plot" id="figure-{number}" data-height={height}></div>'
        f"<figcaption>{foreign(picture.caption)}</figcaption></figure>"
    )


def provenance(view: ViewFile, report: Report) -> list[str]:
    """How the numbers were made, as names and values."""
    facts, made = report.facts, view.made
    points = [str(one) for one in facts.get("hook_points") or ()]
    where = points if len(points) < 3 else [points[0], "…", points[-1], f"({len(points)})"]
    faith = facts.get("faithfulness")
    rows: dict[str, Any] = {
        "model": facts.get("model"),
        "revision": facts.get("revision"),
        "fingerprint": facts.get("fingerprint"),
        "dtype, device": f"{facts.get('dtype')}, {facts.get('device')}",
        "hook points": " ".join(where),
        "BOS": {True: "first", False: "left out"}.get(facts.get("bos"), facts.get("bos")),  # type: ignore[arg-type]
        "weights": facts.get("processing"),
        "tokens": facts.get("n_tokens"),
        "faithfulness": _pairs(faith) if isinstance(faith, Mapping) else faith,
        "made": f"{made.get('at', '')} UTC" if made.get("at") else "",
        "versions": _pairs(made.get("versions")),
        "lens revision": _pairs(made.get("lens_revisions")),
        "numbers": report.digest(),
        "view": view.id,
    }
    shown = ((name, value) for name, value in rows.items() if value not in (None, "", [], {}))
    return ["<dl>", *(f"<dt>{name}</dt><dd>{foreign(value)}</dd>" for name, value in shown), "</dl>"]


def _pairs(value: Any) -> str:
    pairs = value.items() if isinstance(value, Mapping) else ()
    return ", ".join(f"{name} {_short(one)}" for name, one in pairs)


def _short(value: Any) -> str:
    if isinstance(value, list):
        return f"{len(value)} values"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
