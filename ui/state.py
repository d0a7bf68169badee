"""The state of one browser session, and the address that spells it: the only user of session state and query params.

`asked` is the Spec of the widgets; `shown` is the Spec of the picture on screen, and the address always spells `shown`.
They differ only while a job runs or after an error. Both may be of a kept view, whose numbers are frozen; asking for
anything but other pins leaves it. A widget never holds a value of its own: it is set from `asked`
before it is drawn, and writes back through its callback.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import streamlit as st

from analysis.link import CODE_FIELD, ID_FIELD, Link, link_of
from analysis.spec import Spec, digest_json
from analysis.text_set import read_text_set
from capture.errors import UserError
from ui import resources
from ui.model_options import settled_options, without_model_options
from ui.session import Session

if TYPE_CHECKING:
    from analysis.report import Report
    from analysis.view_file import ViewFile

HOME = "what_stands_out"
COMPARE = "compare"
MAX_ANSWERS = 6
SUBJECT = ("model", "text", "text_set", "bos", "dtype", "fingerprint", "interventions")
_KEY = "steerscope"


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
    query = _address()
    if query and query != state.written and not state.has_changed:
        state.written = query
        try:
            _restore(state, link_of(query), tuple(is_of_one_text))
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


def _address() -> dict[str, str]:
    """The part of the address that names a view."""
    return {name: st.query_params[name] for name in (ID_FIELD, CODE_FIELD) if st.query_params.get(name)}


def _restore(state: Session, link: Link, slugs: tuple[str, ...]) -> None:
    """Ask for what a link names: a kept view with the pins of its code, or its code alone where that view is gone."""
    state.bad_link, state.caution, state.wants_other_model = None, "", False
    view = None
    if link.id:
        try:
            view = resources.kept_view(link.id)
        except UserError as error:
            if link.spec is None:
                raise
            state.bad_link = error
    spec = link.spec if view is None else view.spec.with_(pins=(link.spec or view.spec).pins)
    assert spec is not None  # a link has a Spec or an id
    if spec.lens not in slugs:
        raise UserError(
            f"This link is for a page {spec.lens[:40]!r}, which is not here.", f"The pages are: {', '.join(slugs)}."
        )
    state.options[spec.lens] = dict(spec.options)
    _adopt(state, spec, view)


def _adopt(state: Session, spec: Spec, kept: "ViewFile | None" = None) -> None:
    state.asked, state.kept, state.is_idle = spec, kept, False
    if state.job is not None and state.job.key != answer_key(spec):
        state.job.cancel()
        state.job = None


def change(**fields: Any) -> None:
    """Ask for another model, text, option set …: what the next run will show."""
    state = session()
    # Another model has another fingerprint.
    if {"model", "dtype"} & set(fields):
        fields["fingerprint"] = ""
    if "model" in fields:
        state.options = without_model_options(state.options)
        fields = {"options": dict(state.options.get(state.asked.lens, {})), "interventions": (), **fields}
    elif "dtype" in fields and state.shown is not None and state.shown.lens == state.asked.lens:
        # The same model in another precision keeps what was settled for it.
        fields = {"options": state.shown.options, **fields}
    state.has_changed, state.bad_link, state.caution = True, None, ""
    _adopt(state, state.asked.with_(**fields))


def set_option(name: str, value: Any) -> None:
    """Ask the page's lens for another value of an option."""
    state = session()
    chosen = {**state.options.get(state.asked.lens, {}), name: value}
    state.options[state.asked.lens] = chosen
    change(options=chosen, **({} if state.is_of_one_text else {"fingerprint": ""}))


def run_now() -> None:
    """Ask for the numbers that the kept view on screen would have today."""
    change(fingerprint="")


def pin(**places: Any) -> None:
    """Pin places (layer, pos, dim, …), or unpin those given as None; the address follows at once."""
    state = session()
    kept = {name: value for name, value in {**state.asked.pins, **places}.items() if value is not None}
    state.asked = state.asked.with_(pins=kept)
    if state.shown is not None:
        show(state.shown.with_(pins=kept), state.shown_kept)


def pins() -> Mapping[str, Any]:
    """What is pinned now."""
    return session().asked.pins


def show(spec: Spec, kept: "ViewFile | None" = None) -> None:
    """Say that this Spec is on screen, run or as it was kept: the address spells it from now on."""
    state = session()
    state.shown, state.shown_kept, state.has_changed = spec, kept, False
    state.written = code_of(spec, kept)
    if _address() != state.written:
        for name in {ID_FIELD, CODE_FIELD} & set(st.query_params) - set(state.written):
            del st.query_params[name]
        st.query_params.update(state.written)


