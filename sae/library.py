"""An SAE from a folder or file of any known layout, and out again; which layout it is shows in the files' names.

Orientation is found by shape, and `proof` says how well the SAE reconstructs activations it should know: a transposed
or wrongly normalised SAE loads like any other and only looks bad.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from capture.errors import UserError
from sae.autoencoder import Autoencoder
from sae.formats import dictionary_learning, gemma_scope, openai, saelens, sparsify
from sae.losses import fvu

FOLDER_FORMATS = (saelens, sparsify, dictionary_learning, gemma_scope)
WRITERS = {saelens.NAME: saelens.write, sparsify.NAME: sparsify.write}


def load_sae(path: Path, d_in: int | None = None, hook_point: str = "") -> Autoencoder:
    """The SAE in a folder, or in an OpenAI .pt file.

    Raises UserError for a layout that is not known, a damaged file, and an SAE that reads another width than `d_in` or
    another hook point than `hook_point`, where those are given.
    """
    try:
        sae = _read(path)
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise UserError(
            f"The SAE in {path.name} cannot be read: {str(error)[:120]}.", "Get its folder again."
        ) from error
    if d_in is not None and sae.facts.d_in != d_in:
        raise UserError(
            f"This SAE reads activations of {sae.facts.d_in:,} numbers, and this model's have {d_in:,}.",
            f"It was made for another model ({sae.facts.provenance.get('model') or 'which one is not said'}).",
        )
    if hook_point and sae.facts.hook_point and sae.facts.hook_point != hook_point:
        raise UserError(
            f"This SAE reads {sae.facts.hook_point}; {hook_point} was asked for.",
            "Ask for the hook point it was trained on.",
        )
    return sae


def _read(path: Path) -> Autoencoder:
    if path.is_file() and path.suffix == ".pt":
        return openai.read(path)
    if not path.is_dir():
        raise UserError(f"There is no folder {path.name}.", "Name the folder of an SAE, or an OpenAI .pt file.")
    names = {one.name for one in path.iterdir() if one.is_file()}
    for layout in FOLDER_FORMATS:
        if layout.is_mine(names):
            return layout.read(path)
    raise UserError(
        f"{path.name} has none of the layouts that are known: it holds {', '.join(sorted(names)[:8]) or 'no file'}.",
        "Known are SAELens, sparsify, dictionary_learning and Gemma Scope folders, and OpenAI's .pt file.",
    )


def save_sae(sae: Autoencoder, folder: Path, layout: str = saelens.NAME) -> None:
    """Write an SAE in another library's layout; raises UserError for what the layout cannot hold."""
    if layout not in WRITERS:
        raise UserError(f"SAEs are not written as {layout!r}.", f"Choose one of: {', '.join(WRITERS)}.")
    WRITERS[layout](sae, folder)


@dataclass(frozen=True)
class Proof:
    """How an SAE does on activations from its hook point."""

    fvu: float
    l0: float
    n_rows: int

    @property
    def is_believable(self) -> bool:
        """Whether it does better than predicting the mean; an SAE that does not was loaded or used wrongly."""
        return self.fvu < 1


@torch.no_grad()
def proof(sae: Autoencoder, x: Float[Tensor, "rows d_in"], target: Float[Tensor, "rows d_out"] | None = None) -> Proof:
    """FVU and L0 of the SAE on these rows; `target` is what a transcoder should predict."""
    guess, codes = sae.reconstruct(x)
    wanted = x if target is None else target
    return Proof(fvu(guess, wanted.float()), float((codes.values > 0).sum(dim=1).float().mean()), len(x))
