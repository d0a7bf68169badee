"""PCA of contrast pairs: the direction along which the texts of a pair differ most, positive texts further along it.

`pair_centred` (CAST, Lee et al. 2024, arXiv 2409.05907; RepE, Zou et al. 2023, arXiv 2310.01405, whose random signs
amount to it): each pair's own mean is subtracted, so that the first component is that of Σ dᵀd over the differences d.
`difference` (repeng's pca_diff): the first component of the differences about their mean.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from capture.errors import UserError
from capture.hook_point import HookPoint
from capture.option import Option
from capture.session import ModelSession
from steering.contrast_pairs import Contrast
from steering.direction import unit
from steering.fit_rows import RowsAsked, row_options
from steering.fitted import Fitted
from steering.method import Method, Options, Progress
from steering.methods.add_direction import add_fitted
from steering.pair_differences import PairDifferences, pair_differences

CENTRING = Option(
    "centring",
    "Centring",
    "Subtract each pair's own mean (CAST, RepE), or the mean of all differences (repeng).",
    "pair_centred",
    choices=("pair_centred", "difference"),
)


def first_component(pairs: PairDifferences, centring: str) -> tuple[Float[Tensor, "d"], float]:
    """The first component at length 1, its sign set by the pairs' mean projection; and its share of the variance."""
    mean = pairs.total / max(1, pairs.n)
    scatter = pairs.moment if centring == "pair_centred" else pairs.moment - pairs.n * torch.outer(mean, mean)
    values, vectors = torch.linalg.eigh(scatter)
    if pairs.n < 2 or not float(values[-1]) > 0:
        raise UserError(
            f"A component needs at least two pairs that differ in their own way; {pairs.n} can be used.",
            "Add pairs, or choose other positions.",
        )
    direction = vectors[:, -1]
    sign = -1.0 if float(direction @ mean) < 0 else 1.0
    return unit((sign * direction).float()), float(values[-1] / values.clamp(min=0).sum())


def fit(
    session: ModelSession, contrast: Contrast, at: Sequence[HookPoint], options: Options, progress: Progress
) -> Fitted:
    """The first component of the pairs' differences at every hook point."""
    found = pair_differences(session, contrast, at, RowsAsked.of(options), progress)
    components = {point: first_component(one, str(options["centring"])) for point, one in found.items()}
    vectors = {point: vector for point, (vector, _) in components.items()}
    norms = {point: one.norm / max(1, one.n) for point, one in found.items()}
    facts = {
        "n_pairs": next(iter(found.values())).n,
        "explained_variance": {str(point): share for point, (_, share) in components.items()},
    }
    return Fitted("contrast_pca", vectors, norms, facts)


METHOD = Method(
    slug="contrast_pca",
    title="PCA of contrast pairs (RepE, repeng)",
    paper="Zou et al. 2023, arXiv 2310.01405; Lee et al. 2024, arXiv 2409.05907",
    needs="pairs",
    fitted_by="first principal component of the pairs' differences, its sign by their mean projection",
    apply=add_fitted,
    fit=fit,
    options=(
        *(option for option in row_options("last") if option.name != "positions"),
        Option(
            "positions",
            "Positions",
            "Which token of each text: the last, the answer's first, or the mean over the text.",
            "last",
            choices=("last", "answer", "mean"),
        ),
        CENTRING,
    ),
    sites=("resid_post", "resid_pre", "attn_out", "mlp_out"),
    is_additive=True,
)
