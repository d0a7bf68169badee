"""SAE quality: how good a sparse autoencoder is on a text or a text set, each figure by its formula.

Arrays: `density` [latent], the share of counted tokens on which each latent fires; of one text also, with NaN where
nothing is counted, `token_fvu` [pos], ‖x − x̂‖² over the mean of ‖x − x̄‖² (its mean is FVU), and `token_delta_ce` [pos],
how many nats more that token costs with x̂ in place of x.

Numbers: `sae` (as in Latents), `fits`, `from_pos`, `rows` [{name, value, low, high, unit, formula, interval_over}],
`labels`, `tasks` [{label, n_texts, k_sparse_latents, probe_latent}], `curve` [{step, fvu, l0, dead_share}] of its
training and `no_curve`, a sentence where there is none; `others` [{name, digest, d_sae, k, l0, fvu,
loss_recovered_zero, low, high}], the SAEs measured beside it, itself first; `scaling`, a grid of runs with its law and
`sentence`, or null; `tokens`, `n_tokens`, `n_counted`, `n_texts`, `is_text_set`, `sentence`.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from analysis.latents import about_sae, points_of
from analysis.lens import Checkpoint, Lens, Measured, Options, Progress, Subject
from analysis.option import Option
from analysis.quantity import Quantity
from analysis.sae_quality_findings import findings_of
from capture.errors import UserError
from capture.hook_point import HookPoint
from capture.session import ModelShape
from sae.card_figures import card_figures
from sae.evaluation import Evaluation, evaluate
from sae.labelled_texts import labelled_sets, read_labelled
from sae.probing import probe_rows
from sae.scaling_grid import grid_digest, law_sentence, shelved_grids
from sae.shelf import SHORT, Shelved, find_shelved, load_shelved, shelved
from sae.training_record import training_curve

NONE, ALL = "none", "all"
LOSS_RECOVERED = "loss_recovered_zero"
QUANTITIES = (
    Quantity("density", "share of tokens it fires on", ("latent",), is_log=True),
    Quantity("token_fvu", "squared error over variance", ("pos",)),
    Quantity("token_delta_ce", "rise of the loss", ("pos",), "nats"),
)
OPTIONS = (
    Option(
        "sae",
        "SAE",
        "Name or digest of a sparse autoencoder on the shelf; none given, the first that was trained on this model.",
        "",
        is_of_model=True,
    ),
    Option(
        "labels",
        "Labels",
        "A labelled set that ships: its sentences are run, and probes say whether the latents know the labels.",
        NONE,
        choices=(NONE, *labelled_sets()),
    ),
    Option(
        "beside",
        "Beside",
        "SAEs of the same model to measure on the same text: their digests with commas, or all.",
        "",
        is_of_model=True,
    ),
    Option(
        "scaling",
        "Scaling grid",
        "Digest of a grid of small runs, or none; nothing given, the newest of this model and hook point.",
        "",
    ),
)


def settle(options: Options, fingerprint: str) -> Options:
    """The options with digests for names: of the SAE, of those beside it, of the grid."""
    one = find_shelved(str(options["sae"]), fingerprint)
    return {
        **options,
        "sae": one.digest,
        "beside": ",".join(_beside(str(options["beside"]), one, fingerprint)),
        "scaling": _grid_of(str(options["scaling"]), one, fingerprint),
    }


def _beside(wanted: str, one: Shelved, fingerprint: str) -> list[str]:
    if wanted.strip() == ALL:
        return [other.digest for other in shelved() if other.fits(fingerprint) and _can_stand_beside(other, one)]
    named = [find_shelved(name.strip()) for name in wanted.split(",") if name.strip()]
    return [other.digest for other in named if other.digest != one.digest]


def _can_stand_beside(other: Shelved, one: Shelved) -> bool:
    return other.digest != one.digest and not other.facts.is_transcoder and bool(other.facts.hook_point)


def _grid_of(wanted: str, one: Shelved, fingerprint: str) -> str:
    if wanted:
        return wanted
    place = (fingerprint, one.facts.hook_point)
    mine = [grid for grid in shelved_grids() if (grid.get("fingerprint"), grid.get("hook_point")) == place]
    return grid_digest(mine[0]) if mine else NONE


def measure(subject: Subject, options: Options, progress: Progress) -> Measured:
    """The quality of one SAE on a text or a text set; see the module for the names."""
    progress(0.1, "loading the SAE")
    one = find_shelved(str(options["sae"]))
    beside = [find_shelved(digest) for digest in str(options["beside"]).split(",") if digest]
    tables: list[Evaluation | None] = []
    for n, other in enumerate((one, *beside)):

        def part(done: float, words: str, n: int = n, name: str = other.name) -> None:
            progress(0.1 + 0.7 * (n + done) / (1 + len(beside)), f"{name}: {words}")

        tables.append(_table(subject, other, part, subject.checkpoint if n == 0 else None))
    rows = [asdict(row) for row in tables[0].rows] if tables[0] else []
    tasks: list[dict[str, Any]] = []
    if options["labels"] != NONE:
        probed, found = probe_rows(
            load_shelved(one.digest),
            subject.session,
            read_labelled(str(options["labels"])),
            HookPoint.parse(one.facts.hook_point),
            card_figures(one).from_pos,
            lambda done, words: progress(0.8 + 0.15 * done, words),
        )
        rows, tasks = rows + [asdict(row) for row in probed], list(found)
    numbers = {
        **_about(subject, one, tables[0]),
        "rows": rows,
        "labels": options["labels"],
        "tasks": tasks,
        "others": [_point(other, table) for other, table in zip((one, *beside), tables, strict=True) if table],
        "scaling": _scaling(str(options["scaling"])),
    }
    arrays = _arrays(subject, one, tables[0])
    progress(1.0, "done")
    return Measured(numbers, arrays, findings_of(numbers, arrays))


def _table(subject: Subject, one: Shelved, progress: Progress, checkpoint: Checkpoint | None) -> Evaluation | None:
    """The table of one SAE; None where no text is long enough."""
    from_pos = card_figures(one).from_pos
    (at, *_) = points_of(subject.session.shape, {"sae": one.digest})
    if max(map(len, subject.texts)) <= from_pos + 1:
        return None
    sae = load_shelved(one.digest)
    return evaluate(sae, subject.session, subject.texts, at, from_pos, progress, subject.interventions, checkpoint)


def _about(subject: Subject, one: Shelved, table: Evaluation | None) -> dict[str, Any]:
    curve, no_curve = training_curve(one)
    numbers = {
        "sae": about_sae(one),
        "fits": one.fits(subject.session.fingerprint),
        "from_pos": card_figures(one).from_pos,
        "curve": curve,
        "no_curve": no_curve,
        "tokens": [] if subject.is_text_set else list(subject.session.token_texts(subject.texts[0])),
        "n_tokens": sum(map(len, subject.texts)),
        "n_counted": table.n_tokens if table else 0,
        "n_texts": table.n_texts if table else 0,
        "is_text_set": subject.is_text_set,
    }
    return {**numbers, "sentence": sentence_of(numbers, table)}


def sentence_of(numbers: Mapping[str, Any], table: Evaluation | None) -> str:
    """What was measured and what it comes to, in words."""
    name = numbers["sae"]["name"]
    if table is None:
        return f"A text must have a token after those that {name} leaves out, and one to predict: give a longer text."
    fvu, clean, spliced, recovered = (table.value(row) for row in ("fvu", "ce_clean", "ce_spliced", LOSS_RECOVERED))
    said = [f"On {table.n_tokens:,} tokens of {_texts(table.n_texts)}{'' if fvu is None else f': FVU {fvu:.3g}'}."]
    said.append(
        f" With its output in place of the activation the loss goes from {clean:.3f} to {spliced:.3f} nats a token"
    )
    said.append("." if recovered is None else f": loss recovered {recovered:.3f} of what zeros cost.")
    if not numbers["fits"]:
        said.append(f" {name} was not trained on this very model.")
    if table.n_texts < 2:
        said.append(" One text has no interval: choose a text set for intervals.")
    return "".join(said)


def _texts(n: int) -> str:
    return "one text" if n == 1 else f"{n:,} texts"


def _arrays(subject: Subject, one: Shelved, table: Evaluation | None) -> dict[str, np.ndarray]:
    density = table.density if table else np.zeros(one.facts.d_sae)
    arrays = {"density": density.astype(np.float32)}
    if subject.is_text_set:
        return arrays
    by_token = {name: np.full(len(subject.texts[0]), np.nan, np.float32) for name in ("token_fvu", "token_delta_ce")}
    if table:
        # The figures are of the last tokens: errors from `from_pos` on, rises of the loss from the token after it.
        for name, found in (("token_fvu", table.token_fvu[0]), ("token_delta_ce", table.token_delta_ce[0])):
            by_token[name][-len(found) :] = found
    return {**arrays, **by_token}


def _point(one: Shelved, table: Evaluation) -> dict[str, Any]:
    row = {row.name: row for row in table.rows}
    recovered = row[LOSS_RECOVERED]
    return {
        "name": one.name,
        "digest": one.digest[:SHORT],
        "d_sae": one.facts.d_sae,
        "k": one.facts.k,
        "l0": row["l0"].value,
        "fvu": row["fvu"].value,
        LOSS_RECOVERED: recovered.value,
        "low": recovered.low,
        "high": recovered.high,
    }


def _scaling(wanted: str) -> dict[str, Any] | None:
    if wanted == NONE:
        return None
    for grid in shelved_grids():
        if grid_digest(grid).startswith(wanted):
            return {
                "points": [{name: one[name] for name in ("n", "k", "fvu")} for one in grid["points"]],
                "law": grid["law"],
                "model": str(grid.get("model", "")),
                "hook_point": str(grid.get("hook_point", "")),
                "sentence": law_sentence(grid),
            }
    raise UserError(
        f"No grid of runs on this machine has the digest {wanted[:SHORT]}.", "Leave the option scaling empty, or none."
    )


def _needs(shape: ModelShape) -> str | None:
    return None if shape.n_layers > 0 else "It has no blocks, and SAEs read what blocks write."


LENS = Lens(
    slug="sae_quality",
    title="SAE quality",
    question="How much of the model survives when this sparse autoencoder stands in for its activations?",
    paper="Gao et al. 2024, arXiv 2406.04093; Karvonen et al. 2025, SAEBench, arXiv 2503.09532",
    how_to_read=(
        "FVU is the share of the activations' variance that the SAE leaves out; loss recovered is how much of the "
        "damage of zeros it avoids, and the raw losses beside it say how large that damage is. An interval is the "
        "middle 95 % over texts drawn again; figures of one sentence say little about an SAE."
    ),
    options=OPTIONS,
    needs=_needs,
    hook_points=points_of,
    measure=measure,
    quantities=QUANTITIES,
    settle=settle,
)
