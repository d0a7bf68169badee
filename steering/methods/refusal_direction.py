"""The refusal direction, for any behaviour that shows in the first token: chosen over layers and positions.

Arditi et al. 2024 (arXiv 2406.11717):
1. r = mean of the wanted − mean of the other prompts at the input of a block, at one of their last tokens.
2. Behaviour score R = ln(P + ε) − ln(1 − P + ε), with P the probability of the opening tokens after the prompt.
3. Of the candidates with KL(clean ‖ ablated) at most the budget on the other prompts, induced score at least the least
   one when r is added there, and layer < 0.8 n_layers, the one whose ablation leaves the lowest score on the wanted.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from capture.errors import UserError
from capture.hook_point import HookPoint
from capture.intervention import Intervention
from capture.option import Option
from capture.session import ModelSession
from steering.contrast_pairs import Contrast
from steering.direction import as_direction
from steering.fit_rows import BOS, FitText, fit_texts, labels_of
from steering.fitted import Fitted, Setting
from steering.method import Method, Options, Progress
from steering.methods.add_direction import AddDirection, add_fitted
from steering.methods.project_out import ProjectOut

EPSILON = 1e-8
OPENING = Option(
    "opening",
    "Opening words",
    "Words, divided by |, whose first tokens begin the behaviour, such as I| As for a refusal.",
    "I",
)
N_POSITIONS = Option("n_positions", "Last tokens", "How many of the prompts' last tokens are candidates.", 3, 1.0, 32.0)
KL_BUDGET = Option("kl_budget", "KL budget", "Most KL that ablation may cause on other prompts.", 0.1, 0.0, 100.0)
LEAST_INDUCED = Option(
    "least_induced", "Least induced score", "The paper's 0 means a probability of a half.", 0.0, -100.0, 100.0
)
DEPTH = Option("depth", "Depth", "Candidates lie in layers below this share of the model's.", 0.8, 0.01, 1.0)


@dataclass(frozen=True)
class Candidate:
    """One direction and what it does on held-out prompts; `position` counts from the end, −1 is the last token."""

    at: HookPoint
    position: int
    bypass: float
    induced: float
    kl: float


def behaviour_score(probability: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """ln(P + ε) − ln(1 − P + ε), in nats."""
    return torch.log(probability + EPSILON) - torch.log(1 - probability + EPSILON)


def ablations(session: ModelSession, vector: Float[Tensor, "d"]) -> tuple[ProjectOut, ...]:
    """The direction taken out wherever a block reads from or adds to the residual stream."""
    direction = as_direction(vector)
    return tuple(ProjectOut(point, direction) for point in ablation_points(session))


def ablation_points(session: ModelSession) -> tuple[HookPoint, ...]:
    """The hook points at which blocks read from and add to the residual stream."""
    sites = ("resid_pre", "attn_out", "mlp_out")
    points = [HookPoint(layer, site) for layer in range(session.shape.n_layers) for site in sites]
    return tuple(point for point in points if session.has_site(point))


def opening_tokens(session: ModelSession, words: str) -> tuple[int, ...]:
    """The first token of each of the words divided by |."""
    if not words.replace("|", "").strip():
        raise UserError("At least one opening word is needed; none was given.", "Give, for example, I|As.")
    return tuple(dict.fromkeys(session.tokens(word, bos=False)[0] for word in words.split("|") if word))


def _score(
    session: ModelSession, texts: Sequence[FitText], tokens: Sequence[int], changes: Sequence[Intervention]
) -> float:
    """Mean behaviour score over prompts."""
    odds = torch.stack([session.logits(text.tokens, changes)[-1].double().softmax(dim=-1) for text in texts])
    return float(behaviour_score(odds[:, list(tokens)].sum(dim=1).clamp(max=1)).mean())


def _kl(session: ModelSession, texts: Sequence[FitText], changes: Sequence[Intervention]) -> float:
    """Mean KL(clean ‖ changed) of the token after each prompt, in nats."""
    total = 0.0
    for text in texts:
        clean, changed = (session.logits(text.tokens, one)[-1].double().log_softmax(dim=-1) for one in ((), changes))
        total += float((clean.exp() * (clean - changed)).sum())
    return total / len(texts)


def candidate_means(
    session: ModelSession, texts: Sequence[FitText], labels: Tensor, at: Sequence[HookPoint], n_positions: int
) -> dict[tuple[HookPoint, int], Float[Tensor, "d"]]:
    """Differences of float64 class means at each hook point and each of the last positions."""
    lengths = torch.tensor([len(text.tokens) for text in texts])
    sums: dict[HookPoint, Tensor] = {}

    def take(point: HookPoint, values: Tensor, text_index: Tensor, pos: Tensor) -> None:
        text = text_index.cpu()
        from_end = lengths[text] - pos.cpu()  # 1 is the last token
        chosen = from_end <= n_positions
        if point not in sums:
            sums[point] = torch.zeros(2 * n_positions, values.shape[-1], dtype=torch.float64)
        place = labels[text[chosen]] * n_positions + from_end[chosen] - 1
        sums[point].index_add_(0, place, values.cpu()[chosen].double())

    session.stream([text.tokens for text in texts], at, take)
    n = torch.bincount(labels, minlength=2)
    return {
        (point, -1 - back): one[back] / n[0] - one[n_positions + back] / n[1]
        for point, one in sums.items()
        for back in range(n_positions)
    }


def fit(
    session: ModelSession, contrast: Contrast, at: Sequence[HookPoint], options: Options, progress: Progress
) -> Fitted:
    """The chosen candidate's direction, from one half of the prompts, chosen on the other."""
    at = [point for point in at if point.layer is not None and point.layer < float(options["depth"]) * _depth(session)]
    if not at:
        raise UserError("None of the layers lies below the depth that is allowed.", "Name earlier layers.")
    opening, bos = opening_tokens(session, str(options["opening"])), bool(options["bos"])
    n_positions = int(options["n_positions"])
    fitting, choosing = contrast.halves()
    texts, others = fit_texts(session, fitting, bos), fit_texts(session, choosing, bos)
    shortest = min(len(text.tokens) for text in texts)
    if shortest < n_positions:
        raise UserError(
            f"Each prompt must have {n_positions} tokens; one has {shortest}.", "Ask for fewer last tokens."
        )
    means = candidate_means(session, texts, labels_of(fitting), at, n_positions)
    label = labels_of(choosing).tolist()
    wanted, other = ([text for text, one in zip(others, label, strict=True) if one == k] for k in (0, 1))
    found = []
    for n, ((point, position), vector) in enumerate(means.items(), 1):
        progress(n / len(means), f"candidate {n} of {len(means)}")
        ablate = ablations(session, vector.float())
        added = (AddDirection(point, as_direction(vector.float())),)
        bypass, induced = _score(session, wanted, opening, ablate), _score(session, other, opening, added)
        found.append(Candidate(point, position, bypass, induced, _kl(session, other, ablate)))
    best = choose(found, float(options["kl_budget"]), float(options["least_induced"]))
    vector = means[best.at, best.position].float()
    clean = {"wanted": _score(session, wanted, opening, ()), "other": _score(session, other, opening, ())}
    facts = {"chosen": _row(best), "clean_score": clean, "candidates": [_row(one) for one in found]}
    return Fitted("refusal_direction", {best.at: vector}, {best.at: _mean_norm(session, texts, best.at)}, facts)


