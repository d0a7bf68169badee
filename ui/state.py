"""The state of one browser session, and the address that spells it: the only user of session state and query params.

`asked` is the Spec of the widgets; `shown` is the Spec of the picture on screen, and the address always spells `shown`.
They differ only while a job runs or after an error. A widget never holds a value of its own: it is set from `asked`
before it is drawn, and writes back through its callback.
"""

import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit, urlunsplit

import streamlit as st

from analysis.spec import Spec, digest_json, from_code, to_code
from analysis.text_set import read_text_set
from capture.errors import UserError

if TYPE_CHECKING:
    from ui.job import Followed, Job

HOME = "what_stands_out"
ADDRESS_FIELD = "view"
MAX_ANSWERS = 6
SUBJECT = ("model", "text", "text_set", "bos", "dtype", "fingerprint")
_KEY = "steerscope"


@dataclass
class Session:
    """One browser session; changed only by the functions of this module."""

    asked: Spec
    shown: Spec | None = None
    written: str = ""
    """The code that this session put into the address last."""
    has_changed: bool = False
    """Whether a widget spoke since the address was written; then the address is the older of the two."""
    options: dict[str, dict[str, Any]] = field(default_factory=dict)
    subject: dict[str, Any] = field(default_factory=dict)
    """Model, text and how it is run, as the last page of a text had them."""
    answers: OrderedDict[str, Any] = field(default_factory=OrderedDict)
    last_good: dict[str, str] = field(default_factory=dict)
    """The key of the last answer by page: the view that stays when the next one cannot be had."""
    is_of_one_text: bool = True
    """Whether the open page is; the views that others are made of decide their fingerprint instead of a model."""
    job: "Job | Followed | None" = None
    bad_link: UserError | None = None
    caution: str = ""
    wants_other_model: bool = False
    is_idle: bool = False
    """Whether a person cancelled before this page had anything to show."""
    visitor: str = field(default_factory=lambda: secrets.token_hex(16))
    """Whose jobs these are where nobody signs in; replaced by the id that the browser kept from earlier."""
    told: set[str] | None = None
    """Ended jobs that need no notice any more; None before the first look."""
    recent: list[Spec] = field(default_factory=list)


def session() -> Session:
    """The state of this browser session."""
    if _KEY not in st.session_state:
        tour = tour_spec()
        st.session_state[_KEY] = Session(asked=tour, subject=_subject(tour))
    return st.session_state[_KEY]


def tour_spec(lens: str = HOME) -> Spec:
    """The first view of the tour."""
    return Spec(lens=lens, text=read_text_set("tour").texts[0])


def open_page(slug: str, is_of_one_text: Mapping[str, bool]) -> Spec:
    """The Spec asked for on this page, read from the address where that is new; a bad link leaves what was there.

    Its lens is another page's where the address belongs there. `is_of_one_text` has every page; one that is not of a
    text has none in its link, and going back to one that is finds the text from before.
    """
    state = session()
    state.is_of_one_text = is_of_one_text[slug]
    code = st.query_params.get(ADDRESS_FIELD, "")
    if code and code != state.written and not state.has_changed:
        state.written = code
        try:
            _restore(state, code, tuple(is_of_one_text))
        except UserError as error:
            state.bad_link = error
        else:
            return state.asked
    if is_of_one_text.get(state.asked.lens, True):
        state.subject = _subject(state.asked)
    if state.asked.lens != slug:
        options = dict(state.options.get(slug, {}))
        subject = state.subject if is_of_one_text[slug] else {}
        _adopt(state, Spec(lens=slug, options=options, pins=state.asked.pins if subject else {}, **subject))
    return state.asked


def _subject(spec: Spec) -> dict[str, Any]:
    return {name: getattr(spec, name) for name in SUBJECT}


def _restore(state: Session, code: str, slugs: tuple[str, ...]) -> None:
    spec = from_code(code)
    if spec.lens not in slugs:
        raise UserError(
            f"This link is for a page {spec.lens[:40]!r}, which is not here.", f"The pages are: {', '.join(slugs)}."
        )
    state.bad_link, state.caution, state.wants_other_model = None, "", False
    state.options[spec.lens] = dict(spec.options)
    _adopt(state, spec)


def _adopt(state: Session, spec: Spec) -> None:
    state.asked, state.is_idle = spec, False
    if state.job is not None and state.job.key != answer_key(spec):
        state.job.cancel()
        state.job = None


