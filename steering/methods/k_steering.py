"""K-steering: a step down the gradient of a small classifier, towards some labels and away from others.

Oozeer et al. 2025 (arXiv 2505.24535): g is an MLP d → h → h → K with ReLU, trained by binary cross-entropy, and
J(x) = mean over avoided labels of g_k(x) − mean over target labels of g_k(x); x ← x − α γ^step ∇J(x).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from capture.errors import UserError
from capture.hook_point import HookPoint
from capture.intervention import Recipe
from capture.option import Option
from capture.recipe_number import read_number, read_position
from capture.session import ModelSession
from steering.contrast_pairs import Contrast
from steering.direction import Direction, check_width, direction_text, read_direction
from steering.fit_rows import RowsAsked, row_options
from steering.fitted import Fitted, Setting
from steering.method import Method, Options, Progress
from steering.row_spool import RowSpool, spooled
from steering.shelf import find_shelved
from steering.token_scope import EVERYWHERE, Ranges, change_within, read_ranges
from steering.vector_folder import read_vectors

HIDDEN = Option("hidden", "Hidden units", "Width of both hidden layers; the paper takes 128.", 128, 1.0, 1024.0)
N_EPOCHS = Option("n_epochs", "Epochs", "How often the classifier sees every row.", 20, 1.0, 1000.0)
RATE = Option("learning_rate", "Learning rate", "Of Adam; the paper takes 0.001.", 1e-3, 1e-6, 1.0)
SEED = Option("seed", "Seed", "Of the classifier's first weights.", 0, 0.0, 2.0**31)


@dataclass(frozen=True)
class Layer:
    """One linear layer of a classifier: x W + b, W as rows by input."""

    weight: tuple[Direction, ...]
    bias: Direction


@dataclass(frozen=True)
class GradientStep:
    """`n_steps` steps of `strength` down the gradient of J; ReLU stands between the layers of the classifier."""

    at: HookPoint
    layers: tuple[Layer, ...]
    targets: tuple[int, ...]
    avoided: tuple[int, ...]
    strength: float = 1.0
    n_steps: int = 1
    gamma: float = 1.0
    ranges: Ranges = EVERYWHERE
    source: str = ""
    """Digest of vectors on the shelf that have the classifier; the recipe then names it instead of holding it."""

    kind = "gradient_step"

    def hook_points(self) -> tuple[HookPoint, ...]:
        """Where it acts."""
        return (self.at,)

    @cached_property
    def _weights(self) -> list[tuple[Tensor, Tensor]]:
        return [(torch.tensor(layer.weight), torch.tensor(layer.bias)) for layer in self.layers]

    @cached_property
    def _wanted(self) -> Tensor:
        """dJ / dg: 1 / n at each avoided label, −1 / n at each target."""
        slope = torch.zeros(len(self.layers[-1].bias))
        for labels, sign in ((self.avoided, 1.0), (self.targets, -1.0)):
            for label in labels:
                slope[label] += sign / len(labels)
        return slope

    def __call__(
        self, activation: Float[Tensor, "batch pos d"], at: HookPoint, first_pos: int
    ) -> Float[Tensor, "batch pos d"]:
        """The activation after its steps."""
        if self.strength == 0:
            return activation
        check_width(len(self.layers[0].weight), activation, at)
        return change_within(activation, first_pos, self.ranges, self._moved)

    def _moved(self, x: Float[Tensor, "batch some d"]) -> Float[Tensor, "batch some d"]:
        for step in range(self.n_steps):
            x = x - self.strength * self.gamma**step * self.gradient(x)
        return x

    def gradient(self, x: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
        """∇J at each row, by the chain rule written out."""
        weights = [(w.to(x.device), b.to(x.device)) for w, b in self._weights]
        fires: list[Tensor] = []
        values = x
        for w, b in weights[:-1]:
            values = values @ w + b
            fires.append(values > 0)
            values = values.relu()
        slope = weights[-1][0] @ self._wanted.to(x.device)
        for (w, _), active in zip(reversed(weights[:-1]), reversed(fires), strict=True):
            slope = (slope * active) @ w.T
        return slope.expand_as(x)

    def recipe(self) -> Recipe:
        """Plain JSON with the classifier itself, or with its digest where it is on the shelf."""
        own = {"source": self.source} if self.source else {"layers": [_layer_recipe(one) for one in self.layers]}
        return {
            "kind": self.kind,
            "at": str(self.at),
            **own,
            "targets": list(self.targets),
            "avoided": list(self.avoided),
            "strength": self.strength,
            "n_steps": self.n_steps,
            "gamma": self.gamma,
            "ranges": [list(one) for one in self.ranges],
        }

    @classmethod
    def from_recipe(cls, recipe: Recipe) -> "GradientStep":
        """The intervention that a recipe describes."""
        source = str(recipe.get("source", ""))
        layers = layers_from_shelf(source) if source else tuple(_read_layer(one) for one in recipe["layers"])
        for before, after in pairwise(layers):
            if len(before.bias) != len(after.weight):
                raise ValueError("the classifier's layers do not fit each other")
        targets, avoided = (tuple(read_position(one) for one in recipe[name]) for name in ("targets", "avoided"))
        if max((*targets, *avoided), default=0) >= len(layers[-1].bias):
            raise ValueError("the classifier has no such label")
        return cls(
            HookPoint.parse(recipe["at"]),
            layers,
            targets,
            avoided,
            read_number(recipe["strength"]),
            min(read_position(recipe["n_steps"]), 1000),
            read_number(recipe["gamma"]),
            read_ranges(recipe["ranges"]),
            source,
        )


def layers_from_shelf(digest: str) -> tuple[Layer, ...]:
    """The classifier of a digest on the shelf; raises UserError where it is not there."""
    one = find_shelved("vectors", digest)
    return _held_layers(str(one.folder), one.digest)


@lru_cache(maxsize=4)
def _held_layers(folder: str, _digest: str) -> tuple[Layer, ...]:
    layers = layers_of(read_vectors(Path(folder)))
    if not layers:
        raise UserError("These vectors have no classifier.", "Fit them by K-steering.")
    return layers


def _layer_recipe(layer: Layer) -> Recipe:
    return {"weight": [direction_text(row) for row in layer.weight], "bias": direction_text(layer.bias)}


def _read_layer(given: Recipe) -> Layer:
    layer = Layer(tuple(read_direction(row) for row in given["weight"]), read_direction(given["bias"]))
    if {len(row) for row in layer.weight} != {len(layer.bias)}:
        raise ValueError("a layer of the classifier does not fit its bias")
    return layer


def train_classifier(spool: RowSpool, n_labels: int, options: Options) -> list[tuple[Tensor, Tensor]]:
    """Weights [in out] and biases of g, trained by Adam on rows divided by their mean length, which is folded back."""
    hidden, draw = int(options["hidden"]), torch.Generator().manual_seed(int(options["seed"]))
    sizes = (spool.width, hidden, hidden, n_labels)
    layers = [
        (
            (torch.randn(n_in, n_out, generator=draw) * (2 / n_in) ** 0.5).requires_grad_(),
            torch.zeros(n_out).requires_grad_(),
        )
        for n_in, n_out in pairwise(sizes)
    ]
    scale = spool.mean_norm / spool.width**0.5
    optimiser = torch.optim.Adam([one for layer in layers for one in layer], lr=float(options["learning_rate"]))
    for _ in range(int(options["n_epochs"])):
        for rows, labels in spool.batches(256):
            scores = _scores(layers, rows / scale)
            wanted = torch.nn.functional.one_hot(labels, n_labels).float()
            loss = torch.nn.functional.binary_cross_entropy_with_logits(scores, wanted)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    first, bias = layers[0]
    folded = [(first / scale, bias), *layers[1:]]
    return [(weight.detach(), one.detach()) for weight, one in folded]


def _scores(layers: Sequence[tuple[Tensor, Tensor]], x: Float[Tensor, "rows d"]) -> Float[Tensor, "rows labels"]:
    for weight, bias in layers[:-1]:
        x = (x @ weight + bias).relu()
    return x @ layers[-1][0] + layers[-1][1]


def fit(
    session: ModelSession, contrast: Contrast, at: Sequence[HookPoint], options: Options, progress: Progress
) -> Fitted:
    """One classifier at one hook point; its vector there is the mean step towards the first label."""
    if len(at) != 1:
        raise UserError(f"K-steering acts at one layer; {len(at)} were given.", "Name one of them.")
    with spooled(session, contrast, at, RowsAsked.of(options), progress) as spools:
        return fit_spool(at[0], spools[at[0]], contrast, options)


def fit_spool(point: HookPoint, spool: RowSpool, contrast: Contrast, options: Options) -> Fitted:
    """The classifier of these rows, and the mean step it asks for."""
    layers = train_classifier(spool, len(contrast.labels), options)
    tensors = {f"{name}_{n}": one for n, layer in enumerate(layers) for name, one in zip("Wb", layer, strict=True)}
    draft = Fitted("k_steering", {}, {point: spool.mean_norm}, {}, tensors)
    step = GradientStep(point, layers_of(draft), (0,), tuple(range(1, len(contrast.labels))))
    total, norm, n_right = torch.zeros(spool.width), 0.0, 0
    for rows, labels in spool.batches():
        gradient = step.gradient(rows)
        total, norm = total - gradient.sum(dim=0), norm + float(gradient.norm(dim=1).sum())
        n_right += int((_scores(layers, rows).argmax(dim=1) == labels).sum())
    facts = {"mean_gradient_norm": norm / spool.n_rows, "training_accuracy": n_right / spool.n_rows}
    return Fitted("k_steering", {point: total / spool.n_rows}, draft.mean_norms, facts, tensors)


def layers_of(fitted: Fitted) -> tuple[Layer, ...]:
    """The classifier of a fit as an intervention holds it."""
    n_layers = len(fitted.tensors) // 2
    return tuple(
        Layer(
            tuple(tuple(row) for row in fitted.tensors[f"W_{n}"].tolist()),
            tuple(fitted.tensors[f"b_{n}"].tolist()),
        )
        for n in range(n_layers)
    )


def apply(fitted: Fitted, setting: Setting) -> tuple[GradientStep, ...]:
    """A step towards the first label and away from the others; relative strength goes by the mean gradient's length."""
    ((at, norm),) = fitted.mean_norms.items()
    layers = layers_of(fitted)
    scale = norm / fitted.facts["mean_gradient_norm"] if setting.unit == "relative" else 1.0
    avoided = tuple(range(1, len(layers[-1].bias)))
    return (GradientStep(at, layers, (0,), avoided, setting.strength * scale, ranges=setting.ranges),)


METHOD = Method(
    slug="k_steering",
    title="K-steering",
    paper="Oozeer et al. 2025, arXiv 2505.24535",
    needs="classes",
    fitted_by="a small classifier of the labels, whose gradient is followed",
    apply=apply,
    fit=fit,
    options=(*row_options("all"), HIDDEN, N_EPOCHS, RATE, SEED),
    sites=("resid_post", "resid_pre"),
)

OPERATOR = GradientStep