def _depth(session: ModelSession) -> int:
    return session.shape.n_layers


def _row(one: Candidate) -> dict[str, float | int | str]:
    return {
        "at": str(one.at),
        "position": one.position,
        "bypass": one.bypass,
        "induced": one.induced,
        "kl": one.kl,
    }


def _mean_norm(session: ModelSession, texts: Sequence[FitText], at: HookPoint) -> float:
    norms: list[float] = []
    session.stream(
        [text.tokens for text in texts],
        (at,),
        lambda _, values, __, pos: norms.extend(values[pos > 0].float().norm(dim=1).tolist()),
    )
    return sum(norms) / len(norms)


def choose(candidates: Sequence[Candidate], kl_budget: float, least_induced: float) -> Candidate:
    """The candidate with the lowest bypass score of those within the budgets; raises UserError where none is."""
    allowed = [one for one in candidates if one.kl <= kl_budget and one.induced >= least_induced]
    if not allowed:
        least, most = min(one.kl for one in candidates), max(one.induced for one in candidates)
        raise UserError(
            f"No direction has a KL of at most {kl_budget:g} and an induced score of at least {least_induced:g}; the "
            f"lowest KL is {least:.3g}, the highest induced score {most:.3g}.",
            "Name other opening words, or allow a larger KL or a lower induced score.",
        )
    return min(allowed, key=lambda one: one.bypass)


def apply(fitted: Fitted, setting: Setting) -> tuple[AddDirection, ...]:
    """r added where it was found; `project_out` at every block takes it away."""
    return add_fitted(fitted, setting)


METHOD = Method(
    slug="refusal_direction",
    title="Refusal direction (chosen over layers and positions)",
    paper="Arditi et al. 2024, arXiv 2406.11717",
    needs="labels",
    fitted_by="mean difference at the layer and last token whose ablation stops the behaviour at least cost",
    apply=apply,
    fit=fit,
    options=(OPENING, N_POSITIONS, KL_BUDGET, LEAST_INDUCED, DEPTH, BOS),
    sites=("resid_pre",),
    is_additive=True,
    chooses_layers=True,
)