def change(**fields: Any) -> None:
    """Ask for another model, text, option set …: what the next run will show."""
    state = session()
    # Another model has another fingerprint.
    if {"model", "dtype"} & set(fields):
        fields["fingerprint"] = ""
    state.has_changed, state.bad_link, state.caution = True, None, ""
    _adopt(state, state.asked.with_(**fields))


def set_option(name: str, value: Any) -> None:
    """Ask the page's lens for another value of an option."""
    state = session()
    chosen = {**state.options.get(state.asked.lens, {}), name: value}
    state.options[state.asked.lens] = chosen
    change(options=chosen, **({} if state.is_of_one_text else {"fingerprint": ""}))


def pin(**places: Any) -> None:
    """Pin places (layer, pos, dim, …), or unpin those given as None; the address follows at once."""
    state = session()
    kept = {name: value for name, value in {**state.asked.pins, **places}.items() if value is not None}
    state.asked = state.asked.with_(pins=kept)
    if state.shown is not None:
        show(state.shown.with_(pins=kept))


def pins() -> Mapping[str, Any]:
    """What is pinned now."""
    return session().asked.pins


def show(spec: Spec) -> None:
    """Say that this Spec is on screen: the address spells it from now on."""
    state = session()
    state.shown, state.has_changed = spec, False
    code = to_code(spec)
    if st.query_params.get(ADDRESS_FIELD) != code:
        st.query_params[ADDRESS_FIELD] = code
    state.written = code


def link() -> str:
    """The whole address of the view on screen; it needs nothing but this program and the model."""
    state = session()
    parts = urlsplit(st.context.url or "http://127.0.0.1:8501/")
    return urlunsplit(
        parts._replace(path=parts.path or "/", query=urlencode({ADDRESS_FIELD: to_code(state.shown or state.asked)}))
    )


def code_of(spec: Spec) -> dict[str, str]:
    """Query parameters that spell a Spec."""
    return {ADDRESS_FIELD: to_code(spec)}


def bind(name: str, value: Any, apply: Callable[[Any], None]) -> dict[str, Any]:
    """Arguments that tie a widget to a value: it shows `value`, and `apply(new)` is called when a person changes it."""
    key = f"{_KEY}.{name}"
    st.session_state[key] = value
    return {"key": key, "on_change": lambda: apply(st.session_state[key])}


def answer_key(spec: Spec) -> str:
    """What tells one answer of a session from another: all of the Spec but its pins and its fingerprint."""
    return digest_json({**spec.to_json(), "pins": {}, "fingerprint": ""})


def keep_answer(spec: Spec, answer: Any) -> None:
    """Remember an answer, and that it is what this page showed last."""
    state, key = session(), answer_key(spec)
    state.answers[key] = answer
    state.answers.move_to_end(key)
    state.last_good[spec.lens] = key
    while len(state.answers) > MAX_ANSWERS:
        state.answers.popitem(last=False)


def answer_to(spec: Spec) -> Any | None:
    """The remembered answer to a Spec."""
    return session().answers.get(answer_key(spec))


def previous_answer(slug: str) -> Any | None:
    """What this page showed last."""
    state = session()
    return state.answers.get(state.last_good.get(slug, ""))


def with_fingerprint(spec: Spec, fingerprint: str) -> Spec:
    """The asked Spec once its model is known; a link made with other weights leaves a caution."""
    state = session()
    if spec.fingerprint and spec.fingerprint != fingerprint:
        made_with = (
            f"{spec.model} {spec.fingerprint[:8]}; the model loaded under that name is {fingerprint[:8]}"
            if state.is_of_one_text
            else "other numbers than its views have now"
        )
        state.caution = f"This link was made with {made_with}. The numbers may differ from those that were shared."
    state.asked = replace(state.asked, fingerprint=fingerprint)
    return state.asked


def forget_job() -> None:
    """Let go of the current job: its answer was taken, or it is to be tried again."""
    session().job = None


def take_tour() -> None:
    """Ask for the tour's first view, on the page that is open."""
    tour = tour_spec()
    change(model=tour.model, text=tour.text, text_set="", dtype=tour.dtype, bos=tour.bos)


def go_back() -> None:
    """Ask again for what is on screen (after a cancel), or for nothing where nothing is."""
    state = session()
    if state.job is not None:
        state.job.cancel()
        state.job = None
    if state.shown is not None and state.shown.lens == state.asked.lens:
        state.asked, state.has_changed = state.shown, True
        state.options[state.asked.lens] = dict(state.asked.options)
    else:
        state.is_idle = True
