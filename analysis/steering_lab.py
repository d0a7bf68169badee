"""Steering lab: the same prompt written on clean and under multiples of a recipe, from one seed, and what that costs.

1. The recipe is the view's list of changes; each pane has it at a multiple of its strength.
2. Clean and steered rows are written in one batch from one seed: equal noise, so that a pane on which the recipe has no
   effect is the clean one token for token.
3. Each text is scored, at each new token, under its own recipe and under none: KL(clean ‖ steered) of the prediction,
   the token's log-probabilities, the likeliest tokens of both.

Arrays, [pane step] with pane 0 clean and NaN behind a text's end: `kl`, `logprob`, `logprob_clean`; [pane step rank]
`top_logprob`, `top_clean_logprob`; [pane] `multiple`, `mean_kl`, `mean_loglik`, `repeated`. Of a text set they are
means over its texts, and those of single tokens are left out.

Numbers: `tokens` of the prompt and whether each is `special`; `panes` [{title, tokens, special, text, departs, top,
top_clean}] with the likeliest tokens as [step][rank] texts; `texts` of a set [{prompt, panes [{title, text}]}]; `mode`,
`sentence`, `is_text_set`, `n_texts`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from analysis.lens import Lens, Measured, Options, Partial, Progress, Subject
from analysis.option import Option
from analysis.pane_multiples import read_multiples, settle, titles_of
from analysis.quantity import Quantity
from analysis.report import Finding
from analysis.steered_text import SteeredText, departs, scored
from capture.errors import UserError
from capture.generation import GenerationRow, Sampling
from capture.hook_point import HookPoint
from capture.scaling import scaled
from capture.session import ModelSession, ModelShape

MAX_TEXTS = 8
"""Texts of a set that are written on."""
CHAT = "chat"


def measure(subject: Subject, options: Options, progress: Progress) -> Measured:
    """Clean and steered texts, token by token; see the module for the names."""
    progress(0.0, "reading the prompt")
    session, multiples = subject.session, read_multiples(options["panes"])
    prompts = _prompts(subject, str(options["mode"]))
    recipes = ((), *(_recipe(subject, one) for one in multiples))
    rows = [GenerationRow(prompt, recipe) for prompt in prompts for recipe in recipes]
    written = _written(session, rows, options, progress, subject.on_partial)
    panes: list[list[SteeredText]] = []
    progress(0.8, "comparing with the clean model")
    for number, one in enumerate(scored(session, rows, written)):
        progress(0.8 + 0.2 * number / len(rows), "comparing with the clean model")
        if number % len(recipes) == 0:
            panes.append([])
        panes[-1].append(one)
    numbers = {"mode": options["mode"], "is_text_set": subject.is_text_set, "n_texts": len(prompts)}
    shared = {"multiple": np.array([0.0, *multiples]), **_totals(panes)}
    measured = (_of_a_set if subject.is_text_set else _of_a_text)(session, prompts, panes, numbers, shared)
    progress(1.0, "done")
    return measured


def _prompts(subject: Subject, mode: str) -> list[tuple[int, ...]]:
    """Tokens of the texts to write on: those that leave room for a token."""
    session = subject.session
    given = subject.texts[:MAX_TEXTS]
    prompts = [session.chat_prompt(tokens) for tokens in given] if mode == CHAT else list(given)
    fitting = [tokens for tokens in prompts if len(tokens) < session.shape.context]
    if not fitting:
        raise UserError(
            f"The prompt has {len(prompts[0]):,} tokens and {session.name} fits {session.shape.context:,}: there is no "
            "room to write on.",
            "Shorten the prompt.",
        )
    return fitting


def _recipe(subject: Subject, multiple: float) -> tuple[Any, ...]:
    return () if multiple == 0 else scaled(subject.interventions, multiple)


def _written(
    session: ModelSession,
    rows: Sequence[GenerationRow],
    options: Options,
    progress: Progress,
    on_partial: Partial,
) -> tuple[tuple[int, ...], ...]:
    n_tokens = int(options["tokens"])
    sampling = Sampling(
        seed=int(options["seed"]),
        temperature=float(options["temperature"]),
        top_p=float(options["top_p"]),
        top_k=int(options["top_k"]),
        repetition_penalty=float(options["repetition_penalty"]),
    )
    titles = titles_of(read_multiples(options["panes"]))
    shown = {**_prompt(session, rows[0].prompt), "titles": titles}
    so_far: list[list[str]] = [[] for _ in rows]

    def on_step(new: Sequence[int | None]) -> None:
        for place, token in enumerate(new):
            if token is not None:
                so_far[place].append(_new_texts(session, rows[place].prompt[-1:], (token,))[0])
        n_done = max(map(len, so_far))
        on_partial({**shown, "panes": [tuple(texts) for texts in so_far]})
        progress(0.8 * min(1.0, n_done / n_tokens), f"token {n_done} of {n_tokens}")

    return session.generate_rows(rows, n_tokens, sampling, on_step=on_step)


def _new_texts(session: ModelSession, prompt: Sequence[int], new: Sequence[int]) -> list[str]:
    """The texts of new tokens behind a prompt: some tokenizers leave out a space before the first word of all."""
    return list(session.token_texts((*prompt, *new))[len(prompt) :])


def _totals(panes: Sequence[Sequence[SteeredText]]) -> dict[str, np.ndarray]:
    names = ("mean_kl", "mean_loglik", "repeated")
    return {name: np.array([[getattr(one, name) for one in text] for text in panes]).mean(axis=0) for name in names}


def _by_step(texts: Sequence[SteeredText], name: str, n_steps: int) -> np.ndarray:
    """One array of several texts, [pane step ...], NaN behind a text's end."""
    first = getattr(texts[0], name)
    whole = np.full((len(texts), n_steps, *first.shape[1:]), np.nan, np.float32)
    for place, one in enumerate(texts):
        whole[place, : len(one.tokens)] = getattr(one, name)
    return whole


