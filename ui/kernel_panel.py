"""Kernels: which backend each would take on this machine, and why."""

import streamlit as st

from ui.numbers import say_number
from ui.words import caption, plain


def kernels() -> None:
    """One row for each kernel, and how often certified rows had to be redone."""
    from sae.kernel_choices import SHAPE, kernel_choices

    st.markdown("### Kernels")
    found = kernel_choices()
    table = {
        "kernel": [one.kernel for one in found],
        "backend": [one.backend for one in found],
        "certified": [one.is_certified for one in found],
        "tiles": [one.tiling for one in found],
        "why": [one.reason for one in found],
    }
    wide = st.column_config.TextColumn("why", width="large")
    st.dataframe(table, hide_index=True, column_config={"why": wide})
    shape = ", ".join(f"{name} {number:,}" for name, number in SHAPE.items())
    counted = next(one for one in found if one.kernel == "topk_encode")
    caption(
        f"For a call with {shape}, weights not packed. Certified: the set kept is that of the float32 reference. "
        f"Encoded in this server since it started: {say_number(counted.n_rows)} rows, of which "
        f"{say_number(counted.n_redone)} were redone in float32; jobs count in processes of their own."
    )
    caption(plain(f"The environment variable {counted.override} = reference, cpu or triton forces a backend."))
