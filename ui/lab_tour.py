"""The tour's example of the steering lab: a bundled vector at its chosen strength, and a prompt on which it shows."""

from pathlib import Path

from ui import state

VECTOR = Path(__file__).resolve().parent.parent / "data" / "vectors" / "happy_sad"
STRENGTH = 0.1
"""The one that the vector's card chose, in mean norms of the activations."""
PROMPT = "The little dog was"
OPTIONS = {"panes": "1, -1", "seed": 1, "tokens": 48}


def take_lab_tour() -> None:
    """Fill the lab with the example."""
    from steering.fitted import Setting
    from steering.method import method_named
    from steering.vector_folder import read_vectors

    fitted = read_vectors(VECTOR)
    changes = method_named(fitted.method).apply(fitted, Setting(STRENGTH, "relative", ranges=((1, None),)))
    tour = state.tour_spec("steering_lab")
    for name, value in OPTIONS.items():
        state.set_option(name, value)
    recipe = tuple(one.recipe() for one in changes)
    state.change(model=tour.model, text=PROMPT, text_set="", dtype=tour.dtype, bos=tour.bos, interventions=recipe)
