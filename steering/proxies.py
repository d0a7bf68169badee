"""What each judge-free score is, in words: its formula, its unit, where it is from. Every one of them is a proxy.

The command line, the steering lab and the README take title, unit and formula from here; `scores` computes them.
"""

import math
from dataclasses import dataclass

KL_BUDGET = 0.1
"""Nats a token; after Arditi et al. 2024 (arXiv 2406.11717), who refuse a direction above it."""
MAX_RATIO = 4.0
"""Perplexity ratio at which nothing is left of fluency."""
MAX_KL = 2 * KL_BUDGET
"""KL at which nothing is left of the third map; at the budget half of it is."""
FULL_CONCEPT = math.log(2)
"""Concept score at which its map is full: each wanted token is twice as likely as before, beside the others."""
FULL_LOSS = math.log(2)
"""Loss of relevance, in nats a token, at which nothing is left of the third map."""
N_GRAM = 4
NOTATION = (
    "P_0 is the model as it is, P_m the model steered at strength m; ll is the mean log-likelihood per token of a text "
    "given its prompt; D+ and D− are the wanted and the other text of a contrast pair."
)


@dataclass(frozen=True)
class Proxy:
    """One score: a proxy for what a reader would say."""

    name: str
    title: str
    unit: str
    formula: str
    source: str

    @property
    def label(self) -> str:
        """The title as it stands beside a number."""
        return f"{self.title} (proxy)"


PROXIES = (
    Proxy(
        "concept",
        "Concept",
        "nats a token",
        "C(m) = [ll_m(D+) − ll_0(D+)] − [ll_m(D−) − ll_0(D−)], mean over the pairs",
        "Pres et al. 2024, arXiv 2410.17245",
    ),
    Proxy(
        "anti_steerable",
        "Moved the wrong way",
        "of the pairs",
        "share of the pairs with C(m) < 0",
        "Tan et al. 2024, arXiv 2407.12404",
    ),
    Proxy(
        "slope",
        "Steerability",
        "nats a token a unit of strength",
        "slope at 0 of C in m: Σ m·C(m) / Σ m² over the two smallest strengths",
        "Tan et al. 2024, arXiv 2407.12404",
    ),
    Proxy(
        "preference",
        "Preference odds",
        "nats",
        "L(D−) − L(D+), L = −Σ log P_m of the text's tokens, mean over the pairs",
        "Why Steering Works, arXiv 2602.02343",
    ),
    Proxy(
        "utility",
        "Utility odds",
        "nats",
        "ln[(e^−L(D+) + e^−L(D−)) / (1 − e^−L(D+) − e^−L(D−))], mean over the pairs",
        "Why Steering Works, arXiv 2602.02343",
    ),
    Proxy(
        "dynamics",
        "Odds over the strength",
        "nats",
        "preference (α m + β) D(m) + b, utility β' D(m) + b', D(m) = (1 + (m − m0)² / Λ)^−p, Λ and p of their own on "
        "either side of m0, fitted to all strengths of a layer by least squares",
        "Why Steering Works, arXiv 2602.02343",
    ),
    Proxy(
        "perplexity_ratio",
        "Perplexity ratio",
        "×",
        "exp(loss of what P_m writes − loss of what P_0 writes), both losses under P_0, nats a token, equal seeds",
        "AxBench's evaluators, arXiv 2501.17148",
    ),
    Proxy(
        "repetition",
        "Repetition",
        "of the 4-grams",
        f"share of {N_GRAM}-grams of a text that were there before; of what P_m writes less that of what P_0 writes",
        "ours: loops have a low perplexity",
    ),
    Proxy(
        "distinct",
        "Distinct-2",
        "of the 2-grams",
        "different 2-grams of a text over its 2-grams, mean over what P_m writes",
        "Li et al. 2016, arXiv 1510.03055",
    ),
    Proxy(
        "fluency",
        "Fluency",
        "of 2",
        f"F = 2 · clip(1 − ln(ratio) / ln {MAX_RATIO:g}, 0, 1) · (1 − excess repetition)",
        "ours, on AxBench's scale",
    ),
    Proxy(
        "kl",
        "Side effect",
        "nats a token",
        "KL(P_0 ‖ P_m) along what P_0 writes after neutral prompts, mean over tokens, then prompts; "
        f"the budget is {KL_BUDGET:g}",
        "Arditi et al. 2024, arXiv 2406.11717",
    ),
    Proxy(
        "kl_last",
        "KL at the last prompt token",
        "nats",
        "KL(P_0 ‖ P_m) of the first token after neutral prompts, mean over the prompts",
        "Arditi et al. 2024, arXiv 2406.11717",
    ),
    Proxy(
        "relevance",
        "Relevance",
        "nats a token",
        "ll_0(prompt given what P_m wrote) − ll_0(prompt), less the same for what P_0 wrote; mean over the prompts",
        "ours: pointwise mutual information under P_0",
    ),
    Proxy(
        "concept_map",
        "Concept, mapped",
        "of 2",
        "2 · clip(C / ln 2, 0, 1)",
        "ours, on AxBench's scale",
    ),
    Proxy(
        "instruct",
        "Side effect, mapped",
        "of 2",
        f"2 · clip(1 − KL / {MAX_KL:g}, 0, 1) · clip(1 + relevance / ln 2, 0, 1)",
        "ours, on AxBench's scale",
    ),
    Proxy(
        "overall",
        "Overall",
        "of 2",
        "harmonic mean of the mapped concept, fluency and the mapped side effect; 0 where one of them is 0",
        "Wu et al. 2025 (AxBench), arXiv 2501.17148",
    ),
    Proxy(
        "knee",
        "Knee",
        "strength",
        f"the strength of the highest overall score among those with a KL of at most {KL_BUDGET:g}, on one half of "
        "the pairs and prompts; without pairs the largest strength within that budget",
        "the half that chooses: Wu et al. 2025 (AxBench), arXiv 2501.17148",
    ),
)


def proxy(name: str) -> Proxy:
    """The score of that name."""
    return next(one for one in PROXIES if one.name == name)
