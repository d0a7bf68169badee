"""What a vector of a concept costs in FLOP: estimates from recipes and texts, the same for all that is compared.

1. A pass forward is 2 a parameter of the model and token, the gradient with respect to activations as many again;
embeddings count as the rest, and a pass that stops at the hook point counts as a whole one.
2. A hypernetwork's own step is 6 a weight and token that it reads, of a sentence and, in two variants, of the prompt.
"""

from capture.session import ModelSession
from steering.concept_rows import row_of
from steering.concepts import Concept, ConceptSet
from steering.fit_rows import fit_texts
from steering.hypernetwork_folder import TrainedHypernetwork
from steering.hypernetwork_recipe import CROSS_ATTENTION
from steering.method import method_named

FORWARD, FORWARD_AND_BACK = 2.0, 4.0
THROUGH_THE_MODEL = ("reft_r1", "reps")
"""Methods that run the model forward to read, and forward and back to learn, in each of their epochs."""
N_SENTENCE = 8
"""Tokens of a sentence, BOS included."""
N_LOOKED_AT = 128


def fit_flops(session: ModelSession, concept: Concept, slug: str, n_epochs: int | None = None) -> float:
    """What a fit of a steering method on the training texts of a concept costs; its own number of epochs unless given.

    Any method that does not learn through the model reads the texts once.
    """
    n_tokens = sum(len(one.tokens) for one in fit_texts(session, concept.training.contrast(), True))
    if slug not in THROUGH_THE_MODEL:
        return FORWARD * session.shape.n_params * n_tokens
    own = next(option.default for option in method_named(slug).options if option.name == "n_epochs")
    epochs = own if n_epochs is None else n_epochs
    return (FORWARD + FORWARD_AND_BACK) * session.shape.n_params * n_tokens * float(epochs)


def taught_flops(session: ModelSession, trained: TrainedHypernetwork, concepts: ConceptSet) -> float:
    """What the teacher of one concept cost, 0 where nothing was imitated: the mean over the learnt ones of the set.

    Where the set has none of them, the mean over those of the set that are held in.
    """
    if not trained.recipe.imitates(0):
        return 0.0
    learnt = set(trained.learnt)
    some = [one for one in concepts.concepts if one.name in learnt] or list(concepts.held_in or concepts.concepts)
    return sum(fit_flops(session, one, trained.recipe.teacher) for one in some) / len(some)


def training_flops(session: ModelSession, trained: TrainedHypernetwork, concepts: ConceptSet) -> float:
    """What the steps of a training cost, from its recipe; a training that was ended early says after how many.

    A step that runs the model reads a batch of texts, at most `longest` tokens each, and with the detection loss as
    many again that show the concept and that do not. Cross-attention reads the prompts by the model in every step.
    """
    recipe, n_params = trained.recipe, session.shape.n_params
    n_steps = int(trained.facts.get("n_steps", recipe.n_steps))
    n_run = sum(not recipe.imitates(step) for step in range(n_steps))
    passes = FORWARD_AND_BACK + (2 * FORWARD if recipe.detects else 0.0)
    n_prompt = mean_prompt(session, trained, concepts)
    a_step = 3 * _own_pass(trained, N_SENTENCE, n_prompt) + _models_pass(session, trained, n_prompt)
    return recipe.batch * (n_run * recipe.longest * passes * n_params + n_steps * a_step)


def reading_flops(session: ModelSession, trained: TrainedHypernetwork, n_sentence: int, n_prompt: float) -> float:
    """What a vector costs a trained hypernetwork: a pass of its own, and the model's over a prompt that it reads."""
    return _own_pass(trained, n_sentence, n_prompt) + _models_pass(session, trained, n_prompt)


def _own_pass(trained: TrainedHypernetwork, n_sentence: int, n_prompt: float) -> float:
    n_weights = sum(one.numel() for one in trained.network.parameters())
    return FORWARD * n_weights * (n_sentence + (n_prompt if trained.reads_prompt else 0.0))


def _models_pass(session: ModelSession, trained: TrainedHypernetwork, n_prompt: float) -> float:
    return FORWARD * session.shape.n_params * n_prompt if trained.recipe.variant == CROSS_ATTENTION else 0.0


def mean_prompt(session: ModelSession, trained: TrainedHypernetwork, concepts: ConceptSet) -> float:
    """Mean tokens of the prompts that training texts follow."""
    every = [one for some in concepts.concepts for one in some.training.positives]
    recipe = trained.recipe
    rows = [row_of(session, one, recipe.longest, recipe.bos) for one in every[:: max(1, len(every) // N_LOOKED_AT)]]
    lengths = [row.n_prompt for row in rows if row is not None]
    return sum(lengths) / max(1, len(lengths))
