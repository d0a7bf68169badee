"""Mean difference: v = mean of the positive − mean of the negative activations, added at every chosen position.

CAA (Rimsky et al. 2023, arXiv 2312.06681) takes the answer's token of each pair, the vector as it comes; DiffMean
(Wu et al. 2025, AxBench, arXiv 2501.17148) every token of the texts but BOS, each token counting the same, at length 1.
"""

from collections.abc import Sequence

from capture.errors import UserError
from capture.hook_point import HookPoint
from capture.option import Option
from capture.session import ModelSession
from steering.contrast_pairs import Contrast
from steering.direction import unit
from steering.fit_rows import RowsAsked, class_sums, row_options
from steering.fitted import Fitted
from steering.method import Method, Options, Progress
from steering.methods.add_direction import add_fitted

LENGTH = Option(
    "vector_length",
    "Length",
    "The difference as it comes (CAA), or brought to length 1 (DiffMean).",
    "as_is",
    choices=("as_is", "unit"),
)


def fit(
    session: ModelSession, contrast: Contrast, at: Sequence[HookPoint], options: Options, progress: Progress
) -> Fitted:
    """The difference of the class means at every hook point; raises UserError where it is zero."""
    sums = class_sums(session, contrast, at, RowsAsked.of(options), progress)
    vectors = {}
    for point, one in sums.items():
        if not one.n[:2].all():
            raise UserError("Each label must have a token that counts; one has none.", "Choose other positions.")
        vector = (one.mean(0) - one.mean(1)).float()
        direction = unit(vector)
        vectors[point] = direction if options["vector_length"] == "unit" else vector
    norms = {point: one.mean_norm for point, one in sums.items()}
    counts = next(iter(sums.values())).n.long().tolist()
    return Fitted("mean_difference", vectors, norms, {"n_rows": dict(zip(contrast.labels, counts, strict=True))})


METHOD = Method(
    slug="mean_difference",
    title="Mean difference (CAA, DiffMean)",
    paper="Rimsky et al. 2023, arXiv 2312.06681; Wu et al. 2025, arXiv 2501.17148",
    needs="labels",
    fitted_by="mean activation of the wanted texts minus that of the others",
    apply=add_fitted,
    fit=fit,
    options=(*row_options("answer"), LENGTH),
    sites=("resid_post", "resid_pre", "attn_out", "mlp_out"),
    scope="last_prompt_and_generated",
    is_additive=True,
)
