"""What the steering lab's Add menu offers: one module each, found by discovery.

A module has `TITLE`, `ORDER` and `draw(asked)`, which draws its widgets and calls `ui.changes.add_change` with a
recipe.
"""

import importlib
import pkgutil
from functools import cache
from types import ModuleType


@cache
def adders() -> tuple[ModuleType, ...]:
    """Every module of this package that adds something, in their order."""
    found = [importlib.import_module(f"{__name__}.{one.name}") for one in pkgutil.iter_modules(__path__)]
    return tuple(sorted((one for one in found if hasattr(one, "draw")), key=lambda one: (one.ORDER, one.TITLE)))
