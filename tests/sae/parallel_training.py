"""A short training on rows made in code, alone or under torchrun; writes the weights: parallel_training.py OUT."""

import sys

import torch

from sae import data_parallel
from sae.sae_recipe import SaeRecipe
from sae.train_step import start, take_step

RECIPE = SaeRecipe(d_sae=40, k=3, k_aux=6, batch_rows=64, total_rows=64 * 12, learning_rate=2e-3, dead_after_rows=128)


def rows(n: int, seed: int) -> torch.Tensor:
    """Sums of two of twenty directions."""
    draw = torch.Generator().manual_seed(7)
    directions = torch.randn(20, 12, generator=draw)
    chosen = torch.randint(0, 20, (n, 2), generator=torch.Generator().manual_seed(seed))
    return directions[chosen].sum(dim=1)


def main(out: str) -> None:
    """Train and let the first process write."""
    data_parallel.begin()
    training = start(RECIPE, rows(500, 0))
    for step in range(RECIPE.n_steps):
        take_step(training, data_parallel.own_share(rows(RECIPE.batch_rows, step + 1)))
    if data_parallel.rank() == 0:
        weights = {name: weight.detach() for name, weight in training.weights.items()}
        torch.save({"weights": weights, "counter": training.dead.counter}, out)
    data_parallel.end()


if __name__ == "__main__":
    main(sys.argv[1])
