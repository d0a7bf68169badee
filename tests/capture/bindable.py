"""A small change that depends on the prompt, for tests of binding."""

from dataclasses import dataclass

from capture.hook_point import HookPoint
from capture.intervention import AddVector


@dataclass(frozen=True)
class AddFromEnd:
    """Adds a vector from `shift` after the end of the prompt on; nothing on prompts shorter than `least`."""

    at: HookPoint
    vector: tuple[float, ...]
    strength: float = 1.0
    shift: int = 0
    least: int = 0
    is_muted: bool = False
    is_solo: bool = False

    def hook_points(self):
        return (self.at,)

    def __call__(self, activation, at, first_pos):
        raise ValueError("bind it to a prompt first")

    def bound_to(self, session, prompt):
        if len(prompt) < self.least:
            return ()
        return (AddVector(self.at, self.vector, self.strength, len(prompt) + self.shift),)

    def recipe(self):
        return {"kind": "add_from_end", "strength": self.strength, "shift": self.shift, "least": self.least}
