"""Outliers: where the activations of a model are extreme, by every criterion that has a name.

The residual stream is `resid_post`, after each block. What attention and MLP read is `ln1_out` and `ln2_out`: after the
norm's gain, the linear maps' true input. Shares of norm are shares of the sum of squares.

Arrays, [n_layers pos] for a text and [n_layers] for a text set (there a median over tokens, unless said):
`max_over_median`, `median_abs`, `smoothness` (max / RMS); `max_abs`, `max_dim` (of a set: the largest); `kurtosis`
of each token's vector (of a set: of all entries); `position_norm_share` (of a set: of position 0); `top_dims`,
`top_values` [.. 8] by magnitude (of a set: by share of norm, and their means). `residual` [n_layers pos d_model],
one text to 512 tokens only. Either way: `quantile_shares` [q], `normal_quantiles` [q], `value_quantiles` [n_layers
q], `layer_kurtosis`, `layer_median`, `first_share` [n_layers]; `sink_share` [n_layers n_heads], NaN for one token;
`gate_cos`, `gate_amplification` [n_layers d_mlp], [0 0] without a gate; for the MLP input `flatness_raw`,
`flatness_rotated`, `phi_raw`, `phi_rotated` [n_layers] and `channel_norms_raw`, `channel_norms_rotated` [n_layers
d_model] largest first, for the attention input the same names after `attn_`.

Numbers: `criteria` by name {title, name, criterion, paper, found, n_found, nearest, sentence, is_complete};
`ranked_dims` [{dim, norm_share, layer, layer_share, kurtosis, persistence, one_sidedness, positive_share,
channel_ratio, max_abs, mean, median_abs, layer_shares}]; `sinks` [{layer, head, share, sentence}], `n_sinks`,
`even_sink_share`; `massive_tokens` [{text, pos, token, layer, dim, value, max_over_median, sentence}]; `gates`
{applicable, reason, random_std, n_neurons, n_aligned, aligned_share_of_max, worst}; `flatness` {sentence, ..};
`tokens`, `n_tokens`, `n_texts`, `is_text_set`, `what_if`, `what_if_sentence`, `residual_site`, `resolution`.
"""

from typing import Any

from analysis.lens import Lens, Measured, Options, Progress, Subject
from analysis.option import Option
from analysis.outlier_criteria import (
    MAX_ROWS,
    Verdict,
    channel_outliers,
    llm_int8_features,
    massive_activations,
    spikes,
)
from analysis.outlier_findings import findings_of
from analysis.outlier_quantities import QUANTITIES
from analysis.outlier_summary import (
    Tokens,
    flatness_arrays,
    gate_summary,
    layer_arrays,
    loudest_dims,
    massive_tokens,
    ranked_dims,
    sink_rows,
    with_tokens,
)
from analysis.outlier_view import View, points_of, view_set, view_text
from analysis.what_if import Target, try_edit
from capture.hook_point import HookPoint
from capture.session import ModelShape

CRITERIA = ("massive_activation", "llm_int8", "channel_outlier", "spike", "loudest_dims")
TITLES = {
    "massive_activation": "Massive activations",
    "llm_int8": "LLM.int8() outlier features",
    "channel_outlier": "Channel-wise outliers",
    "spike": "Spikes",
}
OPTIONS = (
    Option(
        "criterion",
        "Criterion",
        "Whose entries the what-if changes. loudest dims always finds five: the dimensions whose largest entry stands "
        "highest over its token's median, each where that entry is.",
        "loudest_dims",
        choices=CRITERIA,
    ),
    Option(
        "what_if",
        "What if",
        "Leave the entries that the criterion finds, set them to zero, or set them to their mean.",
        "leave",
        choices=("leave", "zero", "mean"),
    ),
)


def measure(subject: Subject, options: Options, progress: Progress) -> Measured:
    """The outliers of one text or of a text set; see the module for the names."""
    view = view_set(subject, progress) if subject.is_text_set else view_text(subject, progress)
    return report_of(subject, view, options, progress)


