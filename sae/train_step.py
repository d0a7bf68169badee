"""One training step of an SAE, and how it starts; everything that happens to the weights is here.

Order of a step (Gao et al. 2024's code): forward, dead latents are counted, auxiliary loss, backward, unit norms of the
decoder, its gradient's part along each direction taken out, average of the weights before the step, Adam.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from kernels.decoder_norm import normalise_directions, project_gradient
from kernels.selective_encode import batch_topk_encode
from kernels.sparse_decode import sparse_decode
from kernels.topk import TopK
from kernels.topk_encode import topk_encode
from sae.data_parallel import average_gradients, averaged
from sae.dead_latents import DeadLatents
from sae.geometric_median import geometric_median
from sae.losses import fvu, mse_scale, normalised_error
from sae.moving_average import MovingAverage
from sae.sae_recipe import SaeRecipe

N_DIRECTIONS = 256
MULTI_K, MULTI_SHARE = 4, 1 / 8
THRESHOLD_DECAY = 0.999


@dataclass
class Training:
    """An SAE in training. `rows` of `encoder` [d_sae d_in] are the encoder's directions, as the kernels read them."""

    recipe: SaeRecipe
    weights: dict[str, Tensor]
    optimizer: torch.optim.Adam
    dead: DeadLatents
    average: MovingAverage
    mse_scale: float
    threshold: float = 0.0
    """BatchTopK at inference: running mean of the smallest activation that was kept."""
    step: int = 0
    curve: list[dict[str, float]] = field(default_factory=list)


def start(recipe: SaeRecipe, sample: Float[Tensor, "rows d_in"]) -> Training:
    """A training before its first step; `sample` gives b_dec, the loss's scale and the size of the first outputs."""
    recipe.check()
    draw = torch.Generator().manual_seed(recipe.seed)
    d_in, bound = sample.shape[1], sample.shape[1] ** -0.5
    encoder = torch.empty(recipe.d_sae, d_in).uniform_(-bound, bound, generator=draw).to(sample.device)
    W_dec = encoder.clone()
    normalise_directions(W_dec)
    weights = {
        "encoder": encoder,
        "b_enc": torch.zeros(recipe.d_sae, device=sample.device),
        "W_dec": W_dec,
        "b_dec": geometric_median(sample),
    }
    encoder.div_(_output_size(recipe, weights, draw))
    for weight in weights.values():
        weight.requires_grad_()
    betas = (recipe.beta1, recipe.beta2)
    optimizer = torch.optim.Adam(weights.values(), lr=recipe.learning_rate, betas=betas, eps=recipe.epsilon)
    dead = DeadLatents.none_yet(recipe.d_sae, recipe.dead_after_rows, recipe.batch_rows, sample.device)
    return Training(recipe, weights, optimizer, dead, MovingAverage(recipe.ema), mse_scale(sample))


def _output_size(recipe: SaeRecipe, weights: dict[str, Tensor], draw: torch.Generator) -> float:
    """Mean norm of what random unit vectors reconstruct to, so that the first outputs can be made as long as those."""
    unit = torch.randn(N_DIRECTIONS, weights["b_dec"].numel(), generator=draw).to(weights["b_dec"].device)
    unit /= unit.norm(dim=1, keepdim=True)
    codes = _encode(recipe, weights, unit + weights["b_dec"], recipe.k)
    size = float(sparse_decode(*codes, weights["W_dec"], torch.zeros_like(weights["b_dec"])).norm(dim=1).mean())
    return size or 1.0


def take_step(training: Training, x: Float[Tensor, "rows d_in"]) -> dict[str, float]:
    """Make one step on a batch and return its figures: loss, fvu, l0, dead share, aux loss, rate."""
    recipe, weights = training.recipe, training.weights
    x = x.float()
    codes = _encode(recipe, weights, x, recipe.k)
    guess = sparse_decode(*codes, weights["W_dec"], weights["b_dec"])
    training.dead.see(codes.values.detach(), codes.indices)
    main = training.mse_scale * _reconstruction_loss(training, x, codes, guess)
    aux = _auxiliary_loss(training, x - guess.detach(), x)
    loss = main + recipe.aux_coefficient * aux
    if not torch.isfinite(loss):
        raise FloatingPointError(f"The loss of step {training.step} is {float(loss.detach())}.")
    training.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    _apply(training)
    found = {
        "loss": float(loss.detach()),
        "aux_loss": float(aux.detach()),
        "fvu": fvu(guess.detach(), x),
        "l0": float((codes.values > 0).sum(dim=1).float().mean()),
        "dead_share": float(training.dead.is_dead.float().mean()),
    }
    shared = averaged(torch.tensor(list(found.values()), dtype=torch.float64, device=x.device)).tolist()
    figures = {"step": float(training.step), **dict(zip(found, shared, strict=True))}
    _follow_threshold(training, codes.values.detach())
    training.step += 1
    return figures


