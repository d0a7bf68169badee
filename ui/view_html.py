"""A view as one HTML file that opens anywhere: figures, words, numbers and the view file itself, with no network.

The file's policy lets only the scripts and styles run that are named by their digest, and lets nothing be asked for.
"""

import base64
import gzip
import hashlib
import html
import json
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from analysis.lens import AnyLens, find_lens
from analysis.report import Finding, Report
from analysis.spec import to_code
from analysis.tables import data_zip
from analysis.view_file import ViewFile, read_view_file
from capture.errors import UserError
from ui import view_sections as parts
from ui.charts import DIVERGING, SEQUENTIAL
from ui.figures import pictures_of, sentences_of, strip_of, tables_of
from ui.figures.picture import Picture
from ui.figures.what_stands_out import QUESTION

FOLDER = Path(__file__).parent
MAX_DATA_BYTES = 1_000_000
"""A larger archive of CSV and Parquet is left out of the page, which has all numbers as JSON anyway."""
_VIEW = re.compile(r'<script type="application/octet-stream" id="steerscope-view">([A-Za-z0-9+/=]+)</script>')
# Plotly adds one empty style element and fills it rule by rule.
_EMPTY_STYLE = "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="


def view_html(view: ViewFile) -> str:
    """The view as one self-contained page; `view_in_html` finds the view in it again."""
    pictures: list[Picture] = []
    archive = data_zip(view)
    has_data = len(archive) <= MAX_DATA_BYTES
    main = "".join([_opening(view), *_bodies(view, pictures), _ending(view, has_data)])
    style = _style()
    script = (FOLDER / "view_html.js").read_text("utf-8")
    blocks = [
        ("application/octet-stream", "plotly", _packed_plotly()),
        ("application/json", "figures", _inert_json([_figure(one) for one in pictures])),
        ("application/octet-stream", "view", _base64(view.to_bytes())),
    ]
    if has_data:
        blocks.append(("application/octet-stream", "data", _base64(archive)))
    slug = re.sub(r"[^a-z0-9]+", "-", view.spec.lens.lower())[:40]
    held = "".join(f'<script type="{kind}" id="steerscope-{name}">{text}</script>' for kind, name, text in blocks)
    return (
        f'<!doctype html>\n<html lang="en" data-file="steerscope-{slug}">\n<head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_policy([_plotly(), script], style)}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="referrer" content="no-referrer">'
        f"<title>{html.escape(_title(view))} · Steerscope</title><style>{style}</style></head>\n"
        f"<body><main>{main}</main>{_styles_not_wanted()}{held}<script>{script}</script></body></html>\n"
    )


def view_in_html(text: str) -> ViewFile:
    """The view inside a page that `view_html` made; raises UserError where there is none or it cannot be read."""
    found = _VIEW.findall(text)
    if len(found) != 1:
        raise UserError(
            f"A page exported by Steerscope has one view in it; {len(found)} were found.",
            "Give the .html file as it was saved from Export, or the .steerscope file.",
        )
    try:
        return read_view_file(base64.b64decode(found[0], validate=True))
    except ValueError as error:
        raise UserError("The view in this page is damaged.", "Ask for the file again.") from error


def _title(view: ViewFile) -> str:
    lens = _lens(view.spec.lens)
    return lens.title if lens else view.spec.lens.replace("_", " ").capitalize()[:80]


def _lens(slug: str) -> AnyLens | None:
    try:
        return find_lens(slug)
    except UserError:
        return None


def _opening(view: ViewFile) -> str:
    lens = _lens(view.spec.lens)
    question = (
        lens.question if lens else QUESTION if len(view.reports) > 1 or view.spec.lens == "what_stands_out" else ""
    )
    head = f"<header><h1>{html.escape(_title(view))}</h1><p>{html.escape(question)}</p></header>"
    return head + "".join(parts.drawn_or_said(lambda: [parts.asked(view)]))


def _bodies(view: ViewFile, pictures: list[Picture]) -> list[str]:
    """Strip and findings of the whole view, then what each Report shows; `pictures` takes in the figures, in order."""
    made = []
    strips = [(report, _pins(view, report)) for report in view.reports]
    for report, pins in strips:
        strip = parts.drawn_or_said(lambda report=report, pins=pins: _strip(report, pins))  # type: ignore[misc]
        if strip:
            made += strip
            break
    found: list[Finding] = [one for report in view.reports for one in report.findings]
    made.append(parts.section("Findings", parts.drawn_or_said(lambda: parts.findings(found))))
    for report in view.reports:
        made += _body(view, report, pictures)
    return made


def _pins(view: ViewFile, report: Report) -> dict[str, Any]:
    return dict(view.spec.pins) if report.spec.lens == view.spec.lens else {}


def _strip(report: Report, pins: dict[str, Any]) -> list[str]:
    strip = strip_of(report, pins)
    return [] if strip is None else parts.token_strip(strip)


