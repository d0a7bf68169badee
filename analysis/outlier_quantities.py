"""What each array of the outliers lens holds, in words; of a text set they are medians over tokens, unless said."""

from analysis.quantity import Quantity

_TOKENS, _LAYERS = ("layer", "pos"), ("layer",)
_INPUTS = (("", "MLP input"), ("attn_", "attention input"))
_STATES = (("raw", "as is"), ("rotated", "rotated"))


def _flatness() -> tuple[Quantity, ...]:
    """The flatness of what attention and MLP read, before and after the rotation."""
    found = []
    for prefix, site in _INPUTS:
        for state, words in _STATES:
            found += [
                Quantity(f"{prefix}flatness_{state}", f"flatness of the {site}, {words}", _LAYERS),
                Quantity(f"{prefix}phi_{state}", f"relative flatness of the {site}, {words}", _LAYERS),
                Quantity(
                    f"{prefix}channel_norms_{state}", f"channel norm of the {site}, {words}", ("layer", "channel_rank")
                ),
            ]
    return tuple(found)


QUANTITIES = (
    Quantity("max_over_median", "largest over median magnitude", _TOKENS, "×", is_log=True),
    Quantity("max_abs", "largest magnitude", _TOKENS, is_log=True),
    Quantity("max_dim", "dimension of the largest entry", _TOKENS),
    Quantity("median_abs", "median magnitude", _TOKENS, is_log=True),
    Quantity("smoothness", "largest magnitude over root mean square", _TOKENS, "×"),
    Quantity("kurtosis", "kurtosis", _TOKENS),
    Quantity("position_norm_share", "share of the layer's squared norm", _TOKENS),
    Quantity("top_dims", "dimension, by magnitude", ("layer", "pos", "rank")),
    Quantity("top_values", "value in that dimension", ("layer", "pos", "rank")),
    Quantity("residual", "residual stream after the block", ("layer", "pos", "dim")),
    Quantity("quantile_shares", "share of entries at or below", ("quantile",)),
    Quantity("normal_quantiles", "normal quantile", ("quantile",), "sd"),
    Quantity("value_quantiles", "quantile of the entries", ("layer", "quantile")),
    Quantity("layer_kurtosis", "kurtosis of all entries", _LAYERS),
    Quantity("layer_median", "median magnitude of all entries", _LAYERS),
    Quantity("first_share", "share of squared norm at position 0", _LAYERS),
    Quantity("sink_share", "attention to position 0", ("layer", "head")),
    Quantity("gate_cos", "cosine of gate and up weights", ("layer", "neuron")),
    Quantity("gate_amplification", "largest magnitude over the median neuron's", ("layer", "neuron"), "×", is_log=True),
    *_flatness(),
)
