"""Points of a tuning in the store: each is kept as it comes, so that a stopped tuning computes none twice."""

from collections.abc import Mapping

from capture.store import ActivationStore
from capture.store_objects import find

TUNING = "tuning"


def write_points(store: ActivationStore, sweep: str, points: Mapping[str, bytes]) -> None:
    """Keep points of a sweep under their names, in place of older ones."""
    store.keep(TUNING, {f"{sweep}/{name}": ({"sweep": sweep}, data) for name, data in points.items()})


def point_names(store: ActivationStore, sweep: str) -> tuple[str, ...]:
    """The names of the points of a sweep that are kept, in the order of their names."""
    with store.file.snapshot() as cursor:
        rows = cursor.execute(
            "SELECT key FROM objects WHERE kind = ? AND starts_with(key, ?) ORDER BY key", [TUNING, f"{sweep}/"]
        ).fetchall()
    return tuple(key.removeprefix(f"{sweep}/") for (key,) in rows)


def points_of(store: ActivationStore, sweep: str) -> dict[str, bytes]:
    """The points of a sweep that are kept, by name."""
    names = point_names(store, sweep)
    with store.file.snapshot() as cursor:
        kept = store.read(cursor, find(cursor, TUNING, [f"{sweep}/{name}" for name in names])) if names else {}
    return {key.removeprefix(f"{sweep}/"): data for key, data in kept.items()}
