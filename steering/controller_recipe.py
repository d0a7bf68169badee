"""ControllerRecipe: what decides the weights of a trained controller."""

from dataclasses import dataclass

from capture.errors import UserError
from capture.recipe_field import check_above, check_choices, check_least

VARIANTS = ("paper", "fixed", "trained")
VARIANT_WORDS = {
    "paper": "Guiding Giants as published: the loss leaves the weights w where they were",
    "fixed": "w fixed at 0.5: the control",
    "trained": "after Guiding Giants: w trained by a loss through the frozen model",
}
OUTPUTS = ("raw", "clamp", "sigmoid")
"""What is done with s before it acts: nothing, cut to [0, 1], or squashed into it."""
UNITS = ("absolute", "relative")
DIRECTIONS = ("mean_difference", "phrases", "vectors")
LOSSES = ("mse", "bce")


@dataclass(frozen=True)
class ControllerRecipe:
    """Every field is a flag of `python cli.py controller train`. The paper's values stand where ours differ."""

    variant: str = "paper"
    """paper: the loss is on s alone; fixed: every weight is 0.5; trained: weights learn through the frozen model."""
    direction: str = "mean_difference"
    """mean_difference of contrast pairs, phrases (the paper's, in the unembedding), or vectors of a folder."""
    pairs: str = "happy_sad"
    """Contrast set: the direction's for mean_difference; its wanted halves are what a trained variant learns to favour,
    and effects are measured on its pairs held out."""
    wanted: str = ""
    """Phrases to go towards, separated by semicolons."""
    unwanted: str = ""
    """Phrases to go away from, separated by semicolons."""
    vectors: str = ""
    """Folder of saved vectors."""
    target: str = ""
    """Label of the prompts to act on; the first label of the file unless given. All other labels are the rest."""
    inputs: str = ""
    """Blocks that are read, such as 2,3; the paper reads the last third."""
    layers: str = ""
    """Blocks that are patched, such as 1,2; all of them unless given, as in the paper."""
    alpha: float = 0.1
    """Strength that the patch is trained and measured at; the paper takes 2, absolute."""
    unit: str = "relative"
    """relative: multiples of the mean residual norm of each block; absolute: as it is, as in the paper."""
    output: str = "raw"
    """What acts: s raw as in the paper, clamp to [0, 1], or sigmoid."""
    loss: str = "mse"
    """mse as in the paper, or bce on s as a logit, as in its code."""
    hidden: int = 64
    """Hidden units; the paper takes 1024."""
    learning_rate: float = 3e-4
    """Of AdamW; the paper takes 5e-5."""
    n_epochs: int = 4
    """How often the larger class is read, as in the paper."""
    batch: int = 16
    """Prompts of one step, half of them targets; the paper takes 4."""
    weight_decay: float = 1.0
    """Of AdamW."""
    clip: float = 1.0
    """Longest gradient of a step."""
    weight_loss: float = 0.1
    """Of the trained variant: share of the loss through the frozen model."""
    kl_weight: float = 1.0
    """Of the trained variant: nats of KL on other prompts that one nat of log-probability on targets is worth."""
    flow_rows: int = 4
    """Of the trained variant: prompts of each kind that go through the model in one step."""
    flow_tokens: int = 12
    """Of the trained variant: tokens of a continuation that count."""
    bos: bool = True
    """Begin each prompt with the BOS token."""
    seed: int = 0
    """Of the first weights and of the order of prompts."""

    def check(self) -> None:
        """Raises UserError for a recipe that cannot be followed."""
        check_choices(self, variant=VARIANTS, direction=DIRECTIONS, unit=UNITS, output=OUTPUTS, loss=LOSSES)
        check_least(self, hidden=1, batch=2, n_epochs=1, flow_rows=1, flow_tokens=2)
        check_above(self, alpha=0, learning_rate=0, clip=0)
        check_least(self, weight_decay=0, weight_loss=0, kl_weight=0)
        if self.direction == "phrases" and not (self.wanted.strip() and self.unwanted.strip()):
            raise UserError("A phrase direction needs phrases on both sides.", "Give --wanted and --unwanted.")
        if self.direction == "vectors" and not self.vectors:
            raise UserError("No folder of vectors was named.", "Give --vectors FOLDER.")

    def input_layers(self, n_layers: int) -> tuple[int, ...]:
        """The blocks that are read in a model of so many."""
        return read_layers(self.inputs, n_layers) or input_layers(n_layers)


def read_layers(given: str, n_layers: int) -> tuple[int, ...]:
    """Blocks in a text such as 1,2 or 1-3, ascending; none where it is empty.

    Raises UserError for what is no list of blocks, and for a block that is not there.
    """
    found: set[int] = set()
    for part in filter(None, (one.strip() for one in given.split(","))):
        first, dash, last = part.partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            raise UserError(f"Blocks are given as 1,2 or 1-3; {given[:40]!r} was given.", "Count them from 0.")
        found |= set(range(int(first), int(last or first) + 1)) if int(last or first) < 10_000 else {10_000}
    if given.strip() and not found:
        raise UserError(f"Blocks are given as 1,2 or 1-3; {given[:40]!r} names none.", "Count them from 0, upwards.")
    if beyond := [layer for layer in found if layer >= n_layers]:
        raise UserError(
            f"Layer {min(beyond)} does not exist: the model has layers 0 to {n_layers - 1}.", "Pick one of them."
        )
    return tuple(sorted(found))


def input_layers(n_layers: int) -> tuple[int, ...]:
    """The blocks that are read: l ≥ 2 N_L / 3, blocks counted from 0; at least the last one."""
    return tuple(range(min(-(-2 * n_layers // 3), n_layers - 1), n_layers))
