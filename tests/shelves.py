"""A shelf with an SAE for each model that a test has, so that a lens which needs one finds one."""

from pathlib import Path

import torch

from capture.session import ModelSession
from sae import shelf
from sae.autoencoder import Autoencoder, Facts
from sae.library import save_sae
from tests.saes import normal

D_SAE, K = 64, 4
HOOK = "blocks.1.hook_resid_post"


def sae_for(session: ModelSession, **provenance: object) -> Autoencoder:
    """A TopK SAE with random unit directions for a tiny session's residual stream after block 1."""
    # Weights of its own: SAEs of one digest are one SAE on the shelf.
    drawn = normal(D_SAE, session.shape.d_model, seed=int(session.fingerprint[:6], 16))
    directions = torch.nn.functional.normalize(drawn, dim=1)
    facts = Facts(
        "topk",
        session.shape.d_model,
        D_SAE,
        K,
        HOOK,
        provenance={"format": "steerscope", "model": session.name, "fingerprint": session.fingerprint, **provenance},
    )
    zeros = torch.zeros(D_SAE)
    return Autoencoder(facts, directions.t().contiguous(), zeros, directions, torch.zeros(session.shape.d_model))


def shelve_for(session: ModelSession) -> str:
    """Put such an SAE on the shelf once; its digest."""
    if not any(one.fits(session.fingerprint) for one in shelf.shelved()):
        folder: Path = shelf.trained_folder() / f"sae-{session.fingerprint[:8]}"
        save_sae(sae_for(session), folder)
    return shelf.find_shelved("", session.fingerprint).digest
