"""The checkpoints that a Spec of a lens over checkpoints is of: which they are, loading them, and what names them."""

from collections.abc import Callable

from analysis.lens import Series, SeriesLens
from analysis.spec import Spec, digest_json
from capture.checkpoints import TrainedModel, checkpoints_of
from capture.errors import UserError
from capture.model_source import checkpoint_folders
from capture.models import model_folder
from capture.session import ModelSession


def trained_models(lens: SeriesLens, spec: Spec) -> tuple[TrainedModel, ...]:
    """The checkpoints of the Spec's model; raises UserError where it has too few or cannot have any."""
    folder = model_folder(spec.model)
    if folder is None:
        raise UserError(
            f"{lens.title} looks at checkpoints in a folder; {spec.model[:80]!r} is none on this machine.",
            "Choose stories, or a folder with checkpoints such as at-4M in it.",
        )
    found = checkpoints_of(spec.model, folder)
    if len(found) < lens.min_checkpoints:
        said = ", ".join(one.name.rpartition("@")[2] for one in found) or "none"
        raise UserError(
            f"{lens.title} needs at least {lens.min_checkpoints} checkpoints of known token counts; {spec.model[:80]} "
            f"has {len(found)} ({said}).",
            'Name their folders by their tokens, such as at-4M, or write tokens.json: {"step-500": 4000000}.',
        )
    return found


class OpenedSeries:
    """Loads the checkpoints of a Spec one at a time, and remembers the fingerprints of those that were loaded."""

    def __init__(self, trained: tuple[TrainedModel, ...], spec: Spec, load: Callable[[str, str], ModelSession]) -> None:
        self._trained, self._spec, self._load = trained, spec, load
        self._fingerprints: dict[str, str] = {}

    def open(self, one: TrainedModel) -> ModelSession:
        """The session of a checkpoint."""
        session = self._load(one.name, self._spec.dtype)
        self._fingerprints[one.name] = session.fingerprint
        return session

    def as_series(self, texts: tuple[str, ...]) -> Series:
        """What the lens is given."""
        return Series(self._trained, self.open, texts, self._spec.bos)

    def fingerprint(self) -> str:
        """The digest of the checkpoints' names, token counts and weights; loads those that were not."""
        for one in self._trained:
            if one.name not in self._fingerprints:
                self.open(one)
        return digest_json([[one.name, one.n_tokens, self._fingerprints[one.name]] for one in self._trained])


def series_stamp(spec: Spec) -> str:
    """What changes when a file of the checkpoints changes: names, sizes and times."""
    folder = model_folder(spec.model)
    assert folder is not None  # trained_models has looked
    places = [folder, *checkpoint_folders(folder).values()]
    files = [path for place in places for path in sorted(place.iterdir()) if path.is_file()]
    stats = [[str(path), path.stat().st_size, path.stat().st_mtime_ns] for path in files]
    return f"{spec.model} {spec.dtype} {digest_json(stats)}"
