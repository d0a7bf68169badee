"""Writing what a person asked for to the file that they named."""

import os
from pathlib import Path

from capture.errors import UserError


def write_file(path: Path, data: bytes) -> None:
    """Write the file, and the folders on the way to it; raises UserError where that cannot be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error}.", "Name a file in a folder you may write to.") from error


def replace_file(path: Path, data: bytes) -> None:
    """Write the file whole or not at all; raises UserError where that cannot be."""
    part = path.with_name(f"{path.name}.part")
    write_file(part, data)
    os.replace(part, path)


def make_folder(folder: Path) -> None:
    """Make the folder and those on the way to it; raises UserError where that cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder} cannot be a folder: {error}.", "Name a folder that you may write to.") from error
