"""What the outliers lens gathers, from one text or from a stream of many, before anything is judged."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32, Int

from analysis.attention_sinks import sink_share
from analysis.flatness import channel_norms, rotate
from analysis.lens import Progress, Subject
from analysis.magnitudes import ratio, row_medians, token_smoothness
from analysis.moments import kurtosis_along
from analysis.site_statistics import ENTRIES_OF_A_SET, SiteStatistics, statistics_of_stream, statistics_of_text
from analysis.stat_stream import Keep, StatStream
from analysis.stream_state import State, flatten, stream_set, unflatten
from capture.errors import UserError
from capture.hook_point import HookPoint
from capture.session import ModelShape

N_TOP = 8
MAX_RESIDUAL_TOKENS = 512
INPUT_SITES = ("ln1_out", "ln2_out")
QUANTILE_SHARES = np.array([0.0005, 0.001, 0.002, 0.005, *np.linspace(0.01, 0.99, 99), 0.995, 0.998, 0.999, 0.9995])


@dataclass(frozen=True)
class NeuronPeaks:
    """The largest magnitude of each MLP neuron in one layer, and where it was."""

    value: Float32[np.ndarray, "d_mlp"]
    text: Int[np.ndarray, "d_mlp"]
    pos: Int[np.ndarray, "d_mlp"]


@dataclass(frozen=True)
class View:
    """Statistics by layer, `inputs` being ln1_out and ln2_out of layer 0, then of layer 1, and so on.

    `norms` and `rotated_norms` are the channel norms of `inputs` before and after the rotation. `arrays` are those of
    the Report that depend on whether there is one text or a set.
    """

    residual: list[SiteStatistics]
    inputs: list[SiteStatistics]
    norms: list[Float[np.ndarray, "d"]]
    rotated_norms: list[Float[np.ndarray, "d"]]
    sinks: Float[np.ndarray, "n_layers n_heads"]
    neurons: list[NeuronPeaks]
    arrays: dict[str, np.ndarray]


def has_neurons_with_gate(shape: ModelShape) -> bool:
    """Whether every block has one gated MLP whose neurons can be read."""
    return shape.has_gate and shape.n_experts is None


def points_of(shape: ModelShape) -> tuple[HookPoint, ...]:
    """The hook points that the lens reads."""
    sites = ("resid_post", *INPUT_SITES, "pattern", *(("mlp_post",) if has_neurons_with_gate(shape) else ()))
    return tuple(HookPoint(layer, site) for layer in range(shape.n_layers) for site in sites)


def view_text(subject: Subject, progress: Progress) -> View:
    """The view of a single text, from its captures; medians are exact."""
    shape = subject.session.shape
    rows = {at: _rows(at, tensor) for at, tensor in subject.captures.items() if at.site != "pattern"}
    layers = range(shape.n_layers)
    progress(0.3, "measuring the residual stream")
    residual = np.stack([rows[HookPoint(layer, "resid_post")] for layer in layers])
    statistics = [statistics_of_text(HookPoint(layer, "resid_post"), residual[layer]) for layer in layers]
    progress(0.4, "measuring what attention and MLP read")
    at_inputs = [HookPoint(layer, site) for layer in layers for site in INPUT_SITES]
    patterns = [_rows(at, subject.captures[at]) for at in (HookPoint(layer, "pattern") for layer in layers)]
    return View(
        statistics,
        [statistics_of_text(at, rows[at]) for at in at_inputs],
        [channel_norms(rows[at]) for at in at_inputs],
        [channel_norms(rotate(rows[at])) for at in at_inputs],
        np.stack([sink_share(pattern) for pattern in patterns]),
        [_peaks(rows[HookPoint(layer, "mlp_post")]) for layer in layers] if has_neurons_with_gate(shape) else [],
        _token_arrays(residual),
    )


def _rows(at: HookPoint, tensor: torch.Tensor) -> Float32[np.ndarray, "..."]:
    array = tensor.detach().float().cpu().numpy()
    if not np.isfinite(array).all():
        raise UserError(
            f"Every activation must be a finite number; {at} has infinite ones or NaN.",
            "Choose float32, or a model whose weights are sound.",
        )
    return array


def _peaks(x: Float32[np.ndarray, "pos d_mlp"]) -> NeuronPeaks:
    magnitude = np.abs(x)
    return NeuronPeaks(magnitude.max(axis=0), np.zeros(x.shape[1], np.int64), magnitude.argmax(axis=0))


def _token_arrays(residual: Float32[np.ndarray, "n_layers pos d"]) -> dict[str, np.ndarray]:
    """The arrays of a single text: [n_layers pos], and the residual stream itself where it is not too long."""
    magnitude = np.abs(residual)
    n_layers, n_pos, d = residual.shape
    peak = magnitude.max(axis=-1)
    median = row_medians(magnitude.reshape(-1, d)).reshape(n_layers, n_pos)
    order = np.argsort(-magnitude, axis=-1, kind="stable")[..., :N_TOP]
    square = (residual.astype(np.float64) ** 2).sum(axis=-1)
    total = square.sum(axis=-1, keepdims=True)
    flat = np.sort(residual.reshape(n_layers, -1), axis=-1)
    arrays = {
        "max_over_median": ratio(peak, median),
        "max_abs": peak,
        "max_dim": order[..., 0].astype(np.int32),
        "median_abs": median,
        "smoothness": token_smoothness(residual, peak),
        "kurtosis": kurtosis_along(residual).astype(np.float32),
        "position_norm_share": np.divide(square, total, out=np.zeros_like(square), where=total > 0).astype(np.float32),
        "top_dims": order.astype(np.int32),
        "top_values": np.take_along_axis(residual, order, axis=-1),
        "value_quantiles": np.quantile(flat, QUANTILE_SHARES, axis=-1).T.astype(np.float32),
    }
    if n_pos <= MAX_RESIDUAL_TOKENS:
        arrays["residual"] = residual
    return arrays


class _Gather:
    """Takes in what `ModelSession.stream` passes on."""

    def __init__(self, shape: ModelShape) -> None:
        neurons = Keep(top_k=0, quantiles=False)
        points = [at for at in points_of(shape) if at.site != "pattern"]
        self.streams = {at: StatStream(at, neurons if at.site == "mlp_post" else ENTRIES_OF_A_SET) for at in points}
        self.rotated: dict[HookPoint, np.ndarray] = {}
        self.sinks: dict[HookPoint, np.ndarray] = {}
        self.n_queries = 0

    def update(self, at: HookPoint, values: torch.Tensor, text_index: torch.Tensor, pos: torch.Tensor) -> None:
        if at.site == "pattern":
            later = values[(pos > 0).to(values.device)][:, :, 0].double().sum(dim=0).cpu().numpy()
            self.sinks[at] = self.sinks.get(at, 0.0) + later
            self.n_queries += int((pos > 0).sum()) if at.layer == 0 else 0
            return
        self.streams[at].update(values, text_index, pos)
        if at.site in INPUT_SITES:
            square = (rotate(values.detach().float().cpu().numpy()) ** 2).sum(axis=0)
            self.rotated[at] = self.rotated.get(at, 0.0) + square

    def state(self) -> State:
        """All that was taken in."""
        sums = {f"rotated {at}": one for at, one in self.rotated.items()}
        sums |= {f"sinks {at}": one for at, one in self.sinks.items()}
        seen = {name: one for at, stream in self.streams.items() for name, one in flatten(stream.seen, str(at)).items()}
        return {"n_queries": np.array(self.n_queries), **sums, **seen}

    def go_on_from(self, state: State) -> None:
        """Take in what `state` gave."""
        self.n_queries = int(state["n_queries"])
        for at, stream in self.streams.items():
            stream.seen = unflatten(state, str(at))
        for name, one in state.items():
            kind, _, place = name.partition(" ")
            if kind in ("rotated", "sinks"):
                getattr(self, kind)[HookPoint.parse(place)] = one


def view_set(subject: Subject, progress: Progress, batch_tokens: int = 2048) -> View:
    """The view of a text set, streamed; medians are those of StatStream's bins."""
    shape = subject.session.shape
    gather = _Gather(shape)

    def part(share: float, words: str) -> None:
        progress(0.05 + 0.75 * share, words)

    stream_set(subject, points_of(shape), gather, part, batch_tokens)
    layers = range(shape.n_layers)
    streams = [gather.streams[HookPoint(layer, "resid_post")] for layer in layers]
    residual = [statistics_of_stream(stream) for stream in streams]
    at_inputs = [HookPoint(layer, site) for layer in layers for site in INPUT_SITES]
    inputs = [statistics_of_stream(gather.streams[at]) for at in at_inputs]
    sinks = np.stack([gather.sinks[HookPoint(layer, "pattern")] for layer in layers])
    return View(
        residual,
        inputs,
        [np.sqrt(site.mean_square * site.n_tokens) for site in inputs],
        [np.sqrt(gather.rotated[at]) for at in at_inputs],
        sinks / gather.n_queries if gather.n_queries else np.full_like(sinks, np.nan),
        _neurons(gather.streams, shape),
        _layer_arrays(streams, residual),
    )


