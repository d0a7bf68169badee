"""Takes a direction out of the activations: where it was fitted, or wherever blocks read from and add to the stream."""

import streamlit as st

from analysis.spec import Spec
from ui import resources
from ui.boundary import boundary
from ui.changes import add_change
from ui.vector_choice import choose_vectors, points_of

TITLE, ORDER = "Ablate a direction", 40
WHERE = {"every": "every block", "fitted": "where it was fitted"}


def draw(asked: Spec) -> None:
    """Which direction, and where."""
    from steering.shelf_step import is_direction

    one = choose_vectors(asked, "steerscope.add.ablate", is_direction, "Direction of")
    if one is None:
        return
    points = points_of(one)
    layers = [at.layer for at in points if at.layer is not None]
    chosen = layers[:1]
    if len(layers) > 1:
        chosen = [int(st.selectbox("Block", layers, key=f"steerscope.add.ablate.layer.{one.digest}") or 0)]
    where = "fitted"
    if all(at.site.startswith("resid") for at in points):
        where = str(
            st.segmented_control(
                "Where",
                list(WHERE),
                default="every",
                required=True,
                format_func=lambda choice: WHERE[choice],
                help="Every block: its input, its attention's output and its MLP's, so that nothing writes it back "
                "(Arditi et al. 2024).",
                key="steerscope.add.ablate.where",
            )
        )
    if st.button("Project it out", type="primary", width="stretch", key="steerscope.add.ablate.go"):
        with boundary("adding the ablation"):
            _add(
                asked, one.digest, chosen, is_everywhere=where == "every", name=f"without {one.name}".replace("_", " ")
            )


def _add(asked: Spec, digest: str, layers: list[int], *, is_everywhere: bool, name: str) -> None:
    from steering.methods.refusal_direction import ablation_points
    from steering.shelf_step import step_from_shelf

    at = [str(point) for point in ablation_points(resources.load(asked.model, asked.dtype))] if is_everywhere else []
    add_change(step_from_shelf(digest, "project_out", layers, at, name).recipe())
    st.rerun()
