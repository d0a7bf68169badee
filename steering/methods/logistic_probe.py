"""The direction of a logistic probe: the weights, at length 1, by which a regression tells the two labels apart.

As AxBench's linear probe (Wu et al. 2025, arXiv 2501.17148): one regression over the tokens.
"""

from collections.abc import Iterator, Sequence

from torch import Tensor

from capture.hook_point import HookPoint
from capture.option import Option
from capture.session import ModelSession
from steering.contrast_pairs import Contrast
from steering.direction import unit
from steering.fit_rows import RowsAsked, row_options
from steering.fitted import Fitted
from steering.logistic import RIDGE, Batches, fit_logistic
from steering.method import Method, Options, Progress
from steering.methods.add_direction import add_fitted
from steering.row_spool import RowSpool, spooled

PENALTY = Option(
    "ridge", "Ridge", "Weight of the squared length of the probe in its loss.", RIDGE, minimum=1e-6, maximum=100.0
)


def wanted_or_not(spool: RowSpool) -> Batches:
    """The rows of a spool with 1 for the first label and 0 for the second."""

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        for rows, labels in spool.batches():
            yield rows, (labels == 0).float()

    return batches


def fit(
    session: ModelSession, contrast: Contrast, at: Sequence[HookPoint], options: Options, progress: Progress
) -> Fitted:
    """The probe's direction at every hook point, and the share of rows that it gets right."""
    vectors, accuracy, norms = {}, {}, {}
    with spooled(session, contrast, at, RowsAsked.of(options), progress) as spools:
        for point, spool in spools.items():
            probe = fit_logistic(wanted_or_not(spool), float(options["ridge"]))
            n_right = sum(int(((probe.log_odds(x) > 0) == (y == 0)).sum()) for x, y in spool.batches())
            vectors[point], accuracy[str(point)] = unit(probe.w.float()), n_right / spool.n_rows
            norms[point] = spool.mean_norm
    return Fitted("logistic_probe", vectors, norms, {"training_accuracy": accuracy})


METHOD = Method(
    slug="logistic_probe",
    title="Logistic probe",
    paper="Wu et al. 2025 (AxBench), arXiv 2501.17148",
    needs="labels",
    fitted_by="weights of a logistic regression that tells the two labels apart, at length 1",
    apply=add_fitted,
    fit=fit,
    options=(*row_options("all"), PENALTY),
    sites=("resid_post", "resid_pre", "attn_out", "mlp_out"),
    scope="skip_special",
    is_additive=True,
)