def report_of(subject: Subject, view: View, options: Options, progress: Progress) -> Measured:
    """Everything that is judged from a view."""
    progress(0.8, "looking for outliers by each criterion")
    tokens = Tokens(subject)
    verdicts = judge(view, subject.session.shape.n_layers)
    gate_arrays, gates = gate_summary(subject.session, view, tokens)
    flat_arrays, flat = flatness_arrays(view)
    sinks, n_sinks, even = sink_rows(view, subject.texts)
    numbers: dict[str, Any] = {
        "criteria": {name: with_tokens(_as_json(verdict), tokens) for name, verdict in verdicts.items()},
        "ranked_dims": ranked_dims(view),
        "sinks": sinks,
        "n_sinks": n_sinks,
        "even_sink_share": even,
        "massive_tokens": massive_tokens(view, tokens),
        "gates": gates,
        "flatness": flat,
        "tokens": [] if subject.is_text_set else list(tokens.of_text(0)),
        "n_tokens": sum(map(len, subject.texts)),
        "n_texts": len(subject.texts),
        "is_text_set": subject.is_text_set,
        "residual_site": "resid_post",
        "resolution": "medians by StatStream's bins: 1.6 %, of channels 12.5 %" if subject.is_text_set else "exact",
    }
    numbers |= _what_if(subject, view, verdicts, options, progress)
    cosines = list(gate_arrays["gate_cos"])
    findings = findings_of(view, verdicts, numbers, cosines, tokens.at)
    progress(1.0, "done")
    return Measured(numbers, {**view.arrays, **layer_arrays(view), **gate_arrays, **flat_arrays}, findings)


def judge(view: View, n_layers: int) -> dict[str, Verdict]:
    """What each criterion says, by name."""
    everywhere = [*view.residual, *view.inputs]
    verdicts = (
        massive_activations(view.residual),
        llm_int8_features(view.inputs, n_layers),
        channel_outliers(everywhere),
        spikes(everywhere),
    )
    return {verdict.name: verdict for verdict in verdicts}


def _as_json(verdict: Verdict) -> dict[str, Any]:
    return verdict.to_json() | {"title": TITLES[verdict.name]}


def targets_of(criterion: str, view: View, verdicts: dict[str, Verdict]) -> list[Target]:
    """The entries that a criterion finds, as things to change: at most MAX_ROWS of them, the strongest first."""
    rows = loudest_dims(view) if criterion == "loudest_dims" else verdicts[criterion].found
    if criterion in ("massive_activation", "spike"):
        return [
            Target(HookPoint(row["layer"], row["site"]), row["text"], row["pos"], row["dim"]) for row in rows[:MAX_ROWS]
        ]
    if criterion == "llm_int8":
        # The paper removes the whole dimension where attention and MLP read it, in the layers that have it.
        return [
            Target(site.at, 0, None, row["dim"], float(site.mean[row["dim"]]))
            for row in rows
            for site in view.inputs
            if site.at.layer in row["layers"]
        ][:MAX_ROWS]
    means = {site.at: site.mean for site in (*view.residual, *view.inputs)}
    places = [(HookPoint(row["layer"], row["site"]), row["dim"]) for row in rows[:MAX_ROWS]]
    return [Target(at, 0, None, dim, float(means[at][dim])) for at, dim in places]


def _what_if(
    subject: Subject, view: View, verdicts: dict[str, Verdict], options: Options, progress: Progress
) -> dict[str, Any]:
    choice, criterion = str(options["what_if"]), str(options["criterion"])
    if choice == "leave":
        return {"what_if": None, "what_if_sentence": "Nothing is changed: choose zero or mean to see what it does."}
    targets = targets_of(criterion, view, verdicts)
    result = try_edit(subject, choice, criterion, targets, progress)
    if not targets:
        sentence = f"{verdicts[criterion].sentence} There is nothing to change; loudest dims always finds five."
    elif result is None:
        sentence = "A loss needs at least two tokens: give a longer text."
    else:
        kind = "dimension" if all(target.pos is None for target in targets) else "entry"
        plural = {"dimension": "dimensions", "entry": "entries"}[kind]
        n = f"{result['n_entries']:,} {kind if result['n_entries'] == 1 else plural}"
        put = "zero" if choice == "zero" else result["mean_over"]
        change = f"from {result['loss_clean']:.3f} to {result['loss_edited']:.3f} nats a token"
        sentence = f"With {n} ({criterion.replace('_', ' ')}) set to {put}, the loss goes {change}."
    return {"what_if": result, "what_if_sentence": sentence}


def _needs(shape: ModelShape) -> str | None:
    return None if shape.n_layers > 0 else "It has no blocks, and outliers are looked for after each block."


LENS = Lens(
    slug="outliers",
    title="Outliers",
    question="Where are this model's activations extreme, and what hangs on these few numbers?",
    paper="Sun et al. 2024, arXiv 2402.17762; Dettmers et al. 2022, arXiv 2208.07339; "
    "Xiao et al. 2023, arXiv 2309.17453",
    how_to_read=(
        "Each cell is the largest magnitude in a token's residual vector as a multiple of its median, on a log scale: "
        "a Gaussian vector of 256 entries gives about 5. Click a cell for its dimensions; set what a criterion finds "
        "to zero or to its mean to see whether the model needs it."
    ),
    options=OPTIONS,
    needs=_needs,
    hook_points=lambda shape, options: points_of(shape),
    measure=measure,
    quantities=QUANTITIES,
)
