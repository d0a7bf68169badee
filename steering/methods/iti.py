"""ITI: the heads that best tell the labels apart are moved along their direction, each by its own spread.

Li et al. 2023 (arXiv 2306.03341): a probe for each head's output on the last token; the K best by held-out accuracy;
x_head += α σ θ̂, with θ̂ the difference of the class means (or the probe's weights) at length 1 and σ the standard
deviation of all activations along it; at the last token of the prompt and at every generated one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from capture.errors import UserError
from capture.hook_point import HookPoint
from capture.option import Option
from capture.session import ModelSession
from steering.contrast_pairs import Contrast
from steering.direction import unit
from steering.fit_rows import RowsAsked, row_options
from steering.fitted import Fitted, Setting
from steering.logistic import fit_logistic
from steering.method import Method, Options, Progress
from steering.methods.add_direction import AddDirection, add_fitted
from steering.row_spool import RowSpool, spooled

N_HEADS = Option("n_heads", "Heads", "How many heads are moved; the paper takes 48 of 1,024.", 4, 1.0, 10_000.0)
DIRECTION = Option(
    "direction",
    "Direction",
    "Difference of the class means (the paper's best), or the probe's weights.",
    "mean_difference",
    choices=("mean_difference", "probe"),
)
HELD_OUT = Option("held_out", "Held out", "Share of the texts on which heads are ranked.", 0.2, 0.05, 0.5)


@dataclass(frozen=True)
class Head:
    """What a head's probe found."""

    at: HookPoint
    head: int
    accuracy: float
    theta: Float[Tensor, "d_head"]
    sigma: float


def spread(projections: Float[Tensor, "rows"]) -> float:
    """Population standard deviation of the projections: σ of the paper."""
    return float(projections.double().std(correction=0))


def read_head(spool: RowSpool, at: HookPoint, head: int, d_head: int, is_held_out: Tensor, options: Options) -> Head:
    """The probe of one head, its accuracy on held-out texts, its direction and its spread."""
    part = slice(head * d_head, (head + 1) * d_head)
    texts = torch.cat(spool.texts)

    def rows_of(held_out: bool) -> Iterator[tuple[Tensor, Int[Tensor, "rows"]]]:
        first = 0
        for rows, labels in spool.batches():
            chosen = is_held_out[texts[first : first + len(rows)]] == held_out
            first += len(rows)
            yield rows[chosen, part], (labels[chosen] == 0).long()

    probe = fit_logistic(lambda: rows_of(False))
    hits = [((probe.log_odds(x) > 0) == (y == 1)).float() for x, y in rows_of(True)]
    theta = probe.w.float()
    if options["direction"] == "mean_difference":
        theta = _mean_difference(spool, part)
    theta = unit(theta)
    projections = torch.cat([rows[:, part] @ theta for rows, _ in spool.batches()])
    return Head(at, head, float(torch.cat(hits).mean()), theta, spread(projections))


def _mean_difference(spool: RowSpool, part: slice) -> Float[Tensor, "d_head"]:
    sums, n = torch.zeros(2, part.stop - part.start).double(), torch.zeros(2).double()
    for rows, labels in spool.batches():
        sums.index_add_(0, labels, rows[:, part].double())
        n += torch.bincount(labels, minlength=2)
    return (sums[0] / n[0] - sums[1] / n[1]).float()


def held_out_texts(contrast: Contrast, share: float) -> Tensor:
    """Which examples are held out: every nth pair, or every nth text of each label, so that none is in both."""
    every = round(1 / share)
    place: dict[str, int] = {}
    flags = []
    for i, one in enumerate(contrast.examples):
        number = place[one.label] = place.get(one.label, -1) + 1
        flags.append((i // 2 if contrast.is_paired else number) % every == every - 1)
    for wanted in (True, False):
        labels = {one.label for one, flag in zip(contrast.examples, flags, strict=True) if flag == wanted}
        if len(labels) < 2:
            raise UserError(
                f"Heads are ranked on every {every}th text of each label; there are too few texts.", "Add texts."
            )
    return torch.tensor(flags)


def fit(
    session: ModelSession, contrast: Contrast, at: Sequence[HookPoint], options: Options, progress: Progress
) -> Fitted:
    """σ θ̂ of the best heads at their place among the heads of each layer, zero elsewhere."""
    is_held_out = held_out_texts(contrast, float(options["held_out"]))
    d_head = session.shape.d_head
    with spooled(session, contrast, at, RowsAsked.of(options), progress) as spools:
        heads = [
            read_head(spool, point, head, d_head, is_held_out, options)
            for point, spool in spools.items()
            for head in range(spool.width // d_head)
        ]
    best = sorted(heads, key=lambda one: (-one.accuracy, one.at, one.head))[: int(options["n_heads"])]
    vectors: dict[HookPoint, Tensor] = {}
    for one in best:
        whole = vectors.setdefault(one.at, torch.zeros(spools[one.at].width))
        whole[one.head * d_head : (one.head + 1) * d_head] = one.sigma * one.theta
    table = [{"at": str(one.at), "head": one.head, "accuracy": one.accuracy, "sigma": one.sigma} for one in best]
    norms = {point: spools[point].mean_norm for point in vectors}
    return Fitted("iti", vectors, norms, {"heads": table, "n_heads_seen": len(heads)})


def apply(fitted: Fitted, setting: Setting) -> tuple[AddDirection, ...]:
    """α σ θ̂ added to the chosen heads; refuses a relative strength, which σ already is."""
    if setting.unit != "absolute":
        raise UserError("ITI's strength counts in each head's own spread.", "Give an absolute strength, such as 15.")
    return add_fitted(fitted, setting)


METHOD = Method(
    slug="iti",
    title="ITI (inference-time intervention on heads)",
    paper="Li et al. 2023, arXiv 2306.03341",
    needs="labels",
    fitted_by="probe of each head; the best heads' mean difference, times the spread along it",
    apply=apply,
    fit=fit,
    options=(*row_options("last"), N_HEADS, DIRECTION, HELD_OUT),
    sites=("z",),
    scope="last_prompt_and_generated",
    is_additive=True,
    chooses_layers=True,
)
