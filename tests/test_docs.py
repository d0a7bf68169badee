"""README and CONTRIBUTING say what is there: tables, commands, the notebook example, links, skips."""

import re
import shlex
from pathlib import Path

import pytest

import cli
from analysis.lens import known_lenses
from analysis.report import REPORT_VERSION
from analysis.spec import SPEC_VERSION
from capture.intervention import operators
from capture.models import catalogue
from capture.store_views import VIEWS
from sae.formats import openai
from sae.library import FOLDER_FORMATS, WRITERS
from steering import concepts, hypernetwork_folder
from steering.bundle import BUNDLE_VERSION, RECIPE_VERSION
from steering.method import NEEDS, methods
from steering.proxies import PROXIES
from steering.vector_file import formats
from steering.vector_folder import SCHEMA_VERSION
from tests.models import FAMILIES

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text("utf-8")


def rows(heading: str) -> list[list[str]]:
    """Cells of the table under a README heading, without its head."""
    section = README.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def first_cells(heading: str) -> list[str]:
    return [row[0].strip("`") for row in rows(heading)]


def fenced(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


COMMAND_LINES = [line for block in fenced("bash") for line in block.splitlines() if line.startswith("python cli.py ")]
CLI_COMMANDS = [command.name or command.callback.__name__.replace("_", "-") for command in cli.app.registered_commands]
CLI_COMMANDS += [
    f"{group.name} {command.name}"
    for group in cli.app.registered_groups
    for command in group.typer_instance.registered_commands
]


def test_the_lens_table_has_every_lens_and_option_with_its_values():
    wanted = []
    for lens in known_lenses().values():
        for option in lens.options:
            others = [choice for choice in option.choices if choice != option.default]
            values = ", ".join(f"`{value}`" for value in [option.default, *others])
            if option.default == "":
                values = "text"
            if option.minimum is not None:
                values += f" ({option.minimum:g} to {option.maximum:g})"
            wanted.append([f"`{lens.slug}`", lens.question, f"`--{option.name.replace('_', '-')}`", values])
    assert rows("Lenses") == wanted


def test_the_model_table_has_every_bundled_model():
    names = {cell for cell in first_cells("Models") if cell not in ("a folder", "a hub name") and "@" not in cell}
    assert names == {card.name for card in catalogue()}


def test_the_command_table_has_every_command_and_target():
    targets = re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    wanted = [f"python cli.py {name}" for name in CLI_COMMANDS]
    wanted += [f"make {name}" for name in targets if name != "help"]
    assert first_cells("Commands") == wanted


def test_the_table_of_changes_has_every_kind_of_intervention():
    assert first_cells("Changes that a view can carry") == [operator.kind for operator in operators()]


def test_the_table_of_steering_methods_has_every_one_as_it_says_of_itself():
    wanted = [[f"`{one.slug}`", NEEDS[one.needs], one.fitted_by, one.paper] for one in methods().values()]
    assert rows("Steering methods") == wanted


def test_the_table_of_steering_scores_has_every_one_with_its_formula():
    assert rows("Steering scores") == [[one.label, one.unit, one.formula, one.source] for one in PROXIES]


def test_the_format_table_has_the_versions_that_are_written():
    versions = {row[0].partition(":")[0]: row[-1] for row in rows("Formats")}
    assert versions["Spec"] == str(SPEC_VERSION)
    assert versions["Report"] == str(REPORT_VERSION)
    assert versions["steering vectors"] == str(SCHEMA_VERSION)
    assert versions["concept set"] == str(concepts.SCHEMA_VERSION)
    assert versions["hypernetwork"] == str(hypernetwork_folder.SCHEMA_VERSION)
    assert versions["bundle"] == str(BUNDLE_VERSION)
    assert versions["recipe"] == str(RECIPE_VERSION)


def test_the_table_of_vector_formats_has_every_one_with_its_file():
    wanted = {kind: Path(module.FILE).stem.split(".")[0] for kind, module in formats().items()}
    assert {row[0].strip("`"): row[1].strip("`").split(".")[0] for row in rows("To other tools and back")} == wanted


def test_the_kernel_table_has_every_function_that_has_a_reference():
    sources = [path.read_text("utf-8") for path in (ROOT / "kernels").glob("*.py")]
    defined = {name for source in sources for name in re.findall(r"^def (\w+)_reference\(", source, re.MULTILINE)}
    assert {name for cell in first_cells("Kernels") for name in cell.split("`, `")} == defined


def test_the_table_of_sae_layouts_has_every_one_and_says_which_are_written():
    layouts = {module.NAME for module in (*FOLDER_FORMATS, openai)}
    table = {row[0].strip("`"): row[-1].strip(" |") for row in rows("Sparse autoencoders from Python")}
    assert set(table) == layouts
    assert {name for name, written in table.items() if written == "yes"} == set(WRITERS)


def test_the_tables_named_are_those_that_sql_sees():
    named = re.search(r"SQL sees the tables (.*?);", README)[1]
    assert named.split(", ") == list(VIEWS)


def test_the_families_named_are_those_that_are_tested():
    sentence = re.search(r"Families that the tests load: (.*?)\.\s", README, re.DOTALL)[1]
    named = {re.sub(r"[^a-z0-9]", "", name.lower()) for name in sentence.split(",")}
    assert named == {re.sub(r"[^a-z0-9]", "", name) for name in FAMILIES}


@pytest.mark.parametrize("line", COMMAND_LINES)
def test_a_command_in_the_readme_runs(line, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        cli.main(shlex.split(line)[2:])
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    assert printed.strip()
    assert (
        ("Report written to report.json" in printed)
        == (tmp_path / "report.json").is_file()
        == ("--out report.json" in line)
    )


@pytest.mark.parametrize("name", CLI_COMMANDS)
def test_every_command_explains_itself(name, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main([*name.split(), "--help"])
    assert ended.value.code == 0
    assert re.search(rf"Usage: .* {name} ", capsys.readouterr().out)


def test_the_notebook_example_runs_and_finds_something():
    names: dict[str, object] = {}
    (example,) = fenced("python")
    assert len([line for line in example.splitlines() if line]) == 5
    exec(example, names)
    assert names["answer"].report.arrays["max_over_median"].ndim == 2


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md"])
def test_links_inside_the_repository_lead_somewhere(document):
    text = (ROOT / document).read_text("utf-8")
    targets = [target for target in re.findall(r"\]\(([^)]+)\)", text) if "://" not in target]
    assert [target for target in targets if not (ROOT / target).exists()] == []


def test_every_skip_is_listed_with_what_it_needs():
    listed = set(re.findall(r"^\| (tests/\S+\.py) \|", (ROOT / "tests/SKIPS.md").read_text("utf-8"), re.MULTILINE))
    skipping = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "tests").rglob("*.py")
        if path != Path(__file__) and re.search(r"pytest\.skip\(|skipif|importorskip", path.read_text("utf-8"))
    }
    assert listed == skipping
