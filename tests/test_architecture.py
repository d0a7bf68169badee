"""The house rules that parsing the sources can keep: who may import whom, sizes, names."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

MAY_IMPORT = {
    "app.py": {"ui"},
    "cli.py": {"analysis", "steering", "sae", "capture", "data"},
    "ui": {"analysis", "steering", "sae", "capture"},
    "steering": {"sae", "capture"},
    "analysis": {"sae", "capture", "kernels"},
    "sae": {"kernels", "capture"},
    "capture": set(),
    "kernels": set(),
    "data": {"analysis", "capture"},
}
"""Rooms and which of ours each may import besides itself."""
WITHOUT_STREAMLIT = {"ui.figures", "ui.figure_files", "ui.view_html", "ui.view_export"}
"""Modules of the interface that only draw, which the command line may import: an export is the page's own pictures."""
ONLY_IN = {
    "streamlit": r"app\.py|ui/.*",
    "typer": r"cli\.py|\w+/(\w+_)?commands\.py",
    "duckdb": r"capture/store\w*\.py",
    "transformer_lens": r"capture/.*",
    "triton": r"kernels/\w+_triton\.py",
}
NEVER_AT_IMPORT_TIME = {"transformer_lens", "sae_lens", "transformers"}
"""Seconds to import: only inside functions, so that the first view is there at once."""
VAGUE_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "core"}
TOP_LEVEL = {
    "app.py",
    "cli.py",
    "Makefile",
    "pyproject.toml",
    "requirements.txt",
    "requirements-dev.txt",
    "requirements-peers.txt",
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "LICENSE",
    "Dockerfile",
    "compose.yaml",
    *("ui", "capture", "analysis", "sae", "steering", "kernels", "benchmarks", "tests", "data"),
}
MADE_BY_TOOLS = {"__pycache__", "runs", "test-results"}


@dataclass(frozen=True)
class Import:
    """One imported module, where, and whether it happens when the file is imported or only for the type checker."""

    name: str
    where: str
    at_import_time: bool
    for_types: bool

    @property
    def top(self) -> str:
        return self.name.partition(".")[0]


def python_files(*folders: str) -> list[Path]:
    """Our Python files in these top-level folders and files, sorted."""
    starts = [ROOT / folder for folder in folders]
    found = [path for start in starts for path in ([start] if start.is_file() else start.rglob("*.py"))]
    return sorted(path for path in found if path.is_file())


@cache
def imports_of(path: Path) -> list[Import]:
    """Every import statement of a file."""
    return list(_imports(ast.parse(path.read_text("utf-8")), path, at_import_time=True, for_types=False))


