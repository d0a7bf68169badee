"""The tour's example of the steering lab: a bundled vector at its chosen strength, and a prompt on which it shows."""

from ui import state

VECTOR = "happy_sad"
PROMPT = "The little dog was"
OPTIONS = {"panes": "1, -1", "seed": 3, "tokens": 48}


def take_lab_tour() -> None:
    """Fill the lab with the example: its steered panes are the vector as it is, and turned round."""
    from steering.shelf_step import step_from_shelf

    step, tour = step_from_shelf(VECTOR), state.tour_spec("steering_lab")
    for name, value in OPTIONS.items():
        state.set_option(name, value)
    subject = {"model": tour.model, "text": PROMPT, "text_set": "", "dtype": tour.dtype, "bos": tour.bos}
    state.change(**subject, interventions=(step.recipe(),))
