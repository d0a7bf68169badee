"""What is on the shelf for elsewhere: vectors as they are stored in the formats of other tools, and whole folders."""

from capture.errors import UserError
from steering.bundle import zipped
from steering.shelf import Shelved, files_of
from steering.shelf_step import is_direction
from steering.vector_file import VectorFile
from steering.vector_folder import read_vectors


def vector_file_of(one: Shelved, family: str = "", n_layers: int = 0) -> VectorFile:
    """The vectors of a folder on the shelf; `family` and `n_layers` are those of their model, where it is known.

    Raises UserError for what is no direction that is added: rows, masks, classifiers, conditions.
    """
    if one.kind != "vectors" or not is_direction(one):
        method = str(one.manifest.get("method") or one.kind).replace("_", " ")
        raise UserError(
            f"{one.name} is of {method}: no file of vectors that are added can carry it.", "Share its folder instead."
        )
    fitted = read_vectors(one.folder)
    known = {name: fitted.facts.get(name) for name in ("family", "n_layers", "model")}
    blocks = known["n_layers"] if isinstance(known["n_layers"], int) else 0
    return VectorFile(
        fitted.vectors,
        one.name,
        str(known["model"] or ""),
        family or str(known["family"] or ""),
        n_layers or blocks,
        dict(fitted.facts),
    )


def folder_zip(one: Shelved) -> bytes:
    """All files of a folder on the shelf in one archive, which `import` reads; equal folders give equal bytes."""
    return zipped({name: path.read_bytes() for name, path in files_of(one.folder)})
