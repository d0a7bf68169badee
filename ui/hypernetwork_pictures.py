"""The pictures of the Hypernetwork page, from the evaluation and the curve in a hypernetwork's folder."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ui import charts
from ui.curves import Curve, curves
from ui.figures.picture import Picture

PARTS = {"held_in": "held in", "held_out": "held out"}
COLOURS = {"held_in": charts.CLEAN, "held_out": charts.STEERED}
SHAPES = {"held_in": "circle-open", "held_out": "circle"}
VARIANTS = "variants.json"
"""A comparison with networks that read the prompt, or were trained by another loss; a bundled folder has one."""
MAX_BYTES = 20_000_000
COLUMNS = ("what steers", "concepts", "score of 2", "95 %", "concept, nats", "shown", "detection", "above random")
Line = Mapping[str, Any]


def read_evaluation(folder: Path, name: str = "evaluation.json") -> dict[str, Any] | None:
    """The evaluation in a hypernetwork's folder; None where there is none that can be read."""
    path = folder / name
    try:
        if path.stat().st_size > MAX_BYTES:
            return None
        found = json.loads(path.read_text("utf-8"))
        return found if isinstance(found["table"], list) and found["table"] else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def scores(report: Mapping[str, Any]) -> Picture:
    """The score of everything that was compared, with its interval; what is on the curve beside it is left out."""
    on_curve = {str(line["contestant"]) for line in report.get("curve") or []}
    table = [line for line in report["table"] if str(line["contestant"]) not in on_curve]
    names = list(dict.fromkeys(str(line["contestant"]) for line in table))
    traces = [_dots(table, names, part) for part in PARTS]
    ticks = {"tickvals": list(range(len(names))), "ticktext": names, "range": [len(names) - 0.5, -0.5]}
    down = {**ticks, "showgrid": False, "zeroline": False}
    drawn = charts.figure(
        traces, {"title": "score (of 2)", "rangemode": "tozero"}, down, height=72 + 34 * max(3, len(names))
    )
    words = (
        "The harmonic mean of three proxies in 0 to 2: concept, fluency, side effect. The strength was chosen on one "
        "half of the prompts and is reported on the other. Bars: 95 % over concepts. Prompting puts the sentence in "
        "front of the prompt; beginning, what the concept's texts were drawn behind."
    )
    return Picture("hypernetwork-scores", "Beside other ways to steer", words, drawn)


def variants(report: Mapping[str, Any]) -> Picture:
    """The scores of a comparison of variants and losses, with what each of them is."""
    told = [f"{name}: {how}" for name, how in report.get("contestants", {}).items() if how.startswith("hypernetwork")]
    words = f"{'; '.join(told)}. Measured as above."
    return replace(scores(report), name="hypernetwork-variants", title="Beside each other", caption=words)


def _dots(table: Sequence[Line], names: Sequence[str], part: str) -> Any:
    import plotly.graph_objects as go

    lines = [line for line in table if line["part"] == part]
    means = [line["overall"]["mean"] for line in lines]
    shift = -0.14 if part == "held_in" else 0.14
    return go.Scatter(
        x=means,
        y=[names.index(str(line["contestant"])) + shift for line in lines],
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [line["overall"]["high"] - mean for line, mean in zip(lines, means, strict=True)],
            "arrayminus": [mean - line["overall"]["low"] for line, mean in zip(lines, means, strict=True)],
            "thickness": 1.5,
            "width": 0,
        },
        mode="markers",
        cliponaxis=False,
        name=PARTS[part],
        marker={"color": COLOURS[part], "symbol": SHAPES[part], "size": 9},
        text=[f"{line['contestant']}, {PARTS[part]}: {interval_words(line['overall'])}" for line in lines],
        hoverinfo="text",
    )


def over_concepts(report: Mapping[str, Any]) -> Picture | None:
    """The score over the number of learnt concepts, and that of a random vector; None below two numbers."""
    lines = report.get("curve") or []
    if len({line["n_learnt"] for line in lines}) < 2:
        return None
    shown = [_over(lines, part) for part in PARTS]
    random = [line for line in report["table"] if line["contestant"] == "random vector" and line["part"] == "held_out"]
    if random:
        ends = [min(line["n_learnt"] for line in lines), max(line["n_learnt"] for line in lines)]
        found = random[0]["overall"]
        shown.append(
            Curve(
                "random vector, held out",
                ends,
                [found["mean"]] * 2,
                charts.COMPARED,
                "dot",
                low=[found["low"]] * 2,
                high=[found["high"]] * 2,
            )
        )
    drawn = _over_numbers([one for one in shown if len(one.x)], lines, "score (of 2)")
    words = "One hypernetwork for each number of concepts, fewer always among more. Bands: 95 % over concepts."
    return Picture("hypernetwork-concepts", "Against the number of concepts", words, drawn)