def _body(view: ViewFile, report: Report, pictures: list[Picture]) -> list[str]:
    lens = _lens(report.spec.lens)
    made = []
    if len(view.reports) > 1:
        title = lens.title if lens else report.spec.lens
        made.append(f"<h2>{html.escape(title)}</h2>")

    def figures() -> list[str]:
        drawn = pictures_of(report, _pins(view, report))
        places = [parts.figure_place(len(pictures) + number, one) for number, one in enumerate(drawn)]
        pictures.extend(drawn)
        return ['<div class="figures">', *places, "</div>"] if places else []

    made += [parts.section("Figures", drawn) if (drawn := parts.drawn_or_said(figures)) else ""]
    made += parts.drawn_or_said(lambda: [parts.sentences(one) for one in sentences_of(report)])
    made += parts.drawn_or_said(lambda: [parts.table(one) for one in tables_of(report)])
    if lens is not None:
        words = [f"<p>{html.escape(lens.how_to_read)}</p>", f'<p class="quiet">{html.escape(lens.paper)}</p>']
        made.append(parts.section("How to read this", words))
    made.append(
        parts.section("Where the numbers come from", parts.drawn_or_said(lambda: parts.provenance(view, report)))
    )
    return made


def _ending(view: ViewFile, has_data: bool) -> str:
    buttons = [("view", "View file"), ("numbers", "Numbers (JSON)")]
    buttons += [("data", "Data (CSV and Parquet)")] if has_data else []
    shown = "".join(f"<button type=button data-save={kind}>{words}</button>" for kind, words in buttons)
    return parts.section(
        "Take it along",
        [
            f'<div class="actions">{shown}</div>',
            '<p class="quiet">This page and the view file both open in Steerscope, which then shows these numbers. '
            "Without it the page is all there is to have: it loads nothing.</p>",
            f"<details><summary>Code of this view</summary><code>{html.escape(to_code(view.spec))}</code></details>",
            "<noscript><p>The figures need scripts, which are in this page; words and tables do not.</p></noscript>",
        ],
    )


def _figure(picture: Picture) -> dict[str, Any]:
    drawn = json.loads(picture.figure.to_json())
    for trace in drawn["data"]:
        # The graphics card's version of a scatter makes functions from text, which the page's policy forbids.
        trace["type"] = "scatter" if trace["type"] == "scattergl" else trace["type"]
    return {"name": picture.name, "data": drawn["data"], "layout": drawn["layout"]}


def _inert_json(value: Any) -> str:
    """JSON in which nothing can end a script element."""
    text = json.dumps(value, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@cache
def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


@cache
def _packed_plotly() -> str:
    return _base64(gzip.compress(_plotly().encode(), 9, mtime=0))


@cache
def _styles_not_wanted() -> str:
    """Elements by whose ids plotly sees that the style of its maps, which no figure here has, need not be added."""
    ids = re.findall(r'if\(!document\.getElementById\("([0-9a-f]{64})"\)\)', _plotly())
    return "".join(f'<i id="{one}" hidden></i>' for one in ids)


@cache
def _style() -> str:
    """The page's style, with a class for each step of the palettes."""
    steps = [f".s{n}{{{_colours(SEQUENTIAL, n)}}}.d{n}{{{_colours(DIVERGING, n)}}}" for n in range(parts.N_SHADES)]
    return (FOLDER / "view_html.css").read_text("utf-8") + "".join(steps)


def _colours(palette: Sequence[str], step: int) -> str:
    """Ground and ink of a palette's step, ink black or white as reads better."""
    place = step / (parts.N_SHADES - 1) * (len(palette) - 1)
    left = min(int(place), len(palette) - 2)
    ends = [[int(colour[at : at + 2], 16) for at in (1, 3, 5)] for colour in palette[left : left + 2]]
    red, green, blue = (round(a + (b - a) * (place - left)) for a, b in zip(*ends, strict=True))
    ink = "#000" if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else "#fff"
    return f"background:rgb({red},{green},{blue});color:{ink}"


def _policy(scripts: Sequence[str], style: str) -> str:
    digests = " ".join(f"'{_digest(one)}'" for one in scripts)
    return (
        f"default-src 'none'; script-src {digests}; style-src '{_digest(style)}' '{_EMPTY_STYLE}'; "
        # Plotly builds its drawing areas from markup whose elements have style attributes; these can fetch nothing.
        "style-src-attr 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return f"sha256-{_base64(hashlib.sha256(text.encode()).digest())}"


def view_of_bytes(data: bytes) -> ViewFile:
    """The view in a view file or in an exported page; raises UserError for anything else."""
    if data[:64].lstrip().startswith(b"<"):
        return view_in_html(data.decode("utf-8", "replace"))
    return read_view_file(data)