def _neurons(streams: Mapping[HookPoint, StatStream], shape: ModelShape) -> list[NeuronPeaks]:
    if not has_neurons_with_gate(shape):
        return []
    seen = [streams[HookPoint(layer, "mlp_post")].seen for layer in range(shape.n_layers)]
    return [NeuronPeaks(one.abs_max, one.abs_max_text, one.abs_max_pos) for one in seen if one is not None]


def _layer_arrays(streams: list[StatStream], residual: list[SiteStatistics]) -> dict[str, np.ndarray]:
    """The arrays of a text set, [n_layers]: medians over tokens, the largest value, and the dimensions of most norm."""
    order = [np.argsort(-site.norm_share, kind="stable")[:N_TOP] for site in residual]

    def over_tokens(quantity: str) -> np.ndarray:
        return np.array([stream.token_quantile(quantity, 0.5) for stream in streams], np.float32)

    quantiles = [[stream.value_quantile(float(share)) for share in QUANTILE_SHARES] for stream in streams]
    return {
        "max_over_median": over_tokens("max_over_median"),
        "max_abs": np.array([site.abs_max.max() for site in residual], np.float32),
        "max_dim": np.array([site.abs_max.argmax() for site in residual], np.int32),
        "median_abs": over_tokens("median_abs"),
        "smoothness": over_tokens("smoothness"),
        "kurtosis": np.array([site.kurtosis for site in residual], np.float32),
        "position_norm_share": np.array([site.first_share for site in residual], np.float32),
        "top_dims": np.stack(order).astype(np.int32),
        "top_values": np.stack([site.mean[dims] for site, dims in zip(residual, order, strict=True)]).astype(
            np.float32
        ),
        "value_quantiles": np.array(quantiles, np.float32),
    }
