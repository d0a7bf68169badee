"""Whether reading a kept capture beats running the model again, decided by what each was measured to take."""

import statistics
from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field

N_KEPT = 9
FIRST_RETIMING = 8


@dataclass(frozen=True)
class Timing:
    """One measured read or run of one shape, in seconds."""

    action: str
    shape: str
    seconds: float


@dataclass
class Timings:
    """The last few times of reading and running by shape.

    The slower side is measured again after 8, 16, 32, ... uses of the other, so that one slow start (a warm-up, a
    busy machine) does not decide for ever.
    """

    past: Iterable[Timing] = ()
    unsaved: list[Timing] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._seconds: dict[tuple[str, str], deque[float]] = defaultdict(lambda: deque(maxlen=N_KEPT))
        self._streak: dict[tuple[str, str, bool], int] = defaultdict(int)
        for one in self.past:
            self._seconds[one.action, one.shape].append(one.seconds)

    def record(self, action: str, shape: str, seconds: float) -> None:
        """Note one measured time; `action` is "read" or "run"."""
        self._seconds[action, shape].append(seconds)
        self.unsaved.append(Timing(action, shape, seconds))

    def seconds(self, action: str, shape: str) -> float | None:
        """Median of the last few times; None where there is none."""
        times = self._seconds.get((action, shape))
        return statistics.median(times) if times else None

    def reading_is_expected_to_win(self, read_shape: str, run_shape: str) -> bool:
        """Whether to read; a side that was never timed is tried, reading first."""
        read_s, run_s = self.seconds("read", read_shape), self.seconds("run", run_shape)
        if read_s is None or run_s is None:
            return True
        reads = read_s < run_s
        key = (read_shape, run_shape, reads)
        self._streak[key] += 1
        is_retiming = self._streak[key] >= FIRST_RETIMING and self._streak[key].bit_count() == 1
        return reads != is_retiming


def size_class(n: int) -> int:
    """The power of two at or above n; shapes are told apart by it, so that few times serve many texts."""
    return 1 << max(0, n - 1).bit_length()
