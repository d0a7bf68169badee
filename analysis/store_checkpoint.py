"""StoreCheckpoint: the state of an interrupted measurement, kept in the store until the measurement is done."""

from dataclasses import dataclass

from capture.errors import UserError
from capture.store import ActivationStore


@dataclass
class StoreCheckpoint:
    """A Checkpoint under one key of the store's statistics.

    Keeping the state is a courtesy: a store that cannot (a full disk, say) must not end the measurement, so it is not
    asked again.
    """

    store: ActivationStore
    key: str
    is_kept: bool = True

    def load(self) -> bytes | None:
        """What was saved last, or None."""
        return self.store.statistics(self.key)

    def save(self, state: bytes) -> None:
        """Keep the state in place of the one before."""
        if not self.is_kept:
            return
        try:
            self.store.keep_statistics(self.key, state)
        except UserError:
            self.is_kept = False

    def remove(self) -> None:
        """Forget the state, once the measurement is done."""
        try:
            self.store.forget_statistics(self.key)
        except UserError:
            self.is_kept = False
