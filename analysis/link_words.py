"""What a link asks, on one line, for where its code would stand."""

from analysis.link import read_link
from analysis.spec import Spec
from capture.errors import UserError

MAX_CHARS = 200
MAX_TEXT_CHARS = 60


def link_words(text: str) -> str:
    """What a pasted link asks; empty for one that is missing or cannot be read."""
    try:
        link = read_link(text) if text.strip() else None
    except UserError:
        return ""
    if link is None:
        return ""
    return f"kept view {link.id}" if link.spec is None else spec_words(link.spec)


def spec_words(spec: Spec) -> str:
    """Page, model and text of a Spec, and what is unusual about it."""
    asked = f"text set {spec.text_set}" if spec.text_set else f"“{_cut(spec.text, MAX_TEXT_CHARS)}”"
    unusual = [*([] if spec.bos else ["BOS left out"]), *([] if spec.dtype == Spec("").dtype else [spec.dtype])]
    changed = [f"interventions {len(spec.interventions)}"] if spec.interventions else []
    options = [f"{name} {value}".replace("_", " ") for name, value in spec.options.items()]
    page = spec.lens.replace("_", " ").capitalize()
    return _cut(" · ".join([page, spec.model, asked, *unusual, *changed, *options]), MAX_CHARS)


def _cut(text: str, n_chars: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= n_chars else f"{line[: n_chars - 1].rstrip()}…"
