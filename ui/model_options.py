"""Options that belong to one model, such as its SAE: what they were settled to, and letting go of them."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analysis.report import Report


def settled_options(report: "Report", slug: str) -> dict[str, Any]:
    """What the model decided of a page's options, where the Report is of its lens."""
    from analysis.lens import find_lens

    if report.spec.lens != slug:
        return {}
    return {one.name: report.spec.options[one.name] for one in find_lens(slug).options if one.is_of_model}


def without_model_options(chosen: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The options by lens, without those that belong to the model from before."""
    from analysis.lens import lenses

    of_model = {lens.slug: {one.name for one in lens.options if one.is_of_model} for lens in lenses().values()}
    return {
        slug: {name: value for name, value in options.items() if name not in of_model.get(slug, ())}
        for slug, options in chosen.items()
    }
