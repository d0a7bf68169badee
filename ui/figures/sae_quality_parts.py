"""What the SAE quality page says beside its figures: token strip, tables, sentences."""

from collections.abc import Mapping
from typing import Any

from analysis.report import Report
from ui.figures.latents import about
from ui.figures.part import Sentences, Strip, Table
from ui.numbers import say_number, say_quantity

WORDS = {
    "fvu": "FVU",
    "explained_variance": "explained variance",
    "cosine": "cosine",
    "relative_reconstruction_bias": "relative reconstruction bias",
    "l0": "L0",
    "ce_clean": "CE, clean",
    "ce_spliced": "CE, spliced",
    "delta_ce": "rise of the CE",
    "ce_zero": "CE, zero ablation",
    "ce_mean": "CE, mean ablation",
    "loss_recovered_zero": "loss recovered, of zeros",
    "loss_recovered_mean": "loss recovered, of the mean",
    "kl_spliced": "KL from clean, spliced",
    "kl_recovered_zero": "KL recovered, of zeros",
    "dead_share": "dead here",
    "denser_than_0.01": "denser than 1 %",
    "denser_than_0.1": "denser than 10 %",
    "sparse_probe_1": "probe on 1 latent",
    "sparse_probe_2": "probe on 2 latents",
    "sparse_probe_5": "probe on 5 latents",
    "probe_all_latents": "probe on all latents",
    "probe_activations": "probe on the activation",
    "probe_larger_label": "always the larger label",
    "probe_loss": "probe loss, best latent",
    "probe_loss_held_out": "the same, held out",
    "probe_loss_channels": "probe loss, best channel",
    "probe_loss_shuffled": "probe loss, shuffled labels",
}
UNITS = {"share": "", "accuracy": "", "nats a token": "nats", "latents a token": ""}
"""Units that the name or the formula says."""
COLUMNS = ("figure", "value", "interval", "formula")
TABLE_CAPTION = (
    "Intervals are the middle 95 % over texts drawn again with replacement; one text has none, and shares of latents "
    "are counted over the whole set."
)
BESIDE = ("SAE", "latents", "L0", "FVU", "loss recovered")
RISE = "rise of the loss with the SAE's output in place"


def strip(report: Report, pins: Mapping[str, Any]) -> Strip | None:
    """The tokens, each on the heat of how much more it costs; a text set has none."""
    tokens = tuple(report.numbers["tokens"])
    if not tokens:
        return None
    return Strip(tokens, report.arrays["token_delta_ce"], RISE, "nats", pinned(report, pins), is_diverging=True)


def pinned(report: Report, pins: Mapping[str, Any]) -> int | None:
    """The pinned position, where there is one."""
    pos = pins.get("pos")
    is_there = isinstance(pos, int) and not isinstance(pos, bool) and 0 <= pos < len(report.numbers["tokens"])
    return int(pos) if is_there else None  # type: ignore[arg-type]


def tables(report: Report) -> tuple[Table, ...]:
    """The figures of the SAE, its probes, and the SAEs beside it."""
    made = [Table("Figures", COLUMNS, figure_rows(report, is_probe=False), TABLE_CAPTION)]
    if probes := figure_rows(report, is_probe=True):
        made.append(Table(probe_title(report), COLUMNS, probes, probe_caption(report)))
    if len(report.numbers["others"]) > 1:
        made.append(Table("SAEs beside each other", BESIDE, beside_rows(report)))
    return tuple(made)


def figure_rows(report: Report, is_probe: bool) -> tuple[tuple[str, ...], ...]:
    """The rows of the table in words: those of the probes, or the others."""
    rows = [row for row in report.numbers["rows"] if ("probe" in row["name"]) == is_probe]
    return tuple(
        (
            WORDS.get(row["name"], str(row["name"]).replace("_", " ")),
            "–" if row["value"] is None else say_quantity(row["value"], UNITS.get(row["unit"], row["unit"])),
            interval(row["low"], row["high"]),
            str(row["formula"]),
        )
        for row in rows
    )


def beside_rows(report: Report) -> tuple[tuple[str, ...], ...]:
    """The SAEs that were measured on the same text, in words."""
    return tuple(
        (
            str(one["name"]),
            f"{one['d_sae']:,}",
            _said(one["l0"]),
            _said(one["fvu"]),
            _said(one["loss_recovered_zero"])
            + ("" if one["low"] is None else f" ({interval(one['low'], one['high'])})"),
        )
        for one in report.numbers["others"]
    )


def _said(value: float | None) -> str:
    return "–" if value is None else say_number(value)


def interval(low: float | None, high: float | None) -> str:
    """An interval in words; a dash where there is none."""
    return "–" if low is None or high is None else f"{say_number(low)} to {say_number(high)}"


def probe_title(report: Report) -> str:
    """The heading over the probes."""
    return f"Probes for {report.numbers['labels']}"


def probe_caption(report: Report) -> str:
    """Which latents the probes of each task chose."""
    return " ".join(
        f"{str(task['label']).capitalize()} ({task['n_texts']} sentences): the latents that differ most are "
        f"{', '.join(map(str, task['k_sparse_latents']))}; latent {task['probe_latent']} has the least loss."
        for task in report.numbers["tasks"]
    )


def sentences(report: Report) -> tuple[Sentences, ...]:
    """The SAE and how it does, its training, the scaling law."""
    numbers = report.numbers
    said = [Sentences("The SAE", (about(report), numbers["sentence"]))]
    if numbers["no_curve"]:
        said.append(Sentences("Training", (numbers["no_curve"],)))
    if numbers["scaling"]:
        said.append(Sentences("Scaling law", (numbers["scaling"]["sentence"],)))
    return tuple(said)