def link(identity: str = "") -> str:
    """The whole address of the view on screen: under a short id, or self-contained, for any program with the model."""
    state = session()
    spec = state.shown or state.asked
    named = Link(id=identity) if identity else Link(spec)
    base = resources.base_address()
    if base is None:
        return named.address(st.context.url or "http://127.0.0.1:8501/")
    return named.address(f"{base}/{'' if spec.lens == HOME else spec.lens}")


def code_of(spec: Spec, kept: "ViewFile | None" = None) -> dict[str, str]:
    """Query parameters that spell a Spec, or a kept view with the pins of the Spec."""
    if kept is None:
        return Link(spec).query()
    return Link(None if spec == kept.spec else spec, kept.id).query()


def on_the_way() -> dict[str, str]:
    """Query parameters for going to the page of what is asked for; they are not read again there."""
    state = session()
    state.written = code_of(state.asked, state.kept)
    return state.written


def compare_also(view: str) -> dict[str, str]:
    """Query parameters of the Compare page with this view (an id or a code) on its left.

    It is on the right where the left was chosen and waits for something to be compared with.
    """
    chosen = session().options.get(COMPARE, {})
    is_waiting = bool(chosen.get("left")) and not chosen.get("right")
    options = {"left": chosen["left"], "right": view} if is_waiting else {"left": view}
    return code_of(Spec(COMPARE, options=options))


def bind(name: str, value: Any, apply: Callable[[Any], None]) -> dict[str, Any]:
    """Arguments that tie a widget to a value: it shows `value`, and `apply(new)` is called when a person changes it."""
    key = f"{_KEY}.{name}"
    st.session_state[key] = value
    return {"key": key, "on_change": lambda: apply(st.session_state[key])}


def bind_table(name: str, apply: Callable[[int], None]) -> dict[str, Any]:
    """Arguments that tie a table to what is done with a row of it: `apply(row)` is called when a person presses one."""
    key = f"{_KEY}-{name}"

    def pressed() -> None:
        cells = st.session_state[key]["selection"]["cells"]
        if cells:
            apply(int(cells[0][0]))

    return {"key": key, "on_select": pressed, "selection_mode": "single-cell"}


def bind_row_buttons(name: str, apply: Callable[[int], None]) -> dict[str, Any]:
    """Arguments that tie a column of buttons to what is done with a row: `apply(row)` is called for a pressed one."""
    key = f"{_KEY}-{name}"

    def pressed() -> None:
        apply(int(st.session_state[key]["row"]))

    return {"key": key, "on_click": pressed}


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


def keep_frozen(spec: Spec, answer: Any) -> None:
    """Remember the numbers of a kept view as what this page showed last, and as no answer to its Spec."""
    state = session()
    state.answers[f"kept {spec.lens}"] = answer
    state.last_good[spec.lens] = f"kept {spec.lens}"


def previous_answer(slug: str) -> Any | None:
    """What this page showed last."""
    state = session()
    return state.answers.get(state.last_good.get(slug, ""))


def with_answer(spec: Spec, report: "Report") -> Spec:
    """The asked Spec once it is answered: with the model's fingerprint and what its options were settled to.

    A link made with other weights leaves a caution.
    """
    state, fingerprint = session(), report.spec.fingerprint
    if spec.fingerprint and spec.fingerprint != fingerprint:
        made_with = (
            f"{spec.model} {spec.fingerprint[:8]}; the model loaded under that name is {fingerprint[:8]}"
            if state.is_of_one_text
            else "other numbers than its views have now"
        )
        state.caution = f"This link was made with {made_with}. The numbers may differ from those that were shared."
    state.asked = replace(state.asked, fingerprint=fingerprint)
    return state.asked.with_(options={**state.asked.options, **settled_options(report, state.asked.lens)})


def forget_job() -> None:
    """Let go of the current job: its answer was taken, or it is to be tried again."""
    session().job = None


def take_tour() -> None:
    """Ask for the tour's first view, on the page that is open."""
    tour = tour_spec()
    change(model=tour.model, text=tour.text, text_set="", dtype=tour.dtype, bos=tour.bos, interventions=())


def go_back() -> None:
    """Ask again for what is on screen (after a cancel), or for nothing where nothing is."""
    state = session()
    if state.job is not None:
        state.job.cancel()
        state.job = None
    if state.shown is not None and state.shown.lens == state.asked.lens:
        state.asked, state.kept, state.has_changed = state.shown, state.shown_kept, True
        state.options[state.asked.lens] = dict(state.asked.options)
    else:
        state.is_idle = True
