"""Proving that an SAE was read the right way round: it reconstructs activations of the model that it is for."""

from collections.abc import Sequence

import torch

from capture.errors import UserError
from capture.hook_point import HookPoint
from capture.session import ModelSession
from sae.autoencoder import Autoencoder
from sae.library import Proof, proof


def prove(sae: Autoencoder, session: ModelSession, texts: Sequence[str]) -> Proof:
    """FVU and L0 on texts, without position 0; of a transcoder on what it predicts.

    Raises UserError where the SAE does not say where it reads or writes, or is of another width than the model.
    """
    facts = sae.facts
    if not facts.hook_point:
        raise UserError("The SAE's files do not say where it reads.", "Nothing was proved; ask who made it.")
    at = HookPoint.parse(facts.hook_point)
    out = HookPoint.parse(facts.hook_point_out) if facts.is_transcoder else at
    captures = [session.capture(session.tokens(text, bos=True), (at, out)) for text in texts]
    rows, target = (torch.cat([capture[point][1:].float() for capture in captures]) for point in (at, out))
    if rows.shape[1] != facts.d_in:
        raise UserError(
            f"This SAE reads activations of {facts.d_in:,} numbers, and those of {session.name} at {at} have "
            f"{rows.shape[1]:,}.",
            "Choose the model that it was made for.",
        )
    return proof(sae, rows, target)


def proof_words(found: Proof) -> str:
    """What was found, as a person would say it."""
    said = f"FVU {found.fvu:.3f}, L0 {found.l0:.1f} on {found.n_rows:,} tokens"
    if found.is_believable:
        return f"Proved by reconstruction: {said}."
    return f"Do not believe it: {said} is no better than the mean. Another model, or another normalisation, was meant."