BY_STEP = ("kl", "logprob", "logprob_clean")


def _of_a_text(
    session: ModelSession,
    prompts: Sequence[tuple[int, ...]],
    panes: Sequence[Sequence[SteeredText]],
    numbers: Mapping[str, Any],
    shared: Mapping[str, np.ndarray],
) -> Measured:
    prompt, texts = prompts[0], panes[0]
    n_steps = max(len(one.tokens) for one in texts)
    shown = [
        _pane(session, prompt, one, texts[0]) | {"title": title}
        for one, title in zip(texts, titles_of(shared["multiple"][1:].tolist()), strict=True)
    ]
    names = (*BY_STEP, "top_logprob", "top_clean_logprob")
    arrays = {**shared, **{name: _by_step(texts, name, n_steps) for name in names}}
    findings = tuple(_finding(number, pane, texts[number]) for number, pane in enumerate(shown) if number)
    sentence = " ".join(one.sentence for one in findings)
    said = {**numbers, **_prompt(session, prompt), "panes": shown, "texts": [], "sentence": sentence}
    return Measured(said, arrays, findings)


def _prompt(session: ModelSession, prompt: Sequence[int]) -> dict[str, Any]:
    special = [token in session.special_tokens for token in prompt]
    return {"tokens": list(session.token_texts(prompt)), "special": special}


def _pane(session: ModelSession, prompt: tuple[int, ...], one: SteeredText, clean: SteeredText) -> dict[str, Any]:
    tokens = _new_texts(session, prompt, one.tokens)
    tops = {
        name: [list(session.token_texts((prompt[-1], *row))[1:]) for row in getattr(one, name).tolist()]
        for name in ("top", "top_clean")
    }
    special = [token in session.special_tokens for token in one.tokens]
    departed = departs(clean.tokens, one.tokens)
    return {"tokens": tokens, "special": special, "text": "".join(tokens), "departs": departed, **tops}


def _finding(number: int, pane: Mapping[str, Any], text: SteeredText) -> Finding:
    kl, place = text.mean_kl, {"pane": number}
    if pane["departs"] is None:
        said = f"At {pane['title']} the text is the clean one, and predictions move by {kl:.3g} nats a token."
    else:
        place["step"] = pane["departs"]
        said = (
            f"At {pane['title']} the text departs from the clean one at new token {pane['departs'] + 1}, and "
            f"predictions move by {kl:.3g} nats a token."
        )
    return Finding(said, kl, "nats a token", kl, place)