def read_gains(folder: Path) -> list[dict[str, Any]]:
    """The gains by number of learnt concepts in a hypernetwork's folder; none where there are none."""
    try:
        rows = json.loads((folder / "gains.json").read_text("utf-8"))["rows"]
        return sorted(rows, key=lambda row: int(row["n_learnt"]))
    except (OSError, ValueError, KeyError, TypeError):
        return []


def gains_over_concepts(rows: Sequence[Mapping[str, Any]]) -> Picture | None:
    """The specific gain on unseen texts over the number of learnt concepts; None below two numbers."""
    if len({row["n_learnt"] for row in rows}) < 2:
        return None
    shown = []
    for part, words in PARTS.items():
        own = [(row["n_learnt"], row[part]["specific"]) for row in rows if part in row]
        hover = [f"{n:,} concepts: {interval_words(found, signed=True)} nats a token" for n, found in own]
        low, mean, high = ([found[name] for _, found in own] for name in ("low", "mean", "high"))
        ns = [n for n, _ in own]
        shown.append(Curve(words, ns, mean, COLOURS[part], mode="lines+markers", low=low, high=high, hover=hover))
    drawn = _over_numbers(shown, rows, "specific gain (nats a token)")
    said = (
        "How much likelier unseen texts become by the vector of their own concept than by another's. One short "
        "training for each number of concepts, fewer always among more. Bands: 95 % over concepts."
    )
    return Picture("hypernetwork-gains", "Against the number of concepts", said, drawn)


def _over_numbers(shown: Sequence[Curve], rows: Sequence[Line], y: str) -> Any:
    """Curves over the number of learnt concepts, each number named on the axis."""
    numbers = sorted({int(row["n_learnt"]) for row in rows})
    drawn = curves(shown, x="concepts learnt", y=y, log_x=True)
    return drawn.update_xaxes(tickvals=numbers, ticktext=[f"{n:,}" for n in numbers])


def _over(lines: Sequence[Line], part: str) -> Curve:
    own = sorted((line for line in lines if line["part"] == part), key=lambda line: line["n_learnt"])
    return Curve(
        PARTS[part],
        [line["n_learnt"] for line in own],
        [line["overall"]["mean"] for line in own],
        COLOURS[part],
        mode="lines+markers",
        low=[line["overall"]["low"] for line in own],
        high=[line["overall"]["high"] for line in own],
        hover=[f"{line['n_learnt']:,} concepts: {interval_words(line['overall'])}" for line in own],
    )


def training(points: Sequence[Mapping[str, float]]) -> Picture | None:
    """How much likelier texts become under their own concept's vector and under another's; None below two points."""
    if len(points) < 2:
        return None
    shown = []
    for part, words in PARTS.items():
        for name, dash, whose in (("gain", "solid", "own"), ("other", "dot", "other")):
            own = [point for point in points if f"{name}_{part}" in point]
            gains = [point[f"{name}_{part}"] for point in own]
            hover = [
                f"step {point['step']:,.0f}: {gain:+.3f} nats a token" for point, gain in zip(own, gains, strict=True)
            ]
            steps = [point["step"] for point in own]
            shown.append(Curve(f"{words}: {whose}", steps, gains, COLOURS[part], dash, hover=hover))
    drawn = curves([one for one in shown if len(one.x)], x="step", y="gain (nats a token)")
    words = (
        "How much likelier texts that no fit saw become at factor 1, under the vector of their own concept and under "
        "that of another one. Only the distance between the two is the concept's."
    )
    return Picture("hypernetwork-training", "Training", words, drawn)


def loss(points: Sequence[Mapping[str, float]]) -> Picture | None:
    """The loss over the steps; None below two points."""
    if len(points) < 2:
        return None
    line = Curve("loss", [point["step"] for point in points], [point["loss"] for point in points], charts.COMPARED)
    words = (
        "Of the steps since the last point. The first ones imitate the teacher's vectors, where the recipe has such."
    )
    return Picture("hypernetwork-loss", "Loss", words, curves([line], x="step", y="loss"))


def rows(report: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The table in words, a row for each contestant and part."""
    return [
        (
            str(line["contestant"]),
            f"{line['n']:,} {PARTS[line['part']]}",
            f"{line['overall']['mean']:.2f}",
            f"{line['overall']['low']:.2f} to {line['overall']['high']:.2f}",
            f"{line['concept']['mean']:+.3f}",
            _share(line.get("shown")),
            "–" if not line.get("detection") else f"{line['detection']['mean']:.2f}",
            interval_words(line["above_random"]["overall"], signed=True),
        )
        for line in report["table"]
    ]


def interval_words(found: Mapping[str, float] | None, signed: bool = False) -> str:
    """A mean and its interval."""
    if not found:
        return "–"
    sign = "+" if signed else ""
    return f"{found['mean']:{sign}.2f} ({found['low']:{sign}.2f} to {found['high']:{sign}.2f})"


def _share(found: Mapping[str, float] | None) -> str:
    return "–" if not found else f"{found['mean']:.0%}"