def _encode(recipe: SaeRecipe, weights: dict[str, Tensor], x: Tensor, k: int) -> TopK:
    W_enc = weights["encoder"].t()
    centred = x - weights["b_dec"]
    if recipe.kind == "topk":
        return topk_encode(centred, W_enc, weights["b_enc"], k, exact=recipe.precision == "float32").codes
    return batch_topk_encode(centred, W_enc, weights["b_enc"], k)


def _reconstruction_loss(training: Training, x: Tensor, codes: TopK, guess: Tensor) -> Tensor:
    """Mean squared error; for nested dictionaries (Bussmann et al. 2025, arXiv 2503.17547) the sum over them; for
    Multi-TopK with an eighth of that at 4 k.
    """
    recipe, weights = training.recipe, training.weights
    losses = [((guess - x) ** 2).mean()]
    for size in recipe.group_sizes[:-1]:
        values = codes.values * (codes.indices < size)
        losses.append(((sparse_decode(values, codes.indices, weights["W_dec"], weights["b_dec"]) - x) ** 2).mean())
    loss = torch.stack(losses).sum()
    if recipe.multi_k:
        wide = _encode(recipe, weights, x, min(MULTI_K * recipe.k, recipe.d_sae))
        loss = loss + MULTI_SHARE * ((sparse_decode(*wide, weights["W_dec"], weights["b_dec"]) - x) ** 2).mean()
    return loss


def _auxiliary_loss(training: Training, error: Tensor, x: Tensor) -> Tensor:
    """How badly the dead latents alone, at most k_aux of them a row, model what the live ones leave; 0 with none dead.

    The code decodes with b_dec and adds b_dec to the target without its gradient, so that b_dec learns from it too.
    """
    dead = training.dead.is_dead.nonzero(as_tuple=True)[0]
    if not len(dead):
        return error.new_zeros(())
    weights = training.weights
    W_enc, W_dec = weights["encoder"][dead].t(), weights["W_dec"][dead]
    k_aux = min(training.recipe.k_aux, len(dead))
    codes = topk_encode(x - weights["b_dec"], W_enc, weights["b_enc"][dead], k_aux).codes
    return normalised_error(sparse_decode(*codes, W_dec, weights["b_dec"]), error + weights["b_dec"].detach())


def _apply(training: Training) -> None:
    recipe, weights = training.recipe, training.weights
    average_gradients(weights.values())
    normalise_directions(weights["W_dec"])
    grad = weights["W_dec"].grad
    assert grad is not None  # every batch decodes through it
    project_gradient(weights["W_dec"], grad)
    if recipe.ema:
        training.average.see({name: weight.detach() for name, weight in weights.items()})
    for group in training.optimizer.param_groups:
        group["lr"] = recipe.rate_at(training.step)
    training.optimizer.step()


def _follow_threshold(training: Training, values: Tensor) -> None:
    if training.recipe.kind == "topk":
        return
    positive = values[values > 0]
    # Every process takes part in the sums, also one on whose rows nothing fired.
    both = [float(positive.min()) if len(positive) else 0.0, float(len(positive) > 0)]
    total, n_firing = averaged(torch.tensor(both, dtype=torch.float64, device=values.device)).tolist()
    if not n_firing:
        return
    lowest, first = total / n_firing, training.threshold == 0
    training.threshold = lowest if first else THRESHOLD_DECAY * training.threshold + (1 - THRESHOLD_DECAY) * lowest


def final_weights(training: Training) -> dict[str, Any]:
    """The weights to save: averaged where the recipe says so, decoder directions of unit length."""
    has_average = bool(training.recipe.ema and training.average.n)
    chosen = training.average.weights() if has_average else training.weights
    weights = {name: weight.detach().cpu().clone() for name, weight in chosen.items()}
    normalise_directions(weights["W_dec"])
    return weights
