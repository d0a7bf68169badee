"""What each array of the sparsity lens holds, in words."""

from analysis.quantity import Quantity

_LAYERS, _NEURONS = ("layer",), ("layer", "neuron")
_CURVE, _FRONTIER, _TYPES, _TRIED = ("target",), ("point",), ("token_type",), ("tried",)

QUANTITIES = (
    Quantity("threshold", "threshold on the length of a neuron's output", _LAYERS, is_log=True),
    Quantity("cett", "CETT at the threshold", _LAYERS),
    Quantity("expert_threshold", "threshold on the length of a neuron's output", ("layer", "expert"), is_log=True),
    Quantity("expert_cett", "CETT at the threshold", ("layer", "expert")),
    Quantity("activation_ratio", "share of neurons kept", _LAYERS),
    Quantity("nonzero_share", "share of neurons that are not zero in the dense model", _LAYERS),
    Quantity("kept_share", "share of neurons kept", ("layer", "pos")),
    Quantity("neuron_frequency", "share of tokens at which the neuron is kept", _NEURONS),
    Quantity("neuron_text_share", "share of texts in which the neuron is kept at all", _NEURONS),
    Quantity("neuron_peak_frequency", "share of tokens in the text that keeps the neuron most", _NEURONS),
    Quantity("neuron_peak_text", "text that keeps the neuron most", _NEURONS),
    Quantity("text_kept_share", "share of neurons kept", ("text", "layer")),
    Quantity("type_token", "number of the token", _TYPES),
    Quantity("type_count", "how often the token occurs", _TYPES),
    Quantity("type_kept_share", "share of neurons kept at the token", _TYPES),
    Quantity("curve_target", "CETT target", _CURVE),
    Quantity("curve_activation_ratio", "share of neurons kept", _CURVE),
    Quantity("curve_delta_loss", "loss above the dense model's", _CURVE, "nats a token"),
    Quantity("curve_perplexity_ratio", "perplexity over the dense model's", _CURVE, "×"),
    Quantity("tried_target", "CETT target that the search tried", _TRIED),
    Quantity("tried_delta_loss", "loss above the dense model's", _TRIED, "nats a token"),
    Quantity("frontier_method", "method, by its place in the list of methods", _FRONTIER),
    Quantity("frontier_budget", "what the method was asked for", _FRONTIER),
    Quantity("frontier_delta_loss", "loss above the dense model's", _FRONTIER, "nats a token"),
    Quantity("frontier_interval", "95 % interval of that loss over texts", ("point", "end"), "nats a token"),
    Quantity("frontier_zero_share", "share of zeros in the method's tensor", _FRONTIER),
    Quantity("frontier_skipped_share", "share of FFN weight bytes that need not be read", _FRONTIER),
    Quantity("frontier_oracle_share", "the same if the weak set were known beforehand", _FRONTIER),
)
