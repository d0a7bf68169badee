"""The figures of a latent's card, drawn from what a dashboard says of it."""

from typing import TYPE_CHECKING

import numpy as np

from ui import charts
from ui.figures.picture import Picture
from ui.numbers import marked, say_number

if TYPE_CHECKING:
    from sae.latent_card import LatentCard, TokenWeight

N_TICKS = 6
HISTOGRAM_PX = 220
DENSE = 0.1
"""A latent that fires more often than this is rarely of one kind of thing."""


def histogram(card: "LatentCard") -> Picture | None:
    """How its values spread where it fires; None where it never does."""
    if not card.histogram.counts:
        return None
    drawn = charts.binned(
        np.asarray(card.histogram.edges), np.asarray(card.histogram.counts), quantity="value", log_x=True
    )
    # Seldom as wide as two powers of ten, so that its ticks are the edges of its bins.
    edges = np.asarray(card.histogram.edges)
    shown = edges[:: max(1, len(edges) // N_TICKS)]
    ticks = {"tickvals": shown, "ticktext": [say_number(edge) for edge in shown], "tickfont": {"size": 12}}
    drawn.update_xaxes(title="value (log axis)", **ticks)
    drawn.update_yaxes(title="tokens (log count)").update_layout(height=HISTOGRAM_PX)
    caption = f"Its values on the {card.n_fired:,} tokens where it fires, four bins to a doubling."
    return Picture("latent-card-histogram", f"Values of latent {card.latent}", caption, drawn)


def logits(card: "LatentCard") -> Picture | None:
    """The tokens whose logits its direction raises and lowers most; None where that is not known."""
    if not card.promoted:
        return None
    shown: list[TokenWeight] = [*card.promoted, *reversed(card.suppressed)]
    drawn = charts.ranked_bars(
        [marked(one.text) for one in shown], [one.weight for one in shown], quantity="logit per unit of value"
    )
    caption = f"Tokens whose logits its direction raises and lowers most. {card.facts.logit_rule}"
    return Picture("latent-card-logits", "Promoted and suppressed tokens", caption, drawn)


def statistics(card: "LatentCard") -> str:
    """Its statistics in a sentence or two."""
    facts = card.facts
    seen = f"{card.n_tokens:,} tokens of {facts.texts or 'its texts'}"
    if not card.n_fired:
        return f"It fires on none of {seen}."
    said = [
        f"It fires on {100 * card.density:.3g} % of {seen} ({card.n_fired:,}), at most {say_number(card.max)}",
        f"mean {say_number(card.mean)}" if card.mean is not None else "",
        f"skew {say_number(card.skew)}" if card.skew is not None else "",
        f"kurtosis {say_number(card.kurtosis)}" if card.kurtosis is not None else "",
    ]
    return f"{', '.join(filter(None, said))} where it fires."
