"""What is compared on concepts: ways to a vector of length 1 or to one for each prompt, the prompt itself, and nothing.

Each fit sees the training part of one concept alone. FLOP are the estimates of `concept_costs`.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from capture.errors import UserError
from capture.hook_point import HookPoint
from capture.session import ModelSession
from sae.autoencoder import Autoencoder
from steering.concept_costs import FORWARD, fit_flops
from steering.concepts import Concept
from steering.direction import unit
from steering.fit_rows import FitText, fit_texts
from steering.fitting import fit_method
from steering.methods import mean_difference, reft_r1
from steering.prompt_vectors import Tokens

VectorOf = Callable[[Concept], Float[Tensor, "d"]]
VectorsOf = Callable[[Concept, Sequence[Tokens]], Float[Tensor, "prompts d"]]
NONE, PROMPTING, BEGINNING = "no steering", "prompting", "beginning"
MEAN_DIFFERENCE, REFT_R1, SAE_LATENT, RANDOM = "mean difference", "ReFT-r1", "SAE latent", "random vector"
STEPS_AS_AXBENCH = 72
"""Steps of ReFT-r1 for a concept: 144 texts in batches of 6, three times."""


@dataclass(frozen=True)
class Contestant:
    """One way to steer to a concept: a vector, a vector for each prompt, words before the prompt, or none of them.

    `flops` estimates what a vector of one concept costs; `n_learnt` is how many concepts a hypernetwork learnt from.
    """

    name: str
    how: str
    vector: VectorOf | None = None
    by_prompt: VectorsOf | None = None
    """Vectors of some prompts, in mean norms; they are added as they come, brought to a mean length of 1."""
    lead: Callable[[Concept], str] | None = None
    flops: Callable[[Concept], float] | None = None
    n_learnt: int | None = None
    is_on_curve: bool = False
    """Whether it shows what the number of learnt concepts does: then it meets held-out concepts alone."""
    seconds_before: float = 0.0
    """What was spent once and is shared by all concepts that were learnt from."""
    flops_before: float = 0.0
    flops_each: float = 0.0
    """What was spent on each concept that was learnt from, however many they are: its teacher."""

    @property
    def has_vectors(self) -> bool:
        """Whether it steers by vectors."""
        return self.vector is not None or self.by_prompt is not None


def baselines(session: ModelSession, at: HookPoint, sae: Autoencoder | None = None) -> tuple[Contestant, ...]:
    """All that needs no hypernetwork, at one hook point; the SAE's latent where there is an SAE of that point."""
    n_params = session.shape.n_params

    def tokens(concept: Concept) -> int:
        return sum(len(one.tokens) for one in _texts(session, concept))

    found = [
        Contestant(NONE, "the model as it is"),
        Contestant(PROMPTING, "the concept's sentence before the prompt", lead=sentence_lead),
        Contestant(
            MEAN_DIFFERENCE,
            "DiffMean over every token of the training texts, at length 1",
            lambda concept: _mean_difference(session, concept, at),
            flops=lambda concept: fit_flops(session, concept, "mean_difference"),
        ),
    ]
    found.append(
        Contestant(
            REFT_R1,
            f"as in the paper, {STEPS_AS_AXBENCH} steps of 6 training texts",
            lambda concept: _reft_r1(session, concept, at),
            flops=lambda concept: fit_flops(session, concept, "reft_r1", n_epochs(concept)),
        )
    )
    if sae is not None:
        found.append(
            Contestant(
                SAE_LATENT,
                "decoder row of the latent that tells the training texts apart best by AUROC",
                lambda concept: best_latent(session, concept, at, sae)[1],
                flops=lambda concept: FORWARD * (n_params + sae.W_enc.numel()) * tokens(concept),
            )
        )
    width = session.weight("W_E", 0).shape[1]
    found.append(Contestant(RANDOM, "a random direction, drawn by the concept's name", lambda one: _random(one, width)))
    words = "the beginning that the concept's texts were drawn behind, before the prompt: what is to be equalled"
    found.append(Contestant(BEGINNING, words, lead=lambda concept: concept.beginning or sentence_lead(concept)))
    return tuple(found)


