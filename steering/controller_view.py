"""A controller on one prompt: what it decides, and what the model writes without and with it."""

from dataclasses import dataclass

from capture.generation import GenerationRow, Sampling
from capture.session import ModelSession
from steering.controller import Decision, decide
from steering.controller_folder import shelved_controller
from steering.methods.controller import change_by


@dataclass(frozen=True)
class Look:
    """The decision, the blocks that its weights are of, and both continuations."""

    decision: Decision
    layers: tuple[int, ...]
    strength: float
    clean: str
    steered: str


def looked_at(
    session: ModelSession,
    wanted: str,
    text: str,
    strength: float | None = None,
    n_tokens: int = 40,
    seed: int = 0,
    bos: bool = True,
) -> Look:
    """What the controller of a name or digest does on a prompt; both texts are sampled with one seed."""
    one, controller = shelved_controller(wanted)
    prompt = session.tokens(text, bos)
    decision = decide(controller, session, prompt)
    change = change_by(one.digest, controller, strength)
    rows = [GenerationRow(prompt), GenerationRow(prompt, (change,))]
    texts = []
    for new in session.generate_rows(rows, n_tokens, Sampling(seed)):
        said = [token for token in new if token not in session.special_tokens]
        texts.append("".join(session.token_texts(said)))
    return Look(decision, controller.layers, change.strength, *texts)
