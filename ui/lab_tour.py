"""The tour's example of the steering lab: a bundled vector at its chosen strength, and a prompt on which it shows."""

from ui import state

NAME = "happy_sad"
STRENGTH = 0.1
"""The one that the vector's card chose, in mean norms of the activations."""
PROMPT = "The little dog was"
OPTIONS = {"panes": "1, -1", "seed": 3, "tokens": 48}


def take_lab_tour() -> None:
    """Fill the lab with the example: its steered panes are the vector as it is, and turned round."""
    from steering.method import method_named
    from steering.recipe import step_of
    from steering.shelf import find_shelved
    from steering.vector_folder import read_vectors

    shelved = find_shelved("vectors", NAME)
    fitted = read_vectors(shelved.folder)
    method = method_named(fitted.method)
    step = step_of(fitted, method, "happy", strength=STRENGTH, unit="relative", source=shelved.digest)
    tour = state.tour_spec("steering_lab")
    for name, value in OPTIONS.items():
        state.set_option(name, value)
    subject = {"model": tour.model, "text": PROMPT, "text_set": "", "dtype": tour.dtype, "bos": tour.bos}
    state.change(**subject, interventions=(step.recipe(),))
