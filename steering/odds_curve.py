"""Odds over the strength at one layer: what was measured, the law fitted to it, and both in words."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from steering.odds_dynamics import MIN_SIDE, Dynamics, OddsPoint, Side, fit_dynamics

if TYPE_CHECKING:
    from steering.dose import Dose

GOOD = 0.9
"""Share of the variance below which the law is said not to describe a curve."""


@dataclass(frozen=True)
class OddsCurve:
    """Mean odds at each strength, the lowest first, 0 among them where the clean odds are known; and their law."""

    layer: int | None
    points: tuple[OddsPoint, ...]
    law: Dynamics | None
    n_held: int
    """Pairs and strengths at which utility odds are held at their largest."""

    @property
    def start(self) -> OddsPoint:
        """What others are seen against: the clean model, or the weakest strength where the clean one is not known."""
        return min(self.points, key=lambda one: abs(one.strength))


def odds_curve(doses: "Sequence[Dose]", clean: tuple[float, float] | None) -> OddsCurve:
    """The curve of one layer's doses, which have pairs; `clean` are the odds at strength 0, where they are known."""
    points = [
        OddsPoint(one.strength, one.preference, one.utility)
        for one in doses
        if one.preference is not None and one.utility is not None
    ]
    if clean is not None and all(one.strength for one in points):
        points.append(OddsPoint(0.0, *clean))
    points.sort(key=lambda one: one.strength)
    n_held = sum(one.n_held for one in doses)
    return OddsCurve(doses[0].layer, tuple(points), fit_dynamics(points), n_held)


def odds_words(curve: OddsCurve, unit: str) -> list[str]:
    """How well the law describes the odds and where it halves, or why it is not known; `unit` is of the strength."""
    words = [_law_words(curve.law, unit) if curve.law is not None else _without_law(curve)]
    if curve.n_held:
        words.append(
            f"{curve.n_held:,} utility odds are held at their largest: there the probabilities of a pair's two texts "
            "add up to 1 or more, as where one begins with the other."
        )
    return words


def _law_words(law: Dynamics, unit: str) -> str:
    shares = {"preference": law.r2_preference, "utility": law.r2_utility}
    fit = ", ".join(f"R² {share:.2f} for {name}" for name, share in shares.items())
    poor = [name for name, share in shares.items() if share < GOOD]
    doubt = f" It does not describe the {' or the '.join(poor)} odds." if poor else ""
    sides = [f" {name} it {_side_words(side, unit)}." for name, side in (("Above", law.above), ("Below", law.below))]
    return f"Law of the odds: {fit}, m0 {law.m0:.3g}.{doubt}{''.join(sides)}"


def _side_words(side: Side | None, unit: str) -> str:
    if side is None:
        return f"D is mirrored, for fewer than {MIN_SIDE} strengths of that sign were tried"
    half = "D stays above ½ as far as was tried" if side.half is None else f"D is ½ at {side.half:.3g} ({unit})"
    if not side.is_identified:
        return f"{half}; Λ and p are not identifiable"
    return f"{half}; Λ {side.scale:.3g}, p {side.power:.3g}"


def _without_law(curve: OddsCurve) -> str:
    n = max(sum(one.strength * sign > 0 for one in curve.points) for sign in (-1, 1))
    if n < MIN_SIDE:
        return (
            f"The law of the odds is not identifiable: at least {MIN_SIDE} strengths of one sign must be tried beside "
            f"0, and {n} {'was' if n == 1 else 'were'}."
        )
    return "The law of the odds is not identifiable: the odds do not move, or the strengths are too few."
