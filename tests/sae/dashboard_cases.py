"""A small SAE on the tiny model, texts for it, and what a dashboard must say of it, worked out densely."""

from dataclasses import dataclass

import numpy as np
import torch

from capture.session import ModelSession
from sae.autoencoder import Autoencoder, Facts
from sae.dashboard import Subject
from tests.saes import normal

D_IN, D_SAE, K, N_TEXTS = 32, 48, 6, 30
HOOK = "blocks.1.hook_resid_post"


def small_sae(**facts: object) -> Autoencoder:
    """A TopK SAE with random weights that reads the tiny model's block 1; latent 7 never fires."""
    b_enc = normal(D_SAE, seed=2) * 0.1
    b_enc[7] = -1e6
    rows = torch.nn.functional.normalize(normal(D_SAE, D_IN, seed=3), dim=1)
    given: dict[str, object] = {"hook_point": HOOK} | facts
    return Autoencoder(
        Facts("topk", D_IN, D_SAE, K, **given), normal(D_IN, D_SAE, seed=1), b_enc, rows, normal(D_IN, seed=4)
    )


def texts(n: int = N_TEXTS) -> tuple[tuple[int, ...], ...]:
    """Texts of unlike length; two of them are the same, and some begin alike."""
    draw = np.random.default_rng(0)
    made = [(0, *draw.integers(2, 60, draw.integers(3, 50)).tolist()) for _ in range(n - 2)]
    return (*made, made[0], (*made[1][:20], 3, 4))


def subject(session: ModelSession, **changes: object) -> Subject:
    """The subject of the tests."""
    given = {"sae_name": "small", "texts_name": "tales"} | changes
    return Subject(session, small_sae(), texts(), **given)


@dataclass(frozen=True)
class Dense:
    """Every latent's value on every token: one [pos d_sae] array for each text, zero before `from_pos`."""

    values: tuple[np.ndarray, ...]

    def of(self, latent: int) -> np.ndarray:
        """All values of one latent above 0."""
        every = np.concatenate([one[:, latent] for one in self.values]).astype(np.float64)
        return every[every > 0]


def dense(session: ModelSession, from_pos: int = 1) -> Dense:
    """The SAE's codes as the formula has them, with everything in memory."""
    sae, found = small_sae(), []
    for text in texts():
        x = session.capture(text, (Subject(session, sae, ()).at,))[Subject(session, sae, ()).at]
        pre = (x - sae.b_dec) @ sae.W_enc + sae.b_enc
        kept = torch.topk(pre.relu(), K, dim=1)
        values = torch.zeros_like(pre).scatter(1, kept.indices, kept.values)
        values[:from_pos] = 0
        found.append(values.numpy())
    return Dense(tuple(found))
