"""A training step of a TopK SAE beside SAELens's, on the same rows; the losses after the same steps stand beside it.

Both: 512 rows, Adam, float32 weights, no dead latents yet, from the same first weights and at the same rate. SAELens
also clips the gradient and ranks by what a latent adds (its default); ours keeps directions of unit length.
Run: python -m benchmarks.bench_sae_train_step
"""

import logging
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.record import interleaved, percentiles, ratios, record
from benchmarks.sae_problem import problem
from sae.autoencoder import Autoencoder
from sae.facts import Facts
from sae.losses import fvu
from sae.sae_recipe import SaeRecipe
from sae.train_step import Training, start, take_step

SHAPES = ((192, 4096, 32), (768, 24576, 32))
ROUNDS, BUDGET_S = 9, 45.0
RATE = 3e-4
_LOG = logging.getLogger(__name__)


@dataclass
class Rows:
    """Batches of one problem, drawn again from its directions for each step."""

    pool: Tensor
    at: int = 0

    def next(self) -> Tensor:
        """The next 512 rows."""
        self.at = (self.at + 512) % len(self.pool)
        return self.pool[self.at : self.at + 512]


def our_training(shape: tuple[int, int, int], pool: Tensor) -> Training:
    """Ours, before its first step."""
    _, d_sae, k = shape
    recipe = SaeRecipe(d_sae=d_sae, k=k, batch_rows=512, total_rows=10**9, learning_rate=RATE, warmup_steps=1, ema=0.0)
    return start(recipe, pool[:4096])


def their_trainer(shape: tuple[int, int, int], ours: Training):
    """SAELens's trainer from our first weights."""
    from sae_lens import LoggingConfig, TopKTrainingSAE, TopKTrainingSAEConfig
    from sae_lens.config import SAETrainerConfig
    from sae_lens.training.sae_trainer import SAETrainer

    d_in, d_sae, k = shape
    sae = TopKTrainingSAE(TopKTrainingSAEConfig(d_in=d_in, d_sae=d_sae, k=k))
    first = {name: weight.detach().clone() for name, weight in ours.weights.items()}
    weights = {
        "W_enc": first["encoder"].t().contiguous(),
        "b_enc": first["b_enc"],
        "W_dec": first["W_dec"],
        "b_dec": first["b_dec"],
    }
    for name, value in weights.items():
        getattr(sae, name).data = value
    config = SAETrainerConfig(
        total_training_samples=10**9,
        train_batch_size_samples=512,
        lr=RATE,
        lr_end=RATE,
        n_batches_for_norm_estimate=1,
        logger=LoggingConfig(log_to_wandb=False),
        device="cpu",
    )
    return SAETrainer(config, sae, iter(()))


def main() -> None:
    """Measure, append the rows, say the medians."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(2)
    for shape in SHAPES:
        given = problem(*shape, rows=512 * 12)
        pool = given.x
        ours = our_training(shape, pool)
        theirs = their_trainer(shape, ours)
        mine, its = Rows(pool), Rows(pool)
        seconds = interleaved(
            {
                "ours": lambda mine=mine, ours=ours: take_step(ours, mine.next()),
                "SAELens": lambda its=its, theirs=theirs: theirs._train_step(theirs.sae, its.next()),
            },
            ROUNDS,
            BUDGET_S,
        )
        with torch.no_grad():
            x = pool[:512]
            w = ours.weights
            facts = Facts("topk", shape[0], shape[1], shape[2])
            ours_now = Autoencoder(
                facts, w["encoder"].detach().t(), w["b_enc"].detach(), w["W_dec"].detach(), w["b_dec"].detach()
            )
            losses = {"ours": fvu(ours_now.reconstruct(x)[0], x), "SAELens": fvu(theirs.sae(x), x)}
        shared = {
            "kernel": "sae_train_step",
            "backend": "cpu",
            "shape": f"512 rows, d_in {shape[0]}, d_sae {shape[1]}, k {shape[2]}",
            "dtype": "float32",
        }
        rows = [
            {**shared, "mode": name, "metric": "time", "unit": "s", **percentiles(times)}
            for name, times in seconds.items()
        ]
        rows.append(
            {
                **shared,
                "mode": "SAELens / ours",
                "metric": "time",
                "unit": "ratio",
                **percentiles(ratios(seconds, "SAELens", "ours")),
            }
        )
        rows += [
            {
                **shared,
                "mode": name,
                "metric": f"FVU after {len(seconds['ours']) + 1} steps",
                "unit": "",
                **percentiles([value]),
            }
            for name, value in losses.items()
        ]
        record(rows)
        for row in rows:
            _LOG.info("%s | %s %s: %.4g %s", row["shape"], row["mode"], row["metric"], row["p50"], row["unit"])


if __name__ == "__main__":
    main()
