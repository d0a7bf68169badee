"""Shows every figure of ui/charts.py with made-up numbers, for people to look at."""

import numpy as np
import streamlit as st

from ui import charts

st.set_page_config(page_title="charts", layout="wide")
generator = np.random.default_rng(0)
values = generator.standard_t(3, size=2000)
quantiles = np.linspace(0.005, 0.995, 100)
normal = np.quantile(np.random.default_rng(1).normal(size=100_000), quantiles)
tokens = ["<s>", "Once", " upon", " a", "<b>x</b>", " time", "\n", "<img src=x onerror=alert(1)>"]
norms = np.sort(np.exp(generator.normal(size=256)))[::-1]
cosine = np.tanh(generator.normal(size=704))
figures = {
    "histogram_with_qq": charts.histogram_with_qq(
        values, normal, np.quantile(values, quantiles), quantity="activation", unit="layer 3"
    ),
    "ranked_bars": charts.ranked_bars(
        [f"dimension {dim}" for dim in (213, 7, 41, 90, 101, 3)],
        [0.61, 0.12, 0.08, 0.05, 0.031, 0.0002],
        quantity="share of squared norm",
        pinned=1,
    ),
    "gate_scatter": charts.gate_scatter(
        cosine,
        np.exp(generator.normal(size=704) + 2 * cosine),
        [f"layer 0, neuron {i}" for i in range(704)],
        pinned=12,
    ),
    "before_after_lines": charts.before_after_lines(norms, np.sort(norms**0.2)[::-1], quantity="channel norm"),
    "layer_lines": charts.layer_lines({"dimension 213": [1, 4, 9, 16, 14, 12]}, quantity="value", unit="×", pinned=3),
    "layer_lines two": charts.layer_lines({"a": [1, 4, 90, 16], "b": [2, 3, 4, 5]}, quantity="value", log=True),
    "tokens_bar": charts.tokens_bar(tokens, generator.exponential(size=8), quantity="KL", unit="nats", pinned=2),
    "binned": charts.binned(
        10.0 ** np.arange(-3, 4), [3, 100, 12_400, 900, 20, 1], quantity="|activation|", log_x=True
    ),
    "ranked_bars signed": charts.ranked_bars(["dim 5", "dim 80", "dim 3"], [-12.4, 8.1, -0.3], quantity="value"),
    "spark": charts.spark(norms[:40]),
}
columns = st.columns(2)
for place, (name, drawn) in enumerate(figures.items()):
    with columns[place % 2]:
        st.caption(name)
        st.plotly_chart(drawn, key=name, config={"displayModeBar": False})
