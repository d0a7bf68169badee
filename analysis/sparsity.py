"""Sparsity: how many MLP neurons a text needs, at a perplexity budget of p percent, and what rival methods give.

CETT-PPL-p% (Luo et al. 2024, arXiv 2411.02335): the largest CETT target whose thresholds, one a layer, let perplexity
grow by less than p percent. Neurons whose output is shorter than their layer's threshold are set to zero at `mlp_post`,
the tensor that W_out reads; "kept" means not zero there, in a run with all layers masked. Losses are nats per predicted
token. Passes: one dense; those of the search (`analysis.sparsity_search`); one at the answer; one for the frontier.

In a mixture of experts each expert of a block has its own threshold: its CETT is a share of that expert's output, a
mean over the tokens routed to it, and shares are of the neurons of the experts that a token is routed to.

Arrays (a set's `kept_share` is [n_layers]; those of `point` and `target` are of the frontier's texts): `threshold`,
`cett` (in the dense run) [n_layers], of experts empty and `expert_threshold`, `expert_cett` [n_layers n_experts] in
their place, and neurons those of all experts end to end; `activation_ratio`, `nonzero_share` (dense) [n_layers];
`kept_share` [n_layers pos]; `neuron_frequency`, `neuron_text_share`, `neuron_peak_frequency`, `neuron_peak_text`
[n_layers d_mlp]; `text_kept_share` [text n_layers]; `type_token`, `type_count`, `type_kept_share` [token_type],
commonest first, at most 500; `curve_target`, `curve_activation_ratio`, `curve_delta_loss`, `curve_perplexity_ratio`
[target], from dense on; `tried_target`, `tried_delta_loss` [tried], what the search tried; `frontier_method` (index
into `methods`), `frontier_budget` (CETT target, share asked for, or p), `frontier_delta_loss`, `frontier_zero_share`
(of the method's own tensor), `frontier_skipped_share`, `frontier_oracle_share` [point], `frontier_interval` [point 2],
[0 0] for a text.

Numbers: `p`, `is_searched`, `sentence` (the answer, or why nothing was searched), `cett_target`, `cett_beyond` (first
target tried that is over budget), `activation_ratio`, `sparsity` (1 − ratio), `loss_dense`, `loss_sparse`,
`delta_loss`, `delta_interval` ([low, high] or null: 95 % over texts, of a single text over its predicted tokens),
`n_telling` (about how many predictions narrow that interval to the budget on either side, or null), `perplexity_ratio`,
`budget_nats`; `thresholds` [n_layers] (or [n_layers n_experts]), the list that the paper's tools read; `recipes`, the
masks as interventions; `passes` {dense, sparse, rows, frontier_rows}; `tensor`, `activation`, `has_gate`; `n_always`,
`n_never`, `n_specialised`, `n_neurons`; `methods` [{slug, title, weak_set, thresholded, tensor, skips, paper, reason}],
`reason` saying why it has no point; `types` (the words of `type_token`); `n_frontier_texts`; `tokens`, `n_tokens`,
`n_tokens_a_neuron` (at how many tokens a neuron is there, in the mean), `n_experts` (0: dense), `n_texts`,
`n_predicted`, `is_text_set`.
"""

from typing import Any

import numpy as np

from analysis.lens import Lens, Measured, Options, Progress, Subject
from analysis.option import Option
from analysis.sparsity_dense import points_of
from analysis.sparsity_findings import findings_of, ground
from analysis.sparsity_frontier import frontier_of
from analysis.sparsity_methods import methods_for
from analysis.sparsity_quantities import QUANTITIES
from analysis.sparsity_run import Answer, answer_of, dense_of
from capture.mask import ACTIVATIONS
from capture.session import ModelShape

OPTIONS = (
    Option(
        "p",
        "Perplexity budget",
        "By how many percent perplexity may grow when neurons are switched off; the paper uses 1, 5 and 10.",
        1.0,
        minimum=0.1,
        maximum=20.0,
        step=0.1,
        unit="%",
    ),
    Option(
        "teal_greedy",
        "TEAL, greedy",
        "Measure TEAL's block-wise greedy allocation too; it tries every input of every block many times.",
        False,
    ),
)


def measure(subject: Subject, options: Options, progress: Progress) -> Measured:
    """The sparsity of one text or of a text set; see the module for the names."""
    p = float(options["p"])
    dense = dense_of(subject, progress)
    answer = answer_of(subject, dense, p, progress)
    frontier = frontier_of(subject, dense, answer, p, bool(options["teal_greedy"]), progress)
    arrays = {**_layers(answer, dense), **answer.kept.arrays(subject.is_text_set), **frontier.arrays}
    numbers = _numbers(subject, answer, p, arrays)
    numbers |= {
        "methods": list(methods_for(subject.session.shape, bool(options["teal_greedy"]))),
        "n_frontier_texts": frontier.n_texts,
        "passes": {**answer.passes, "frontier_rows": frontier.n_rows},
    }
    findings = findings_of(numbers, arrays, subject.is_text_set)
    progress(1.0, "done")
    return Measured(numbers, arrays, findings)


