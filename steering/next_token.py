"""What a change does to the next token: which tokens gain and lose, and how far the prediction moves."""

from collections.abc import Sequence
from dataclasses import dataclass

from capture.intervention import Intervention
from capture.session import ModelSession

N_TOKENS = 5


@dataclass(frozen=True)
class Moved:
    """A token whose probability moves: its logit and probability without and with the change."""

    token: str
    logit: float
    logit_changed: float
    share: float
    share_changed: float

    @property
    def change(self) -> float:
        """How much probability it gains."""
        return self.share_changed - self.share


@dataclass(frozen=True)
class Effect:
    """`kl_nats` is KL(without ‖ with); the tokens that gain and that lose most probability, the most moved first."""

    kl_nats: float
    gained: tuple[Moved, ...]
    lost: tuple[Moved, ...]


def next_token_effect(
    session: ModelSession, tokens: Sequence[int], change: Intervention, others: Sequence[Intervention] = ()
) -> Effect:
    """The effect of a change on the token after `tokens`, both runs being made under `others` as well."""
    clean, changed = (session.logits(tokens, made)[-1].double() for made in ((*others,), (*others, change)))
    odds, odds_changed = clean.log_softmax(0), changed.log_softmax(0)
    kl = float((odds.exp() * (odds - odds_changed)).sum())
    moved = odds_changed.exp() - odds.exp()
    order = moved.argsort(descending=True, stable=True)
    gained = [int(token) for token in order[:N_TOKENS] if moved[token] > 0]
    lost = [int(token) for token in order.flip(0)[:N_TOKENS] if moved[token] < 0]

    def rows(found: list[int]) -> tuple[Moved, ...]:
        numbers = zip(*(one[found].tolist() for one in (clean, changed, odds.exp(), odds_changed.exp())), strict=True)
        return tuple(Moved(text, *four) for text, four in zip(session.token_texts(found), numbers, strict=True))

    return Effect(max(0.0, kl), rows(gained), rows(lost))
