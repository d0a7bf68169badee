"""What the Sparsity page says beside its figures: token strip, tables, sentences, and the files of thresholds."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from analysis.report import Report
from ui.figures.part import Sentences, Strip, Table
from ui.numbers import marked, say_number, say_quantity

MAX_TOKEN_ROWS = 100
RULE = (
    "neuron i of a block is set to zero at a token where |z_i| times the norm of row i of W_out is below the threshold"
)
THRESHOLDS_CAPTION = (
    "One threshold a layer, on the length of a neuron's output. CETT: the share of the MLP's output that the neurons "
    "below it make up together."
)
TOKENS_CAPTION = "Token types by how often they occur, with the mean share of neurons kept at them."
METHODS_CAPTION = "What each method calls weak, what it thresholds, and which tensor then has the zeros."


def budget_words(report: Report) -> str:
    """At which budget, or that nothing was searched."""
    numbers = report.numbers
    return f"at a budget of {numbers['p']:g} %" if numbers["is_searched"] else "with nothing switched off"


def strip(report: Report, pins: Mapping[str, Any]) -> Strip | None:
    """The tokens, each on the mean share of neurons that it keeps; a text set has none."""
    tokens = tuple(report.numbers["tokens"])
    if not tokens:
        return None
    pos = pins.get("pos")
    pinned = pos if isinstance(pos, int) and not isinstance(pos, bool) and 0 <= pos < len(tokens) else None
    return Strip(
        tokens, 100 * report.arrays["kept_share"].mean(axis=0), "neurons kept, mean of all layers", "%", pinned
    )


def tables(report: Report) -> tuple[Table, ...]:
    """Thresholds by layer, token types, and what the methods are."""
    return (thresholds(report), token_types(report), methods(report))


def thresholds(report: Report) -> Table:
    """Each layer's threshold, what it keeps and loses; of experts each one's."""
    arrays = report.arrays
    if report.numbers.get("n_experts"):
        return _expert_thresholds(report)
    rows = zip(*(arrays[name].tolist() for name in ("threshold", "activation_ratio", "cett")), strict=True)
    cells = tuple(
        (layer, say_number(eps), _percent(kept), say_number(lost)) for layer, (eps, kept, lost) in enumerate(rows)
    )
    return Table("Thresholds", ("layer", "threshold", "kept", "CETT"), cells, THRESHOLDS_CAPTION)


def _expert_thresholds(report: Report) -> Table:
    arrays = report.arrays
    threshold, cett = arrays["expert_threshold"], arrays["expert_cett"]
    kept = arrays["neuron_frequency"].reshape(*threshold.shape, -1).mean(axis=2)
    cells = tuple(
        (
            f"{layer}, expert {expert}",
            say_number(threshold[layer, expert]),
            _percent(share),
            say_number(cett[layer, expert]),
        )
        for (layer, expert), share in np.ndenumerate(kept)
    )
    caption = THRESHOLDS_CAPTION.replace("a layer", "an expert").replace("the MLP's", "the expert's")
    return Table("Thresholds", ("layer", "threshold", "kept", "CETT"), cells, caption)


def token_types(report: Report) -> Table:
    """The commonest token types and the share of neurons that they keep."""
    arrays, words = report.arrays, report.numbers["types"]
    rows = zip(words, arrays["type_count"].tolist(), arrays["type_kept_share"].tolist(), strict=True)
    cells = tuple((marked(word, 24), count, _percent(kept)) for word, count, kept in rows)[:MAX_TOKEN_ROWS]
    return Table("Tokens", ("token", "times", "kept"), cells, TOKENS_CAPTION)


def methods(report: Report) -> Table:
    """The methods in words."""
    names = ("title", "weak_set", "thresholded", "tensor", "skips", "paper")
    columns = ("method", "weak", "thresholded", "zeros on", "need not be read", "paper")
    rows = tuple(tuple(one[name] for name in names) for one in report.numbers["methods"])
    return Table("Methods", columns, rows, METHODS_CAPTION)


def _percent(share: float) -> str:
    return say_quantity(100 * share, "%")


def sentences(report: Report) -> tuple[Sentences, ...]:
    """The answer, what it costs, and how many neurons are always, never or rarely needed."""
    return (
        Sentences("In words", (str(report.numbers["sentence"]), *cost(report))),
        Sentences("Neurons", neurons(report)),
    )


def cost(report: Report) -> tuple[str, ...]:
    """The loss at the answer with its interval, and what finding it took."""
    numbers = report.numbers
    if not numbers["is_searched"]:
        return ()
    interval, what = numbers["delta_interval"], "texts" if numbers["n_texts"] > 1 else "predicted tokens"
    low_high = f" (95 % interval over {what} {interval[0]:+.4f} to {interval[1]:+.4f})" if interval else ""
    passes = numbers["passes"]
    return (
        f"The loss goes from {numbers['loss_dense']:.4f} to {numbers['loss_sparse']:.4f} nats a token, "
        f"{numbers['delta_loss']:+.4f}{low_high}; the budget is {numbers['budget_nats']:.4f}.",
        f"Found with {passes['dense']} dense and {passes['sparse']} sparse passes.",
    )


def neurons(report: Report) -> tuple[str, ...]:
    """Always-on, never-on and specialised neurons, as sentences."""
    numbers = report.numbers
    n = f"{numbers['n_neurons']:,}"
    where = "in these texts" if report.spec.text_set else "in this text"
    said = (
        f"{numbers['n_always']:,} of {n} neurons are kept at every token {where}.",
        f"{numbers['n_never']:,} are never kept.",
    )
    if numbers["n_texts"] < 2:
        return said
    special = f"{numbers['n_specialised']:,} are kept in at most a tenth of the texts, and there at half of the tokens."
    return (*said, special)


def thresholds_json(report: Report) -> str:
    """The thresholds with all that is needed to apply them, as JSON."""
    numbers, facts = report.numbers, report.facts
    said = {
        "model": facts.get("model"),
        "fingerprint": facts.get("fingerprint"),
        "dtype": facts.get("dtype"),
        "p_percent": numbers["p"],
        "cett_target": numbers["cett_target"],
        "hook_points": [
            f"blocks.{layer}.mlp.{'experts.' if numbers.get('n_experts') else ''}hook_post"
            for layer in range(len(numbers["thresholds"]))
        ],
        "rule": RULE,
        "thresholds": numbers["thresholds"],
        "activation_ratio": report.arrays["activation_ratio"].tolist(),
    }
    return json.dumps(said, indent=1, ensure_ascii=False) + "\n"


def thresholds_list(report: Report) -> str:
    """One number a layer on one line, as the paper's tools take them: [0.1, 0.2]."""
    return json.dumps(report.numbers["thresholds"]) + "\n"
