"""What one setting of a recipe does, measured: on contrast pairs, and on neutral prompts that both models continue.

1. `material_of` lets the clean model write on from every neutral prompt, with the seed of the prompt's place, and read
   both texts of every pair.
2. `values_of` does the same for many settings at once, as rows of few batches, and compares. What it gives is by pair
   and by prompt, so that a choice can be made on some of them and reported on the others.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from capture.errors import UserError
from capture.generation import GenerationRow, Sampling
from capture.intervention import Intervention
from capture.session import ModelSession
from steering.contrast_pairs import Contrast
from steering.fit_rows import FitText, fit_texts
from steering.method import Progress, silent
from steering.scores import concept, distinct, kl, preference_odds, repeated_share, utility_odds

N_TOKENS = 32
SAMPLING = Sampling(seed=0, temperature=1.0, top_p=1.0)
"""The model's own distribution, so that a perplexity is that of what it says and not of a part of it."""
ROWS_AT_ONCE = 96
Changes = Sequence[Intervention]


@dataclass(frozen=True)
class Written:
    """What a model wrote after each prompt, as the clean model reads it; `loss` and `relevance` in nats a token."""

    loss: tuple[float, ...]
    n_tokens: tuple[int, ...]
    repeated: tuple[float, ...]
    distinct: tuple[float, ...]
    relevance: tuple[float, ...]


@dataclass(frozen=True)
class Values:
    """The scores of one setting, the first three by pair, the others by prompt."""

    concept: tuple[float, ...]
    preference: tuple[float, ...]
    utility: tuple[float, ...]
    kl: tuple[float, ...]
    kl_last: tuple[float, ...]
    written: Written

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> "Values":
        """The values in plain JSON."""
        written = {name: tuple(some) for name, some in given["written"].items()}
        own = {name: tuple(some) for name, some in given.items() if name != "written"}
        return cls(**own, written=Written(**written))


@dataclass(frozen=True)
class Material:
    """What every setting is measured on, with what the clean model makes of it."""

    session: ModelSession
    pairs: tuple[FitText, ...]
    """Wanted and other text of each pair in turn; empty where there are no pairs."""
    prompts: tuple[tuple[int, ...], ...]
    bos: bool
    n_tokens: int
    read: tuple[Float64[Tensor, "_"], ...]
    """Log-probabilities of the tokens of each text of a pair."""
    expected: tuple[float, ...]
    """Mean log-likelihood per token of each prompt by itself."""
    continued: tuple[tuple[int, ...], ...]
    """What the clean model writes after each prompt."""
    clean: tuple[Float[Tensor, "_ d_vocab"], ...]
    """Its log-probabilities before each of those tokens."""
    written: Written


def material_of(
    session: ModelSession,
    contrast: Contrast | None,
    prompts: Sequence[str],
    bos: bool = True,
    n_tokens: int = N_TOKENS,
    progress: Progress = silent,
) -> Material:
    """The pairs and prompts as tokens, run by the clean model; raises UserError where there is no prompt."""
    tokens = tuple(session.tokens(text, bos) for text in prompts)
    _check_prompts(session, prompts, tokens)
    # Asking for its pairs refuses a set of single texts.
    texts = fit_texts(session, contrast, bos) if contrast is not None and contrast.pairs else []
    pairs = tuple(FitText(one.tokens, max(1, one.start)) for one in texts)
    continued = _continuations(session, tokens, [()], n_tokens, progress)
    expected = tuple(float(one.mean()) for one in token_logprobs(session, [FitText(one, 1) for one in tokens]))
    return Material(
        session,
        pairs,
        tokens,
        bos,
        n_tokens,
        tuple(token_logprobs(session, pairs)),
        expected,
        continued,
        tuple(session.row_logprobs([GenerationRow(one) for one in tokens], continued)),
        written_of(session, tokens, expected, continued, bos, n_tokens),
    )


def values_of(material: Material, settings: Sequence[Changes], progress: Progress = silent) -> list[Values]:
    """The scores of several settings of a recipe, each as if it were alone; `progress` raises to cancel."""
    session, prompts, n = material.session, material.prompts, len(material.prompts)
    continued = _continuations(session, prompts, settings, material.n_tokens, progress)
    many = len(settings)
    written = written_of(session, prompts * many, material.expected * many, continued, material.bos, material.n_tokens)
    progress(0.7, "reading neutral prompts")
    rows = [GenerationRow(prompt, tuple(changes)) for changes in settings for prompt in prompts]
    effects = list(_side_effects(material, session.row_logprobs(rows, material.continued * many)))
    progress(0.8, "reading the pairs")
    found = []
    for place, changes in enumerate(settings):
        part = slice(place * n, (place + 1) * n)
        own = Written(**{name: some[part] for name, some in vars(written).items()})
        kls, kls_last = zip(*effects[part], strict=True)
        found.append(Values(*pair_scores(material, changes), kls, kls_last, own))
    return found


