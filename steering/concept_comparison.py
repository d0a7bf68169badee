"""Who is compared on concepts: the baselines of a model and its SAE, and hypernetworks."""

from collections.abc import Sequence
from dataclasses import replace

from jaxtyping import Float
from torch import Tensor

from capture.errors import UserError
from capture.hook_point import HookPoint
from capture.session import ModelSession
from sae.autoencoder import Autoencoder
from sae.shelf import load_shelved, shelved
from steering.concept_contestants import NONE, RANDOM, Contestant, baselines, named, vectors_by_name
from steering.hypernetwork_folder import TrainedHypernetwork
from steering.hypernetwork_recipe import NO_CONTEXT
from steering.sentence_vector import named_hypernetwork, sentence_vector


def compared(
    session: ModelSession,
    hook: str | None,
    sae: str | None,
    hypernetworks: Sequence[str],
    names: Sequence[str],
    over: Sequence[str] = (),
) -> tuple[HookPoint, tuple[Contestant, ...]]:
    """The hook point and the contestants there: the hypernetworks, the named baselines or all, those for the curve.

    Raises UserError for a hypernetwork that reads the prompt, or is of another hook point.
    """
    own = [named_hypernetwork(one, session) for one in (*hypernetworks, *over)]
    autoencoder = _sae(session, sae)
    at = HookPoint.parse(hook) if hook else _usual_point(session, own, autoencoder)
    for name, trained in own:
        if trained.at != at:
            raise UserError(f"{name} makes vectors for {trained.at}, not for {at}.", f"Give --hook {trained.at}.")
    fits = autoencoder is not None and str(at) == autoencoder.facts.hook_point
    others = baselines(session, at, autoencoder if fits else None)
    wanted = [NONE, RANDOM, *(one for one in names if one not in (NONE, RANDOM))] if names else []
    made = [of_hypernetwork(session, *one) for one in own]
    n = len(hypernetworks)
    return at, (*made[:n], *named(others, wanted), *(replace(one, is_on_curve=True) for one in made[n:]))


def _sae(session: ModelSession, sae: str | None) -> Autoencoder | None:
    fitting = [one for one in shelved() if (sae is None or one.is_called(sae)) and one.fits(session.fingerprint)]
    if sae is not None and not fitting:
        raise UserError(f"No SAE of {session.name} on the shelf is called {sae[:40]!r}.", "Leave --sae out.")
    return load_shelved(fitting[0].digest) if fitting else None


def _usual_point(
    session: ModelSession, own: Sequence[tuple[str, TrainedHypernetwork]], sae: Autoencoder | None
) -> HookPoint:
    if own:
        return own[0][1].at
    return HookPoint.parse(sae.facts.hook_point) if sae else HookPoint(session.shape.n_layers // 2, "resid_post")


def of_hypernetwork(session: ModelSession, name: str, trained: TrainedHypernetwork) -> Contestant:
    """A hypernetwork without context; what its training cost is shared by the concepts that it learnt from."""
    if trained.recipe.variant != NO_CONTEXT:
        raise UserError(
            f"{name} makes a vector for each prompt anew, and is compared by its vectors.",
            "Name a hypernetwork without context.",
        )
    n_weights = sum(one.numel() for one in trained.network.parameters())

    def vector(said: str) -> Float[Tensor, "d"]:
        return sentence_vector(trained, session, said).vector

    return Contestant(
        name,
        f"hypernetwork without context, learnt from {len(trained.learnt):,} concepts",
        vectors_by_name(vector),
        flops=lambda concept: 2.0 * n_weights * len(session.tokens(concept.asked[0], True)),
        n_learnt=len(trained.learnt),
        flops_before=training_flops(session, trained, n_weights),
    )


def training_flops(session: ModelSession, trained: TrainedHypernetwork, n_weights: int) -> float:
    """An estimate from the recipe: each step that runs the model reads a batch of texts, at most `longest` tokens each.

    A training that was ended early says after how many steps. The teachers of steps that imitate are not counted.

    4 a parameter of the frozen model and token (forward, and gradient of activations), 6 a weight of the hypernetwork
    and token of a sentence, of which 8 are counted.
    """
    recipe = trained.recipe
    n_steps = int(trained.facts.get("n_steps", recipe.n_steps))
    n_run = sum(not recipe.imitates(step) for step in range(n_steps))
    per_step = 6.0 * n_weights * recipe.batch * 8
    return n_run * recipe.batch * recipe.longest * 4.0 * session.shape.n_params + n_steps * per_step
