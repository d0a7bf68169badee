"""Sentences about an SAE's quality, computed and scored: score = log2(magnitude / usual), made only where above 0.

`usual` is what the quantity would be with nothing to see: for the token whose loss rises most, the largest of as many
exponential numbers of the text's mean rise; for latents that never fire, how many would stay silent on so few tokens if
all fired alike, at least 5 %; for the loss that is lost, a tenth of what zeros cost.
"""

from collections.abc import Mapping
from math import exp, isfinite, log, log2
from typing import Any

import numpy as np

from analysis.report import Finding

USUAL_DEAD, USUAL_LOST = 0.05, 0.1
N_SERIES = 40


def findings_of(numbers: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> tuple[Finding, ...]:
    """The findings of a Report's numbers, highest score first."""
    value = {row["name"]: row["value"] for row in numbers["rows"]}
    made = [_worst_token(numbers, arrays), _silent(numbers, arrays, value), _lost(numbers, arrays, value)]
    found = [one for one in made if one is not None and isfinite(one.score) and one.score > 0]
    return tuple(sorted(found, key=lambda one: -one.score))


def _finding(
    sentence: str, magnitude: float, unit: str, usual: float, place: dict[str, Any], series: np.ndarray
) -> Finding:
    score = log2(magnitude / usual) if magnitude > 0 and usual > 0 else 0.0
    return Finding(sentence, magnitude, unit, score, place, series=tuple(float(one) for one in series[:N_SERIES]))


def _worst_token(numbers: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Finding | None:
    rises = arrays.get("token_delta_ce")
    if rises is None or np.isfinite(rises).sum() < 2:
        return None
    counted = np.nan_to_num(rises)
    pos = int(counted.argmax())
    mean = float(np.abs(rises[np.isfinite(rises)]).mean())
    usual = mean * max(1.0, log(int(np.isfinite(rises).sum())))
    token = numbers["tokens"][pos]
    return _finding(
        f"With the SAE's output in place of the activation, the token {token!r} at position {pos} costs "
        f"{counted[pos]:.2g} nats more; the mean change of a token is {mean:.2g}.",
        float(counted[pos]),
        "nats",
        usual,
        {"pos": pos},
        counted,
    )


def _silent(numbers: Mapping[str, Any], arrays: Mapping[str, np.ndarray], value: Mapping[str, Any]) -> Finding | None:
    if not numbers["is_text_set"] or not numbers["rows"]:
        return None
    density = arrays["density"]
    expected = exp(-numbers["n_counted"] * value["l0"] / len(density))
    share, usual = float(value["dead_share"]), max(USUAL_DEAD, expected)
    return _finding(
        f"{share:.1%} of the SAE's {len(density):,} latents fire on none of {numbers['n_counted']:,} tokens; "
        f"{expected:.1%} would not if all fired equally often.",
        100 * share,
        "% of latents",
        100 * usual,
        {"latent": int((density == 0).argmax())},
        np.sort(density)[:: -max(1, len(density) // N_SERIES)],
    )


def _lost(numbers: Mapping[str, Any], arrays: Mapping[str, np.ndarray], value: Mapping[str, Any]) -> Finding | None:
    recovered = value.get("loss_recovered_zero")
    if recovered is None or value["ce_zero"] <= value["ce_clean"]:
        return None
    return _finding(
        f"The SAE's output in place of the activation costs {value['delta_ce']:.2g} nats a token, {1 - recovered:.0%} "
        f"of what zeros in its place cost ({value['ce_zero'] - value['ce_clean']:.2g}).",
        100 * (1 - recovered),
        "% of what zeros cost",
        100 * USUAL_LOST,
        {"row": "loss_recovered_zero"},
        np.array([value["ce_clean"], value["ce_spliced"], value["ce_mean"], value["ce_zero"]]),
    )