def _imports(node: ast.AST, path: Path, at_import_time: bool, for_types: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        names = []
        if isinstance(child, ast.Import):
            names = [alias.name for alias in child.names]
        if isinstance(child, ast.ImportFrom):
            names = [f"{child.module or ''}"] if child.level == 0 else [path.relative_to(ROOT).parts[0]]
        where = f"{path.relative_to(ROOT)}:{getattr(child, 'lineno', 0)}"
        yield from (Import(name, where, at_import_time and not for_types, for_types) for name in names)
        in_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        typing_only = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
        yield from _imports(child, path, at_import_time and not in_function, for_types or typing_only)


PRODUCT = python_files(*MAY_IMPORT)
EVERYTHING = python_files(*MAY_IMPORT, "benchmarks", "tests")


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_imports_only_the_rooms_below_it(room):
    ours = {name.removesuffix(".py") for name in MAY_IMPORT} | {"benchmarks", "tests"}
    allowed = MAY_IMPORT[room] | {room}
    found = [one for path in python_files(room) for one in imports_of(path)]
    wrong = [one for one in found if one.top in ours - allowed]
    wrong = [one for one in wrong if (room, one.name) not in {("cli.py", name) for name in WITHOUT_STREAMLIT}]
    assert wrong == []


@pytest.mark.parametrize("library", ONLY_IN)
def test_a_library_is_imported_only_where_it_belongs(library):
    found = [one for path in PRODUCT for one in imports_of(path) if one.top == library]
    assert [one for one in found if not re.fullmatch(ONLY_IN[library], one.where.partition(":")[0])] == []


def test_of_the_benchmarks_only_the_visitor_that_speaks_the_browsers_protocol_imports_streamlit():
    found = [one for path in python_files("benchmarks") for one in imports_of(path) if one.top == "streamlit"]
    assert {one.where.partition(":")[0] for one in found} == {"benchmarks/app_client.py"}
    assert [one for one in found if not one.name.startswith("streamlit.proto.")] == []


def test_slow_libraries_are_imported_inside_functions():
    found = [one for path in PRODUCT for one in imports_of(path)]
    assert [one for one in found if one.top in NEVER_AT_IMPORT_TIME and one.at_import_time] == []


def test_kernels_package_imports_nothing_because_transformers_probes_for_its_name():
    assert [one for path in python_files("kernels/__init__.py") for one in imports_of(path)] == []


def test_every_library_we_import_is_pinned():
    runtime, dev, peers = (_pinned(f"requirements{name}.txt") for name in ("", "-dev", "-peers"))
    ours = {path.name for path in ROOT.iterdir() if path.is_dir()} | {"app", "cli"}
    distribution = packages_distributions()
    missing = []
    for path in EVERYTHING:
        known = runtime if path in PRODUCT else runtime | dev
        known = known | peers if path.parent == ROOT / "tests" / "peers" else known
        for one in imports_of(path):
            if one.top not in ours | set(sys.stdlib_module_names) | {"__future__"}:
                names = {_normal(name) for name in distribution.get(one.top, [one.top])}
                missing += [] if names & known else [one]
    assert missing == []


def test_every_requirement_is_an_exact_version():
    lines = [line for name in ("", "-dev", "-peers") for line in _requirements(f"requirements{name}.txt")]
    assert [line for line in lines if not re.match(r"-r requirements\.txt$|[\w.-]+==[\w.]+(;.*)?$", line)] == []


def _requirements(name: str) -> list[str]:
    lines = (ROOT / name).read_text("utf-8").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def _pinned(name: str) -> set[str]:
    return {_normal(line.partition("==")[0]) for line in _requirements(name) if "==" in line}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_no_module_has_a_vague_name():
    parts = {part for path in EVERYTHING for part in path.relative_to(ROOT).with_suffix("").parts}
    assert parts & VAGUE_NAMES == set()


def test_the_top_level_holds_what_the_architecture_names():
    found = {path.name for path in ROOT.iterdir() if not path.name.startswith(".")}
    assert found - TOP_LEVEL - MADE_BY_TOOLS == set()


def test_files_stay_short():
    limits = dict.fromkeys(PRODUCT, 300) | dict.fromkeys(python_files("ui/pages"), 150) | {ROOT / "app.py": 50}
    lengths = {path: len(path.read_text("utf-8").splitlines()) for path in limits if path.is_file()}
    too_long = {str(path.relative_to(ROOT)): n for path, n in lengths.items() if n > limits[path]}
    assert too_long == {}


def test_functions_have_at_most_60_lines():
    functions = [
        (path.relative_to(ROOT), node)
        for path in EVERYTHING
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    assert [f"{path}: {node.name}" for path, node in functions if node.end_lineno - node.lineno >= 60] == []


def test_session_state_and_query_parameters_are_touched_only_in_ui_state():
    """Attributes of streamlit itself; a test may drive an AppTest's own."""
    found = []
    for path in PRODUCT:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Attribute) and ast.unparse(node) in {"st.session_state", "st.query_params"}:
                found.append(str(path.relative_to(ROOT)))
    assert set(found) <= {"ui/state.py"}


def test_figures_and_exports_are_made_without_streamlit():
    code = f"import sys, {', '.join(sorted(WITHOUT_STREAMLIT))}; ui.figures.figure_modules()"
    loaded = f"{code}; sys.exit(bool({{'streamlit', 'plotly', 'kaleido'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", loaded], cwd=ROOT, check=False).returncode == 0


def test_importing_the_command_line_does_not_load_torch():
    command = [
        sys.executable,
        "-c",
        "import cli, sys; print(sorted({'torch', 'streamlit', 'duckdb'} & set(sys.modules)))",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
