"""The step of a recipe, found among the operators: see steering/recipe.py."""

from steering.recipe import Step

OPERATOR = Step
