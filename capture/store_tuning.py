"""Points of a tuning in the store: each is kept as it comes, so that a stopped tuning computes none twice."""

from collections.abc import Mapping

from capture.store import ActivationStore
from capture.store_objects import find

TUNING = "tuning"
PLAN = "plan/"
"""How the name of a plan begins: no sweep is called so, since a sweep's name is a digest."""


def write_points(store: ActivationStore, sweep: str, points: Mapping[str, bytes]) -> None:
    """Keep points of a sweep under their names, in place of older ones."""
    store.keep(TUNING, {f"{sweep}/{name}": ({"sweep": sweep}, data) for name, data in points.items()})


def write_plan(store: ActivationStore, sweep: str, data: bytes) -> None:
    """Keep what a sweep tries and on what, in place of an older plan."""
    store.keep(TUNING, {f"{PLAN}{sweep}": ({"sweep": sweep}, data)})


def plans_of(store: ActivationStore) -> dict[str, bytes]:
    """The plans that are kept, by sweep."""
    return {name.removeprefix(PLAN): data for name, data in _kept(store, PLAN).items()}


def point_names(store: ActivationStore, sweep: str) -> tuple[str, ...]:
    """The names of the points of a sweep that are kept, in the order of their names."""
    return tuple(key.removeprefix(f"{sweep}/") for key in _keys(store, f"{sweep}/"))


def points_of(store: ActivationStore, sweep: str) -> dict[str, bytes]:
    """The points of a sweep that are kept, by name."""
    return {key.removeprefix(f"{sweep}/"): data for key, data in _kept(store, f"{sweep}/").items()}


def _kept(store: ActivationStore, beginning: str) -> dict[str, bytes]:
    keys = _keys(store, beginning)
    with store.file.snapshot() as cursor:
        return store.read(cursor, find(cursor, TUNING, list(keys))) if keys else {}


def _keys(store: ActivationStore, beginning: str) -> tuple[str, ...]:
    with store.file.snapshot() as cursor:
        rows = cursor.execute(
            "SELECT key FROM objects WHERE kind = ? AND starts_with(key, ?) ORDER BY key", [TUNING, beginning]
        ).fetchall()
    return tuple(key for (key,) in rows)
