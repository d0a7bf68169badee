"""Labelled prompts from a file: our own layouts, and those of other projects; the one door to all of them."""

import importlib
import io
import json
import pkgutil
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from capture.errors import UserError
from sae.labelled_texts import read_labelled
from steering.contrast_pairs import MAX_FILE_BYTES, Contrast, Example, bundled_sets, contrast_of, read_contrast

FOLDER = Path(__file__).resolve().parent.parent / "data" / "prompts"
ROW_LAYOUTS = (".jsonl", ".json", ".parquet")
TAB_LAYOUTS = (".tsv", ".txt")
LAYOUTS = (".csv", *ROW_LAYOUTS, *TAB_LAYOUTS)


@cache
def prompt_formats() -> dict[str, ModuleType]:
    """Every format of another project. A module has NAME, TITLE, `is_mine(data)` and `read(data, path)`."""
    package = importlib.import_module("steering.prompt_formats")
    names = sorted(one.name for one in pkgutil.iter_modules(package.__path__))
    modules = [importlib.import_module(f"steering.prompt_formats.{name}") for name in names]
    return {module.NAME: module for module in modules}


def bundled_prompts() -> dict[str, Path]:
    """The sets of prompts that come with the program, by name."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.json"))}


def read_prompts(path: Path) -> Contrast:
    """The labelled prompts in a file, or of a bundled name; raises UserError for what has none.

    Layouts of other projects are told by their columns, whatever the file is called; texts that occur twice with one
    label count once. A .tsv or .txt is read as `sae.labelled_texts.read_labelled` reads it, any other file as
    `steering.contrast_pairs.read_contrast` does.
    """
    if not path.suffix and str(path) in bundled_prompts():
        path = bundled_prompts()[str(path)]
    if path.suffix not in LAYOUTS and str(path) not in bundled_sets():
        raise UserError(
            f"{path.name[:60]} is neither a bundled set of prompts nor a file of labelled ones.",
            f"Bundled are {', '.join(bundled_prompts())}; files end in {', '.join(LAYOUTS)}.",
        )
    if path.suffix in TAB_LAYOUTS:
        found = read_labelled(path)
        return _contrast(path, list(zip(found.texts, found.labels, strict=True)))
    if path.suffix in ROW_LAYOUTS and path.is_file():
        data = _data(path)
        for module in prompt_formats().values():
            if module.is_mine(data):
                return _contrast(path, _rows(module, data, path))
    return read_contrast(path)


def _rows(module: ModuleType, data: Any, path: Path) -> list[tuple[str, str]]:
    try:
        rows: list[tuple[str, str]] = module.read(data, path)
    except (KeyError, TypeError, ValueError, AttributeError, OSError) as error:
        raise UserError(
            f"{path.name} looks like {module.TITLE}, and cannot be read: {repr(error)[:120]}.", "Get the file again."
        ) from error
    return rows


def _contrast(path: Path, rows: list[tuple[str, str]]) -> Contrast:
    unique = dict.fromkeys((text, label) for text, label in rows if text.strip())
    examples = [Example(text, label) for text, label in unique]
    return contrast_of(path.stem, tuple(dict.fromkeys(label for _, label in unique)), examples, is_paired=False)


def _data(path: Path) -> Any:
    """What the file holds, as rows or as plain JSON; None where it is neither, which `read_contrast` says better."""
    if path.stat().st_size > MAX_FILE_BYTES:
        return None
    if path.suffix == ".parquet":
        return _parquet(path)
    try:
        text = path.read_text("utf-8-sig")
        if path.suffix == ".jsonl":
            return [json.loads(line) for line in io.StringIO(text) if line.strip()]
        return json.loads(text)
    except (OSError, ValueError, RecursionError):
        return None


def _parquet(path: Path) -> Any:
    import pyarrow
    import pyarrow.parquet

    try:
        return pyarrow.parquet.read_table(path).to_pylist()
    except (OSError, pyarrow.ArrowException) as error:
        raise UserError(f"{path.name} cannot be read: {str(error)[:120]}.", "Get the file again.") from error
