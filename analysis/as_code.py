"""A view as code: a Python script and a command line that make its Reports again.

A Spec may come from a stranger's link, so whatever it holds is quoted, and only what its lens declares is spelled out
as a flag. Pins and the fingerprint are left out: the numbers are those of the model that is there.
"""

import importlib
import pprint
import shlex
from collections.abc import Mapping
from dataclasses import fields
from textwrap import indent
from typing import Any

from analysis.link import read_link
from analysis.option import Option
from analysis.spec import Spec, to_code

WIDTH = 100
NOT_ASKED = ("pins", "fingerprint", "version")
STEP, RECIPE_CODE = "step", "steering.recipe_code"

HEAD = '''\
"""{title}. Run it with Python in the folder of Steerscope, where its requirements are installed."""

from analysis.pipeline import run
from analysis.spec import Spec
from capture.models import load_session
{imports}
'''
BODY = """\
report = run(spec, load_session, {store}).report
for finding in report.findings:
    print(finding.sentence)
print("numbers", report.digest())
"""


def python_script(spec: Spec) -> str:
    """A Python script that prints the findings of a view and the digest of each of its Reports.

    Raises UserError where an option is refused.
    """
    from analysis.lens import find_lens

    asked = asked_of_lenses(spec)
    needs_store = any(map(names_kept_view, asked))
    title = " and ".join(find_lens(one.lens).title for one in asked)
    imports = "from capture.store import ActivationStore\n" if needs_store else ""
    recipe = _recipe_code(spec)
    imports += "".join(f"{line}\n" for line in recipe.imports) if recipe else ""
    body = BODY.format(store="ActivationStore.open()" if needs_store else "store=None")
    if len(asked) == 1:
        body = f"spec = {_construction(asked[0], has_recipe=recipe is not None)}\n{body}"
    else:
        specs = "".join(f"{_construction(one, has_recipe=recipe is not None)},\n" for one in asked)
        body = f"for spec in [\n{indent(specs, '    ')}]:\n{indent(body, '    ')}"
    before = f"recipe = {recipe.expression}\n" if recipe else ""
    return HEAD.format(title=title, imports=imports) + before + body


def _recipe_code(spec: Spec) -> Any:
    """The list of changes as Python, where steps of the steering lab are among them; None where none is."""
    if not any(one.get("kind") == STEP for one in spec.interventions):
        return None
    # The room above this one, known by its name alone, as operators are.
    return importlib.import_module(RECIPE_CODE).recipe_code(spec.interventions)


def cli_line(spec: Spec) -> str:
    """The command line that makes the Reports of a view, quoted for a POSIX shell; raises as `python_script` does.

    What no flag can say (interventions, characters that do not print) is said by the view's code instead.
    """
    return " && ".join(map(_command, asked_of_lenses(spec)))


def asked_of_lenses(spec: Spec) -> tuple[Spec, ...]:
    """What a view asks of each lens: one Spec, or one for every lens where its page is none of them.

    Options at their defaults are left out, and so is what the numbers do not depend on.
    """
    from analysis.lens import find_lens, known_lenses, unasked_lenses

    plain = spec.with_(pins={}, fingerprint="")
    if spec.lens not in known_lenses():
        return tuple(plain.with_(lens=slug, options={}) for slug in unasked_lenses())
    return (plain.with_(options=_changed(find_lens(spec.lens).options, spec.options)),)


def names_kept_view(spec: Spec) -> bool:
    """Whether a side of a comparison is a short link, which only the store that made it can open."""
    from analysis.lens import ReportLens, find_lens

    lens = find_lens(spec.lens)
    sides = lens.sides if isinstance(lens, ReportLens) else ()
    return any(read_link(text).id for side in sides if (text := str(spec.options.get(side, ""))).strip())


def _changed(options: tuple[Option, ...], given: Mapping[str, Any]) -> dict[str, Any]:
    from analysis.option import read_options

    defaults = {option.name: option.default for option in options}
    return {name: value for name, value in read_options(options, given).items() if value != defaults[name]}


def _construction(spec: Spec, *, has_recipe: bool = False) -> str:
    """The Spec as Python: only the fields that differ from their defaults; the changes may stand in `recipe`."""
    default = Spec(spec.lens)
    lines = ["Spec("]
    for field in fields(spec):
        value = getattr(spec, field.name)
        if field.name == "interventions" and has_recipe:
            lines.append("    interventions=tuple(recipe),")
        elif field.name not in NOT_ASKED and (field.name == "lens" or value != getattr(default, field.name)):
            literal = pprint.pformat(_plain(value), width=WIDTH - 12 - len(field.name), sort_dicts=False)
            lines.append(f"    {field.name}={literal.replace(chr(10), chr(10) + ' ' * (5 + len(field.name)))},")
    return "\n".join([*lines, ")"])


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    return tuple(_plain(one) for one in value) if isinstance(value, tuple) else value


def _command(spec: Spec) -> str:
    from analysis.lens import ReportLens, find_lens

    given = {"model": spec.model} if spec.model != Spec("").model else {}
    if spec.text_set:
        given["text-set"] = spec.text_set
    elif not isinstance(find_lens(spec.lens), ReportLens):
        given["text"] = spec.text
    if spec.dtype != Spec("").dtype:
        given["dtype"] = spec.dtype
    given |= {name.replace("_", "-"): _flag(value) for name, value in spec.options.items()}
    words = [spec.lens, *(f"--{name}={shlex.quote(value)}" for name, value in given.items())]
    words += [] if spec.bos else ["--no-bos"]
    if spec.interventions or not "".join(words).isprintable():
        words = ["--view", to_code(spec)]
    return " ".join(["python cli.py run", *words, *(["--store"] if names_kept_view(spec) else [])])


def _flag(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
