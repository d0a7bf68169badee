"""A shelf with an SAE for each model that a test has, so that a lens which needs one finds one."""

import torch

from capture.session import ModelSession
from sae import shelf
from sae.autoencoder import Autoencoder, Facts
from sae.library import save_sae
from tests.saes import normal

D_SAE, K = 64, 4
HOOK = "blocks.1.hook_resid_post"


def random_sae(d_model: int, seed: int = 11, **provenance: object) -> Autoencoder:
    """A TopK SAE with random unit directions for the residual stream after block 1."""
    directions = torch.nn.functional.normalize(normal(D_SAE, d_model, seed=seed), dim=1)
    facts = Facts("topk", d_model, D_SAE, K, HOOK, provenance={"format": "steerscope", **provenance})
    return Autoencoder(facts, directions.t().contiguous(), torch.zeros(D_SAE), directions, torch.zeros(d_model))


def sae_for(session: ModelSession) -> Autoencoder:
    """Such an SAE that says it was trained on a session's model."""
    # Weights of its own: SAEs of one digest are one SAE on the shelf.
    seed = int(session.fingerprint[:6], 16)
    return random_sae(session.shape.d_model, seed, model=session.name, fingerprint=session.fingerprint)


def shelve(sae: Autoencoder, name: str) -> None:
    """Put an SAE on the shelf."""
    save_sae(sae, shelf.trained_folder() / name)


def shelve_for(session: ModelSession) -> str:
    """Put an SAE of a session's model on the shelf once; its digest."""
    if not any(one.fits(session.fingerprint) for one in shelf.shelved()):
        shelve(sae_for(session), f"sae-{session.fingerprint[:8]}")
    return shelf.find_shelved("", session.fingerprint).digest
