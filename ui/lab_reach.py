"""How far an edit in the steering lab reaches: into the lab alone while its text is written, or over the whole page."""

from analysis.spec import Spec
from ui import state
from ui.answers import is_to_come


def reaches_page(drawn: Spec, asked: Spec) -> bool:
    """Whether the page is to be drawn with the lab, where it was drawn for another Spec; begins the work on this one.

    The page shows what was answered last. It follows once there is an answer, an error or a stop to tell, and at once
    where its own list of changes would no longer be of the same steps.
    """
    session = state.session()
    if session.is_idle or session.shown_kept is not None or asked.text_set or not _differ_in_values(drawn, asked):
        return True
    if state.answer_key(drawn) == state.answer_key(asked) and state.answer_to(asked) is not None:
        return False
    return not is_to_come(asked)


def _differ_in_values(drawn: Spec, asked: Spec) -> bool:
    """Whether they have the same steps on the same model, and nothing but values is another."""
    same = drawn.with_(
        text=asked.text,
        options=asked.options,
        interventions=asked.interventions,
        pins=asked.pins,
        fingerprint=asked.fingerprint,
    )
    steps = [[(one.get("kind"), one.get("name")) for one in spec.interventions] for spec in (drawn, asked)]
    return same == asked and steps[0] == steps[1]
