"""A trained controller as a change of a view: it reads the prompt once, and patches what is generated after it."""

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from capture.errors import UserError
from capture.hook_point import HookPoint
from capture.intervention import Intervention, Recipe
from capture.recipe_number import read_number, read_position
from capture.session import ModelSession
from steering.controller import Controller, decide, patches
from steering.controller_folder import shelved_controller
from steering.controller_recipe import OUTPUTS, UNITS


@dataclass(frozen=True)
class SteerByController:
    """The controller of a digest on the shelf, at a strength; what it does is known once the prompt is."""

    controller: str
    """Digest; a changed controller has another."""
    layers: tuple[int, ...]
    """The blocks that it patches."""
    strength: float = 1.0
    """α, in its unit."""
    unit: str = "relative"
    output: str = "raw"
    is_muted: bool = False
    is_solo: bool = False

    kind = "controller"

    def hook_points(self) -> tuple[HookPoint, ...]:
        """Where it may act."""
        return tuple(HookPoint(layer, "resid_post") for layer in self.layers)

    def __call__(
        self, activation: Float[Tensor, "batch pos d"], at: HookPoint, first_pos: int
    ) -> Float[Tensor, "batch pos d"]:
        """The activation where strength is 0; otherwise it must be bound to a prompt first."""
        if self.strength == 0:
            return activation
        raise ValueError("a controller acts once it is bound to a prompt")

    def bound_to(self, session: ModelSession, prompt: Sequence[int]) -> tuple[Intervention, ...]:
        """s · w_l · α · d_l at each block, behind the prompt; s and w are read on a clean run of it.

        Raises UserError where no such controller is on the shelf, or where it is of another model.
        """
        if self.strength == 0:
            return ()
        one, controller = shelved_controller(self.controller)
        if self.layers != controller.layers:
            said, true = (", ".join(map(str, layers)) or "none" for layers in (self.layers, controller.layers))
            raise UserError(
                f"The recipe says that the controller {one.name} patches blocks {said}; it patches {true}.",
                "Add the controller anew.",
            )
        decision = decide(controller, session, prompt, self.output)
        return patches(controller, decision, len(prompt), self.strength, self.unit)

    def recipe(self) -> Recipe:
        """Plain JSON with the digest."""
        return {
            "kind": self.kind,
            "controller": self.controller,
            "layers": list(self.layers),
            "strength": self.strength,
            "unit": self.unit,
            "output": self.output,
            "is_muted": self.is_muted,
            "is_solo": self.is_solo,
        }

    @classmethod
    def from_recipe(cls, recipe: Recipe) -> "SteerByController":
        """The change that a recipe describes."""
        digest, unit, output = recipe["controller"], recipe["unit"], recipe["output"]
        if not isinstance(digest, str) or unit not in UNITS or output not in OUTPUTS:
            raise ValueError("the controller, its unit or its output is none")
        return cls(
            digest,
            tuple(read_position(layer) for layer in recipe["layers"]),
            read_number(recipe["strength"]),
            unit,
            output,
            recipe.get("is_muted") is True,
            recipe.get("is_solo") is True,
        )


def change_by(digest: str, controller: Controller, strength: float | None = None) -> SteerByController:
    """The change that a controller makes as it was trained, or at another strength."""
    return SteerByController(
        digest,
        controller.layers,
        controller.alpha if strength is None else strength,
        controller.unit,
        controller.output,
    )


OPERATOR = SteerByController