def _layers(answer: Answer, dense: Any) -> dict[str, np.ndarray]:
    targets = sorted(answer.tried)
    n_experts = dense.session.shape.n_experts
    by_unit = {
        "threshold": np.array(answer.thresholds),
        "cett": np.array([values[edge] for values, edge in zip(dense.cett, answer.edges, strict=True)]),
    }
    by_expert = {f"expert_{name}": one.reshape(-1, n_experts or 1) for name, one in by_unit.items()}
    nothing = dict.fromkeys(by_unit if n_experts else by_expert, np.zeros(0) if n_experts else np.zeros((0, 0)))
    return {
        **(by_expert if n_experts else by_unit),
        **nothing,
        "nonzero_share": dense.nonzero_share(),
        "tried_target": np.array(targets, float),
        "tried_delta_loss": np.array([answer.tried[target] for target in targets], float),
    }


def _numbers(subject: Subject, answer: Answer, p: float, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    shape = subject.session.shape
    frequency = arrays["neuron_frequency"]
    ratio = float(arrays["activation_ratio"].mean())
    types = [int(token) for token in arrays["type_token"]]
    return {
        "p": p,
        **answer.numbers,
        "sentence": answer.why or f"{_sentence(p, ratio, answer.numbers['perplexity_ratio'])} {ground(answer.numbers)}",
        "activation_ratio": ratio,
        "sparsity": 1 - ratio,
        "thresholds": arrays["expert_threshold" if shape.n_experts else "threshold"].tolist(),
        "n_experts": shape.n_experts or 0,
        "n_tokens_a_neuron": float(answer.kept.n_seen.mean()),
        "recipes": [change.recipe() for change in answer.masks],
        "tensor": f"{'expert_post' if shape.n_experts else 'mlp_post'}: what W_out reads",
        "activation": shape.activation,
        "has_gate": shape.has_gate,
        "n_neurons": int(frequency.size),
        "n_always": int((frequency == 1).sum()),
        "n_never": int((frequency == 0).sum()),
        "n_specialised": _n_specialised(arrays) if len(subject.texts) > 1 else 0,
        "types": list(subject.session.token_texts(types)) if types else [],
        "tokens": [] if subject.is_text_set else list(subject.session.token_texts(subject.texts[0])),
        "n_tokens": sum(map(len, subject.texts)),
        "n_texts": len(subject.texts),
        "is_text_set": subject.is_text_set,
    }


def _n_specialised(arrays: dict[str, np.ndarray]) -> int:
    """Neurons kept in at most a tenth of the texts, and there at half of the tokens or more."""
    rare = (arrays["neuron_text_share"] > 0) & (arrays["neuron_text_share"] <= 0.1)
    return int((rare & (arrays["neuron_peak_frequency"] >= 0.5)).sum())


def _sentence(p: float, ratio: float, perplexity_ratio: float) -> str:
    return (
        f"At a budget of {p:g} % perplexity, {1 - ratio:.0%} of the MLP neurons are switched off at a token; "
        f"perplexity is then {perplexity_ratio:.4f} times the dense model's."
    )


def _needs(shape: ModelShape) -> str | None:
    if shape.n_layers == 0:
        return "It has no blocks, and neurons are those of the blocks' MLPs."
    if shape.n_experts and shape.n_open_mixtures < shape.n_layers:
        return (
            f"Only {shape.n_open_mixtures} of its {shape.n_layers} blocks are mixtures whose experts' neurons can be "
            "read; a model of dense blocks and mixtures together is not measured here."
        )
    if shape.n_experts is None and shape.activation not in ACTIVATIONS:
        return (
            f"Its activation function is {shape.activation}, and weak neurons are defined here for "
            f"{', '.join(sorted(ACTIVATIONS))}."
        )
    return None


LENS = Lens(
    slug="sparsity",
    title="Sparsity",
    question="How many of this model's MLP neurons does this text need?",
    paper="Luo et al. 2024, arXiv 2411.02335",
    how_to_read=(
        "Each cell is the share of a layer's neurons that one token keeps when perplexity may grow by p percent; the "
        "others are set to zero in a real run of the whole model. The frontier sets other methods beside it, by the "
        "loss they cost and the weights that a sparse decode would not have to read."
    ),
    options=OPTIONS,
    needs=_needs,
    hook_points=lambda shape, options: points_of(shape),
    measure=measure,
    quantities=QUANTITIES,
)