def pair_scores(material: Material, changes: Changes) -> tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]:
    """Concept score, preference odds and utility odds of each pair under the changes."""
    if not material.pairs:
        return (), (), ()
    read = token_logprobs(material.session, material.pairs, changes)
    means, means_clean = ([float(one.mean()) for one in some] for some in (read, material.read))
    moved = concept(means[::2], means_clean[::2], means[1::2], means_clean[1::2])
    return tuple(moved), *pair_odds(read)


def pair_odds(read: Sequence[Float64[Tensor, "_"]]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Preference and utility odds of each pair, from the log-probabilities of the tokens of both texts in turn."""
    losses = [-float(one.sum()) for one in read]
    pairs = list(zip(losses[::2], losses[1::2], strict=True))
    return tuple(preference_odds(*pair) for pair in pairs), tuple(utility_odds(*pair) for pair in pairs)


def token_logprobs(
    session: ModelSession, texts: Sequence[FitText], changes: Changes = ()
) -> list[Float64[Tensor, "_"]]:
    """Log-probability of each token of the part of each text that its label speaks of, given what is before it."""
    rows = [GenerationRow(one.tokens[: one.start], tuple(changes)) for one in texts]
    parts = [one.tokens[one.start :] for one in texts]
    odds = session.row_logprobs(rows, parts)
    return [one.gather(1, torch.tensor(part)[:, None])[:, 0].double() for part, one in zip(parts, odds, strict=True)]


def _continuations(
    session: ModelSession,
    prompts: Sequence[tuple[int, ...]],
    settings: Sequence[Changes],
    n_tokens: int,
    progress: Progress,
) -> tuple[tuple[int, ...], ...]:
    """What is written after every prompt under each of the settings, those of one setting after another."""
    rows = [GenerationRow(prompt, tuple(changes), seed) for changes in settings for seed, prompt in enumerate(prompts)]
    return continuations(session, rows, n_tokens, lambda share, words: progress(0.7 * share, words))


def continuations(
    session: ModelSession, rows: Sequence[GenerationRow], n_tokens: int, progress: Progress = silent
) -> tuple[tuple[int, ...], ...]:
    """What is written after the prompt of each row under its changes, from the model's own distribution."""
    found: list[tuple[int, ...]] = []
    for start in range(0, len(rows), ROWS_AT_ONCE):
        some = rows[start : start + ROWS_AT_ONCE]
        step = _Steps(progress, start / len(rows), len(some) / len(rows) / n_tokens)
        found += session.generate_rows(some, n_tokens, SAMPLING, on_step=step, remember=False)
    return tuple(found)


@dataclass
class _Steps:
    """Tells the progress after each step of a batch."""

    progress: Progress
    share: float
    each: float

    def __call__(self, new: tuple[int | None, ...]) -> None:
        self.share += self.each
        self.progress(self.share, f"writing {len(new):,} texts")


def _side_effects(material: Material, changed: Iterator[Float[Tensor, "_ d_vocab"]]) -> Iterator[tuple[float, float]]:
    """KL along each continuation, and that of its first token."""
    for place, after in enumerate(changed):
        before = material.clean[place % len(material.prompts)]
        yield kl(before, after), kl(before[:1], after[:1])


def written_of(
    session: ModelSession,
    prompts: Sequence[tuple[int, ...]],
    expected: Sequence[float],
    continued: Sequence[tuple[int, ...]],
    bos: bool,
    n_tokens: int,
) -> Written:
    """The continuations as the clean model reads them; `expected` are the prompts' own log-likelihoods."""
    texts = [FitText(prompt + new, len(prompt)) for prompt, new in zip(prompts, continued, strict=True)]
    turned = [_turned(prompt, new, bos, n_tokens) for prompt, new in zip(prompts, continued, strict=True)]
    # Without BOS nothing foretells a prompt's first token when it stands alone, so it does not count behind a text.
    n_counted = [len(prompt) - 1 for prompt in prompts]
    after = [float(one[-n:].mean()) for n, one in zip(n_counted, token_logprobs(session, turned), strict=True)]
    return Written(
        tuple(-float(one.mean()) for one in token_logprobs(session, texts)),
        tuple(map(len, continued)),
        tuple(map(repeated_share, continued)),
        tuple(distinct(new, 2) for new in continued),
        tuple(one - before for one, before in zip(after, expected, strict=True)),
    )


def _turned(prompt: tuple[int, ...], new: tuple[int, ...], bos: bool, n_tokens: int) -> FitText:
    """The prompt behind what was written after it; a token that ended the text stands for no word, and is left out."""
    before = prompt[: int(bos)] + (new[:-1] if len(new) < n_tokens else new)
    return FitText(before + prompt[int(bos) :], max(1, len(before)))


def _check_prompts(session: ModelSession, prompts: Sequence[str], tokens: Sequence[tuple[int, ...]]) -> None:
    if not prompts:
        raise UserError("Side effects are measured on neutral prompts; none was given.", "Give a few sentences.")
    for text, one in zip(prompts, tokens, strict=True):
        if not 2 <= len(one) < session.shape.context:
            raise UserError(
                f"A neutral prompt must have 2 to {session.shape.context - 1:,} tokens; {text[:40]!r} has "
                f"{len(one):,}.",
                "Write another sentence.",
            )
