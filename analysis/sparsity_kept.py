"""Which neurons a masked model keeps: by layer, by token, by neuron, by text and by token type."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor

from capture.experts import SITES
from capture.hook_point import HookPoint
from capture.session import ModelShape

MAX_TYPES = 500


class KeptNeurons:
    """Takes in the neurons of each text's row; a neuron is kept where it is not zero behind the masks."""

    def __init__(self, shape: ModelShape, texts: Sequence[tuple[int, ...]]) -> None:
        self.texts = texts
        sites = SITES if shape.n_experts else ("mlp_post",)
        self.d_mlp = shape.d_mlp
        self.points = [HookPoint(layer, site) for site in sites for layer in range(shape.n_layers)]
        size = (shape.n_layers, shape.d_mlp * (shape.n_experts or 1))
        self.n_seen = np.zeros(size, np.int64)
        """At how many tokens a neuron is there at all: an expert's only at those that are routed to it."""
        self.n_kept = np.zeros(size, np.int64)
        self.n_texts = np.zeros(size, np.int64)
        self.peak = np.zeros(size)
        self.peak_text = np.zeros(size, np.int64)
        self.text_kept = np.zeros((len(texts), shape.n_layers))
        self.token_kept: Float[np.ndarray, "layer pos"] | None = None
        self._types: dict[int, list[float]] = {}

    def look(self, candidate: int, text: int, seen: Mapping[HookPoint, Tensor]) -> None:
        """Take in one text's neurons [pos d_mlp] by layer, and let go of them."""
        is_kept, is_there = self._neurons(seen)
        self._by_neuron(text, is_kept, is_there)
        by_token = is_kept.sum(axis=2) / is_there.sum(axis=2)
        self.text_kept[text] = by_token.mean(axis=1)
        for token, share in zip(self.texts[text], by_token.mean(axis=0), strict=True):
            known = self._types.setdefault(token, [0, 0.0])
            known[0], known[1] = known[0] + 1, known[1] + float(share)
        if len(self.texts) == 1:
            self.token_kept = by_token

    def _neurons(
        self, seen: Mapping[HookPoint, Tensor]
    ) -> tuple[Bool[np.ndarray, "layer pos neurons"], Bool[np.ndarray, "layer pos neurons"]]:
        """Which neurons are kept, and which are there: all, or those of the experts that the token is routed to."""
        nonzero = {
            site: np.stack([(seen[at] != 0).cpu().numpy() for at in self.points if at.site == site])
            for site in dict.fromkeys(at.site for at in self.points)
        }
        if "expert_post" in nonzero:
            return nonzero["expert_post"], nonzero["routing_weights"].repeat(self.d_mlp, axis=2)
        return nonzero["mlp_post"], np.ones_like(nonzero["mlp_post"])

    def _by_neuron(
        self,
        text: int,
        is_kept: Bool[np.ndarray, "layer pos neurons"],
        is_there: Bool[np.ndarray, "layer pos neurons"],
    ) -> None:
        counts, n_there = is_kept.sum(axis=1), is_there.sum(axis=1)
        share = counts / np.maximum(n_there, 1)
        self.n_kept += counts
        self.n_seen += n_there
        self.n_texts += counts > 0
        # Ties to the first text, whatever the order in which batches take them.
        is_higher = (share > self.peak) | ((share == self.peak) & (text < self.peak_text) & (share > 0))
        self.peak = np.where(is_higher, share, self.peak)
        self.peak_text = np.where(is_higher, text, self.peak_text)

    def arrays(self, is_text_set: bool) -> dict[str, np.ndarray]:
        """The Report's arrays."""
        frequency = self.n_kept / np.maximum(self.n_seen, 1)
        ratio = self.n_kept.sum(axis=1) / np.maximum(self.n_seen.sum(axis=1), 1)
        kept = self.token_kept if self.token_kept is not None and not is_text_set else ratio
        types = self._commonest()
        return {
            "activation_ratio": ratio,
            "kept_share": kept.astype(np.float32),
            "neuron_frequency": frequency.astype(np.float32),
            "neuron_text_share": (self.n_texts / max(len(self.texts), 1)).astype(np.float32),
            "neuron_peak_frequency": self.peak.astype(np.float32),
            "neuron_peak_text": self.peak_text.astype(np.int32),
            "text_kept_share": self.text_kept.astype(np.float32),
            "type_token": np.array(types, np.int32),
            "type_count": np.array([self._types[token][0] for token in types], np.int64),
            "type_kept_share": np.array([self._types[token][1] / self._types[token][0] for token in types], np.float32),
        }

    def _commonest(self) -> list[int]:
        """Token types, the commonest first, ties to the lower number; at most MAX_TYPES."""
        return sorted(self._types, key=lambda token: (-self._types[token][0], token))[:MAX_TYPES]
