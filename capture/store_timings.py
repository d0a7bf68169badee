"""Whether reading what is kept beats running the model again, decided by what each was measured to take."""

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


@dataclass(frozen=True)
class Saving:
    """What reading and running one shape were measured to take: the last few times and their median in seconds."""

    read_shape: str
    run_shape: str
    n_reads: int
    n_runs: int
    read_s: float | None
    run_s: float | None

    @property
    def wins(self) -> str:
        """Either "reading" or "running", or "" where one of them was never timed."""
        if self.read_s is None or self.run_s is None:
            return ""
        return "reading" if self.read_s < self.run_s else "running"


@dataclass
class Timings:
    """The last few times of reading and running by shape.

    The slower side is measured again after 8, 16, 32, ... uses of the other, so that one slow start (a warm-up, a
    busy machine) does not decide for ever.
    """

    past: Iterable[Timing] = ()
    unsaved: list[Timing] = field(default_factory=list)
    pairs: set[tuple[str, str]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._seconds: dict[tuple[str, str], deque[float]] = defaultdict(lambda: deque(maxlen=N_KEPT))
        self._streak: dict[tuple[str, str, bool], int] = defaultdict(int)
        self._saved_pairs = set(self.pairs)
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
        self.pairs.add((read_shape, run_shape))
        read_s, run_s = self.seconds("read", read_shape), self.seconds("run", run_shape)
        if read_s is None or run_s is None:
            return True
        reads = read_s < run_s
        key = (read_shape, run_shape, reads)
        self._streak[key] += 1
        is_retiming = self._streak[key] >= FIRST_RETIMING and self._streak[key].bit_count() == 1
        return reads != is_retiming

    def savings(self) -> list[Saving]:
        """Every pair that was compared, the most often timed first."""
        found = []
        for read_shape, run_shape in sorted(self.pairs):
            n_reads, n_runs = (len(self._seconds.get(key, ())) for key in (("read", read_shape), ("run", run_shape)))
            times = self.seconds("read", read_shape), self.seconds("run", run_shape)
            found.append(Saving(read_shape, run_shape, n_reads, n_runs, *times))
        return sorted(found, key=lambda one: -(one.n_reads + one.n_runs))

    def new_pairs(self) -> list[tuple[str, str]]:
        """Pairs that were not asked for here before; they count as saved from now on."""
        new = sorted(self.pairs - self._saved_pairs)
        self._saved_pairs.update(new)
        return new


def size_class(n: int) -> int:
    """The power of two at or above n; shapes are told apart by it, so that few times serve many texts."""
    return 1 << max(0, n - 1).bit_length()
