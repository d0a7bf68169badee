"""The dose-response of a tuning as small curves over the strength, with the knee and the KL budget marked."""

from typing import TYPE_CHECKING, Any

from steering.proxies import MAX_RATIO, proxy
from ui import charts
from ui.curves import Curve, Mark, curves
from ui.numbers import say_number

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from steering.dose import Dose
    from steering.scores import Interval
    from steering.tuning import Tuning

AT_ZERO = {"concept": 0.0, "perplexity_ratio": 1.0, "kl": 0.0}
"""What each score is at strength 0, where nothing is changed; the scores that are drawn, in their order."""
AXES = {"concept": "C (nats)", "perplexity_ratio": "ratio (×)", "kl": "KL (nats)"}
HEIGHT_PX = 150
FAINT = 1.0
BUDGETS_SHOWN = 3
"""How many times the budget the KL's axis spans."""
HEADROOM = 1.1


def dose_curve(tuning: "Tuning", name: str, strength: float | None = None) -> "Figure | None":
    """One score over the strength, a line a layer, with its interval at the knee's layer; None where it needs pairs.

    `strength` is ringed where it was measured at the knee's layer.
    """
    layers = list(dict.fromkeys(one.layer for one in tuning.doses))
    main = tuning.knee.layer if tuning.knee is not None else layers[0]
    if any(_value(one, name) is None for one in tuning.doses):
        return None
    lines = [_line(tuning, name, layer, layer == main) for layer in sorted(layers, key=lambda layer: layer == main)]
    knee = [] if tuning.knee is None else [Mark("x", tuning.knee.strength, "knee")]
    budget = [Mark("y", tuning.budget, f"budget {tuning.budget:g}", "top left")] if name == "kl" else []
    here = next((one for one in tuning.layer_doses(main) if one.strength == strength), None)
    ring = None if here is None else (here.strength, _spread(here, name).mean)
    drawn = curves(
        lines,
        x="strength",
        y=AXES[name],
        marks=[*knee, *budget],
        ring=ring,
        height=HEIGHT_PX,
        x_range=tuning.slider,
        y_range=_span(tuning, name),
    )
    return drawn.update_layout(showlegend=False, margin={"l": 4, "r": 8, "t": 16, "b": 4})


def _line(tuning: "Tuning", name: str, layer: int | None, is_main: bool) -> Curve:
    """One layer's line, through what is known to be so at strength 0."""
    doses = sorted(tuning.layer_doses(layer), key=lambda one: one.strength)
    below = [one for one in doses if one.strength < 0]
    points: list[tuple[float, float, float, float, str]] = [_point(one, name) for one in below]
    points.append((0.0, *[AT_ZERO[name]] * 3, "strength 0: the clean model"))
    points += [_point(one, name) for one in doses if one.strength > 0]
    x, y, low, high, hover = zip(*points, strict=True)
    where = "as is" if layer is None else f"layer {layer}"
    if not is_main:
        return Curve(where, x, y, width=FAINT, hover=[f"{where}: {one}" for one in hover])
    return Curve(where, x, y, charts.STEERED, mode="lines+markers", low=low, high=high, hover=hover)


def _point(one: "Dose", name: str) -> tuple[float, float, float, float, str]:
    value = _spread(one, name)
    words = f"strength {say_number(one.strength)}: {say_spread(value)} {proxy(name).unit}"
    return one.strength, value.mean, value.low, value.high, words


def say_spread(value: "Interval") -> str:
    """A score with its interval, as a person would say it."""
    return f"{say_number(value.mean)} ({say_number(value.low)} to {say_number(value.high)})"


def _span(tuning: "Tuning", name: str) -> tuple[float, float]:
    """The part of the axis where a choice is made: what lies far beyond the budget would flatten it."""
    if name == "kl":
        return 0.0, BUDGETS_SHOWN * tuning.budget
    if name == "perplexity_ratio":
        return 0.0, MAX_RATIO
    low, high = tuning.slider
    seen = [_spread(one, name) for one in tuning.doses if low <= one.strength <= high] or [
        _spread(one, name) for one in tuning.doses
    ]
    bottom, top = min(0.0, *(one.low for one in seen)), max(0.0, *(one.high for one in seen))
    return HEADROOM * bottom, HEADROOM * top or 1.0


def _spread(one: "Dose", name: str) -> "Interval":
    value = _value(one, name)
    assert value is not None  # asked only of what was measured
    return value


def _value(one: "Dose", name: str) -> Any:
    return getattr(one, name)