def _of_a_set(
    session: ModelSession,
    prompts: Sequence[tuple[int, ...]],
    panes: Sequence[Sequence[SteeredText]],
    numbers: Mapping[str, Any],
    shared: Mapping[str, np.ndarray],
) -> Measured:
    """Means over the texts, at each step over those that have come so far."""
    titles = titles_of(shared["multiple"][1:].tolist())
    n_steps = max(len(one.tokens) for texts in panes for one in texts)
    arrays = dict(shared)
    for name in BY_STEP:
        whole = np.stack([_by_step(texts, name, n_steps) for texts in panes])  # [text pane step]
        known = np.isfinite(whole).sum(axis=0)
        arrays[name] = np.where(known, np.nansum(whole, axis=0) / np.maximum(known, 1), np.nan).astype(np.float32)
    texts = [
        {
            "prompt": "".join(session.token_texts(prompt)),
            "panes": [
                {"title": title, "text": "".join(_new_texts(session, prompt, one.tokens))}
                for title, one in zip(titles, row, strict=True)
            ],
        }
        for prompt, row in zip(prompts, panes, strict=True)
    ]
    sentence = f"Means over {len(prompts)} texts, each written on from the same seed."
    shown = [{"title": title} for title in titles]
    said = {**numbers, "tokens": [], "special": [], "panes": shown, "texts": texts, "sentence": sentence}
    return Measured(said, arrays)


def _needs(shape: ModelShape) -> str | None:
    return None


def hook_points(shape: ModelShape, options: Options) -> tuple[HookPoint, ...]:
    """None: the changes act where they say, and nothing else is looked at."""
    return ()


_BY_PANE, _BY_STEP, _BY_RANK = ("pane",), ("pane", "step"), ("pane", "step", "rank")
NATS = "nats"
LENS = Lens(
    slug="steering_lab",
    title="Steering lab",
    question="What does the model write under this recipe, and what does that cost?",
    paper=(
        "KL, likelihood and repetition are proxies for what a reader would say, after Pres et al. 2024, arXiv "
        "2410.17245, and Arditi et al. 2024, arXiv 2406.11717."
    ),
    how_to_read=(
        "Every pane is written from the same prompt and seed; the recipe's strength is multiplied by the number above "
        "it. The heat of a token is how far the recipe moves the prediction that it was drawn from, as KL from the "
        "clean model on this very text; the first token that is not the clean pane's is marked."
    ),
    options=(
        Option(
            "panes", "Panes", "Up to three multiples of the recipe's strength, such as 0.5, 1, 2; one pane each.", "1"
        ),
        Option("tokens", "New tokens", "How many tokens each pane writes at most.", 64, 1.0, 512.0, 1.0),
        Option("seed", "Seed", "Decides the draws; all panes have the same.", 0, 0.0, 999_999.0, 1.0),
        Option("temperature", "Temperature", "0 takes the likeliest token each time.", 0.8, 0.0, 2.0, 0.1),
        Option(
            "top_p", "Top-p", "Draws among the likeliest tokens that reach this probability.", 0.95, 0.01, 1.0, 0.01
        ),
        Option("top_k", "Top-k", "Draws among this many likeliest tokens; 0 among all.", 0, 0.0, 1000.0, 1.0),
        Option(
            "repetition_penalty",
            "Repetition penalty",
            "Lowers the logits of tokens that were there before (Keskar et al. 2019, arXiv 1909.05858); 1 is none.",
            1.0,
            0.5,
            2.0,
            0.05,
        ),
        Option(
            "mode",
            "Mode",
            "Goes on from the prompt as it is, or answers it as a message in the model's chat template.",
            "completion",
            choices=("completion", CHAT),
        ),
    ),
    needs=_needs,
    hook_points=hook_points,
    measure=measure,
    settle=settle,
    is_run_unasked=False,
    quantities=(
        Quantity("multiple", "multiple of the recipe's strength", _BY_PANE),
        Quantity("mean_kl", "mean KL from clean", _BY_PANE, "nats a token"),
        Quantity("mean_loglik", "mean log-likelihood under the clean model", _BY_PANE, "nats a token"),
        Quantity("repeated", "share of repeated 4-grams", _BY_PANE),
        Quantity("kl", "KL from clean", _BY_STEP, NATS),
        Quantity("logprob", "log-probability of the token", _BY_STEP, NATS),
        Quantity("logprob_clean", "log-probability of the token under the clean model", _BY_STEP, NATS),
        Quantity("top_logprob", "log-probability of the likeliest tokens", _BY_RANK, NATS),
        Quantity("top_clean_logprob", "log-probability of the clean model's likeliest tokens", _BY_RANK, NATS),
    ),
)