def sentence_lead(concept: Concept) -> str:
    """The usual sentence of a concept, as a sentence."""
    said = concept.asked[0].strip()
    said = said[:1].upper() + said[1:]
    return said if said[-1:] in ".!?" else f"{said}."


def _texts(session: ModelSession, concept: Concept) -> list[FitText]:
    return fit_texts(session, concept.training.contrast(), True)


def _mean_difference(session: ModelSession, concept: Concept, at: HookPoint) -> Float[Tensor, "d"]:
    options = {"positions": "all", "vector_length": "unit"}
    contrast = concept.training.contrast()
    return fit_method(mean_difference.METHOD, session, contrast, [_layer(at)], options, at.site).vectors[at].float()


def n_epochs(concept: Concept, n_batch: int = 6) -> int:
    """Epochs of ReFT-r1 that make about as many steps as AxBench takes."""
    n_texts = len(concept.training.positives) + len(concept.training.negatives)
    return max(1, round(STEPS_AS_AXBENCH * n_batch / max(1, n_texts)))


def _reft_r1(session: ModelSession, concept: Concept, at: HookPoint) -> Float[Tensor, "d"]:
    options = {"n_epochs": n_epochs(concept)}
    contrast = concept.training.contrast()
    return fit_method(reft_r1.METHOD, session, contrast, [_layer(at)], options, at.site).vectors[at].float()


def _random(concept: Concept, width: int) -> Float[Tensor, "d"]:
    seed = int(hashlib.sha256(concept.name.encode()).hexdigest()[:12], 16)
    return unit(torch.randn(width, generator=torch.Generator().manual_seed(seed)))


def _layer(at: HookPoint) -> int:
    if at.layer is None:
        raise UserError(f"A vector is added in a block; {at} is in none.", "Choose, e.g., blocks.2.hook_resid_post.")
    return at.layer


def best_latent(
    session: ModelSession, concept: Concept, at: HookPoint, sae: Autoencoder
) -> tuple[int, Float[Tensor, "d"], float]:
    """The latent whose largest value in a text tells the training texts apart best, its direction and its AUROC.

    Ties to the lower index.
    """
    texts, n_positives = _texts(session, concept), len(concept.training.positives)
    pooled = torch.zeros(len(texts), sae.facts.d_sae)

    def take(_: HookPoint, values: Tensor, text_index: Tensor, pos: Tensor) -> None:
        # BOS is no token of the text.
        rows, whose = values[pos > 0].float().cpu(), text_index[pos > 0].cpu()
        with torch.no_grad():
            codes = sae.encode(rows)
        places = whose[:, None].expand_as(codes.indices) * sae.facts.d_sae + codes.indices
        pooled.view(-1).scatter_reduce_(0, places.flatten(), codes.values.flatten().float(), "amax")

    session.stream([one.tokens for one in texts], (at,), take)
    areas = aurocs(pooled[:n_positives], pooled[n_positives:])
    latent = int(areas.argmax())
    return latent, unit(sae.W_dec[latent].detach().float()), float(areas[latent])


def aurocs(positive: Float[Tensor, "p k"], negative: Float[Tensor, "n k"]) -> Float[Tensor, "k"]:
    """AUROC of each column; ties count half."""
    total = torch.zeros(positive.shape[1], dtype=torch.float64)
    for row in positive:
        total += (row > negative).double().sum(dim=0) + 0.5 * (row == negative).double().sum(dim=0)
    return total / (len(positive) * len(negative))


def vectors_by_name(vectors: Callable[[str], Float[Tensor, "d"]]) -> VectorOf:
    """A way to a vector from a callable that is given the concept's usual sentence."""
    return lambda concept: unit(vectors(concept.asked[0]).float())


def named(contestants: Sequence[Contestant], names: Sequence[str]) -> tuple[Contestant, ...]:
    """Those of some names, in that order; all without any. Raises UserError for an unknown one."""
    known = {one.name: one for one in contestants}
    for name in names:
        if name not in known:
            raise UserError(f"Nothing that is compared is called {name[:40]!r}.", f"Choose of: {', '.join(known)}.")
    return tuple(known[name] for name in names) if names else tuple(contestants)
