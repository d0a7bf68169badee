"""The largest CETT target within a perplexity budget: Algorithm 1 of arXiv 2411.02335 with few forward passes.

Published: bisection of [0, 1] to 1e-6, so 20 sparse passes, and the dense pass before each. Here a target is a whole
number of 2**-20, the points that bisection visits, and a pass tries several at once, as rows of its batches:

1. Where the loss reaches the budget is guessed, on a power law through the ends of the bracket.
2. The next pass tries the midpoints that bisection is likeliest to visit, if the guess is about right: where it is, as
   many halvings as there are rows.
3. Bisection then goes as far as it is known how, and not by the guess: it decides by losses that were measured. So the
   answer is bisection's, whatever was guessed, and a wrong guess costs passes only. When passes run short, all the
   midpoints of the next three halvings are tried.
4. It ends when the bracket is one step wide, or when both of its ends give the same thresholds.

The answer is the lower end: a target that was tried, and whose perplexity is within the budget. Searches for two
budgets visit the same midpoints until they part, so a larger budget never gives a smaller target, monotone loss or not.
"""

import heapq
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from capture.errors import UserError

STEPS = 1 << 20
"""Targets are multiples of 1 / STEPS."""
ROWS = 3
"""How many targets share a pass: of 2 to 5, few rows in all at 7 passes or so."""
MAX_PASSES = 11
MIN_PERCENT, MAX_PERCENT = 0.1, 20.0
_CATCH_UP = 3
_PRIOR = 0.2, 0.1
"""Where the answer usually is, and how far from there, before anything was tried."""

Losses = dict[int, float]
"""Mean loss above the dense model's, in nats a token, by target in steps."""
Try = Callable[[Sequence[int]], Sequence[float]]


@dataclass(frozen=True)
class Bracket:
    """The last target within the budget (`low`, in steps) and the first beyond it; STEPS itself is never tried."""

    low: int
    high: int
    n_passes: int
    n_rows: int

    @property
    def target(self) -> float:
        """The CETT target."""
        return self.low / STEPS


def budget_nats(p: float | int) -> float:
    """The rise of the loss that lets perplexity grow by p percent: ln(1 + p/100), in nats a token."""
    if not MIN_PERCENT <= p <= MAX_PERCENT:
        raise UserError(
            f"The perplexity budget must be {MIN_PERCENT:g} to {MAX_PERCENT:g} percent; {p:g} was given.",
            "Try 1, 5 or 10.",
        )
    return math.log1p(p / 100)


def search(
    try_targets: Try,
    budget: float,
    known: Losses,
    is_same: Callable[[int, int], bool] = lambda low, high: False,
) -> Bracket:
    """The bracket of the largest target whose loss stays below `budget` nats, by bisection.

    `try_targets` gives the losses of some targets from one pass; `known` has those tried so far and takes in the new.
    `is_same` says whether two targets give the same thresholds. Raises UserError where a loss is NaN.
    """
    low, high, n_passes, n_rows = 0, STEPS, 0, 0
    while True:
        before = high - low
        low, high = _descend(known, low, high, budget, is_same)
        if high - low <= 1 or is_same(low, high) or n_passes == MAX_PASSES:
            return Bracket(low, high, n_passes, n_rows)
        asked = _likeliest(known, low, high, budget, *_plan(known, low, high, budget, before, n_passes))
        for target, loss in zip(asked, try_targets(asked), strict=True):
            known[target] = _sound(loss)
        n_passes, n_rows = n_passes + 1, n_rows + len(asked)


def _plan(
    known: Losses, low: int, high: int, budget: float, before: int, n_passes: int
) -> tuple[Callable[[int], float], int]:
    """How the next pass guesses, and how many targets it has."""
    if (high - low).bit_length() - 1 > _CATCH_UP * (MAX_PASSES - n_passes - 1):
        return _even, (1 << _CATCH_UP) - 1
    is_sure = n_passes == 0 or (high - low) * 4 <= before
    return (_chance(known, low, high, budget) if is_sure else _even), ROWS


def _even(middle: int) -> float:
    return 0.5


def _descend(known: Losses, low: int, high: int, budget: float, is_same: Callable[[int, int], bool]) -> tuple[int, int]:
    """Bisection, as far as it is known how."""
    while high - low > 1 and (middle := (low + high) // 2) in known and not is_same(low, high):
        low, high = (middle, high) if known[middle] < budget else (low, middle)
    return low, high


def _sound(loss: float) -> float:
    if math.isnan(loss):
        raise UserError(
            "A loss must be a number; with neurons switched off this model gives NaN.",
            "Choose float32, or a model whose weights are sound.",
        )
    return loss


def _likeliest(
    known: Losses, low: int, high: int, budget: float, chance: Callable[[int], float], rows: int
) -> list[int]:
    """The untried midpoints that bisection of the bracket visits most probably, at most `rows`."""
    found: list[int] = []
    waiting = [(-1.0, low, high)]
    while waiting and len(found) < rows:
        share, left, right = heapq.heappop(waiting)
        if right - left <= 1:
            continue
        middle = (left + right) // 2
        if middle in known:
            within = 1.0 if known[middle] < budget else 0.0
        else:
            found.append(middle)
            within = chance(middle)
        for part, ends in ((within, (middle, right)), (1 - within, (left, middle))):
            if part > 0:
                heapq.heappush(waiting, (share * part, *ends))
    return sorted(found)


def _chance(known: Losses, low: int, high: int, budget: float) -> Callable[[int], float]:
    """How probably a target is within the budget, by how far it is from where the loss should reach it."""
    if high == STEPS:
        guess, spread = (_PRIOR[0] * STEPS, _PRIOR[1] * STEPS) if low == 0 else ((low + high) / 2, float(high - low))
    else:
        guess = _crossing(low, known.get(low, 0.0), high, known[high], budget)
        # The power law's error is of second order in the width of the bracket.
        spread = (high - low) * min(0.25, 0.02 + 0.25 * math.log(high / max(low, 1)))

    def chance(middle: int) -> float:
        return 1 / (1 + math.exp(min(max((middle - guess) / spread, -30.0), 30.0)))

    return chance


def _crossing(low: int, low_loss: float, high: int, high_loss: float, budget: float) -> float:
    """Where the loss reaches the budget: on a power law through both ends, or, from 0 on, a square law."""
    if not math.isfinite(high_loss):
        return (low + high) / 2
    if low == 0:
        return high * math.sqrt(budget / high_loss)
    if low_loss <= 0:
        return low + (high - low) * (budget - low_loss) / (high_loss - low_loss)
    if high_loss <= low_loss:
        return (low + high) / 2
    share = math.log(budget / low_loss) / math.log(high_loss / low_loss)
    return math.exp(math.log(low) + share * math.log(high / low))
