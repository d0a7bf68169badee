"""A grid of small SAEs, trained one after another, and the scaling law through their losses; one JSON file.

The file is written after each run, and each run has checkpoints, so that a stop loses minutes.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from capture.errors import UserError
from capture.home import home_folder
from capture.written_file import make_folder, replace_file
from sae.scaling import Point, check_grid, refit

if TYPE_CHECKING:
    from capture.hook_point import HookPoint
    from capture.session import ModelSession
    from sae.row_choice import RowChoice
    from sae.sae_recipe import SaeRecipe

GRID = "scaling.json"
HELD_OUT_EVERY = 10
MAX_BYTES = 10_000_000
Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class GridRun:
    """What is trained: `recipe` for each pair of a number of latents and a k."""

    session: "ModelSession"
    texts: tuple[tuple[int, ...], ...]
    at: "HookPoint"
    recipe: "SaeRecipe"
    choice: "RowChoice"
    ns: tuple[int, ...]
    ks: tuple[int, ...]
    out: Path

    def described(self) -> dict[str, Any]:
        """What the points of one file share; a file of another grid is refused by it."""
        recipe = {name: value for name, value in asdict(self.recipe).items() if name not in ("d_sae", "k")}
        return {
            "model": self.session.name,
            "fingerprint": self.session.fingerprint,
            "hook_point": str(self.at),
            "n_texts": len(self.texts),
            "recipe": recipe,
            "rows": asdict(self.choice),
        }


def grids_folder() -> Path:
    """Where grids go; each in a folder of its own."""
    return home_folder() / "scaling"


def train_grid(run: GridRun, progress: Progress = lambda share, words: None) -> dict[str, Any]:
    """Train what the file in `out` does not have yet; returns the whole grid with its law, as the file has it.

    Every tenth text is held out of training, and the loss is the FVU on those. Raises UserError for fewer than three
    numbers of latents or of k, and for a file of another grid.
    """
    check_grid(set(run.ns), set(run.ks))
    grid = _begun(run)
    done = {(one["n"], one["k"]) for one in grid["points"]}
    wanted = [(n, k) for n in sorted(set(run.ns)) for k in sorted(set(run.ks)) if (n, k) not in done]
    for number, (n, k) in enumerate(wanted):

        def part(share: float, words: str, number: int = number, n: int = n, k: int = k) -> None:
            progress(
                (number + share) / len(wanted), f"run {number + 1} of {len(wanted)}, {n:,} latents, k {k}: {words}"
            )

        grid["points"].append(_trained(run, n, k, part))
        _write(run.out, grid)
    return _write(run.out, with_law(grid))


def _begun(run: GridRun) -> dict[str, Any]:
    path = run.out / GRID
    if not path.is_file():
        return {**run.described(), "points": []}
    grid = read_grid(path)
    if {name: grid.get(name) for name in run.described()} != run.described():
        raise UserError(f"The grid in {run.out} is of other runs.", "Name another folder, or ask for what it has.")
    return grid


def _trained(run: GridRun, n: int, k: int, progress: Progress) -> dict[str, Any]:
    from sae.activation_rows import ActivationRows
    from sae.library import proof
    from sae.training import Run, train_sae

    held_out = run.texts[::HELD_OUT_EVERY]
    learnt = tuple(text for place, text in enumerate(run.texts) if place % HELD_OUT_EVERY)
    recipe, folder = replace(run.recipe, d_sae=n, k=k), run.out / f"n{n}-k{k}"
    sae = train_sae(Run(run.session, learnt, run.at, recipe, run.choice, folder), progress)
    found = proof(sae, ActivationRows(run.session, held_out, run.at, run.choice).buffer(0))
    # A checkpoint is three times the SAE, and a finished run needs none.
    (folder / "checkpoint.pt").unlink(missing_ok=True)
    return {"n": n, "k": k, "fvu": found.fvu, "l0": found.l0, "n_rows": found.n_rows, "sae": sae.digest}


def with_law(grid: Mapping[str, Any]) -> dict[str, Any]:
    """The grid with the law through its points; raises UserError where they are too few."""
    found = refit(points_of(grid))
    law = {**asdict(found.law), "error": found.error, "left_out_error": found.left_out_error}
    return {**grid, "law": law}


def points_of(grid: Mapping[str, Any]) -> tuple[Point, ...]:
    """The points of a grid."""
    return tuple(Point(one["n"], one["k"], one["fvu"]) for one in grid["points"])


def _write(out: Path, grid: dict[str, Any]) -> dict[str, Any]:
    make_folder(out)
    replace_file(out / GRID, (json.dumps(grid, indent=1, sort_keys=True) + "\n").encode())
    return grid


def read_grid(path: Path) -> dict[str, Any]:
    """The grid in a file; raises UserError where it has none."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError("it is too large")
        grid = json.loads(path.read_text("utf-8"))
        points = [{**one, "n": int(one["n"]), "k": int(one["k"]), "fvu": float(one["fvu"])} for one in grid["points"]]
        if not all(one["n"] >= 1 and one["k"] >= 1 for one in points):
            raise ValueError("a run has no latents")
        return {**grid, "points": points}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path.name} cannot be read as a grid of runs: {str(error)[:120]}.",
            "Give the JSON that `sae scaling` wrote: points with n, k and fvu.",
        ) from error


def grid_digest(grid: Mapping[str, Any]) -> str:
    """What a view names a grid by: its points and law, 32 hex digits."""
    text = json.dumps(dict(grid), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def shelved_grids() -> Sequence[dict[str, Any]]:
    """Every grid under this home that has a law, newest first; what cannot be read is left out."""
    found = []
    for path in sorted(grids_folder().glob(f"*/{GRID}"), key=lambda path: -path.stat().st_mtime_ns):
        try:
            grid = read_grid(path)
        except UserError:
            continue
        if isinstance(grid.get("law"), dict):
            found.append(grid)
    return found


def law_sentence(grid: Mapping[str, Any]) -> str:
    """The law of a grid, and how far to believe it, in words."""
    law, n = grid["law"], len(grid["points"])
    left_out = law["left_out_error"]
    missed = "" if left_out is None else f", and each run to {left_out:.1%} when fitted without it"
    return (
        f"L(n, k) = exp({law['alpha']:.3g} {_signed(law['b_k'])} ln k {_signed(law['b_n'])} ln n "
        f"{_signed(law['g'])} ln k ln n) + exp({law['zeta']:.3g} {_signed(law['eta'])} ln k). Six parameters through "
        f"{n} runs fit them to {law['error']:.1%}{missed}."
    )


def _signed(value: float) -> str:
    return f"{'−' if value < 0 else '+'} {abs(value):.3g}"
