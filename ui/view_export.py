"""A view out of a link or a file, and into files: what the command line's export-view and open-view do."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from analysis.lens import Progress
from analysis.link import read_link
from analysis.pipeline import Load
from analysis.tables import data_zip
from analysis.view_file import SUFFIX, ViewFile
from analysis.whole_view import view_of_link
from capture.errors import UserError
from capture.store import ActivationStore
from capture.written_file import write_file
from ui.figure_files import figure_files
from ui.view_html import view_html, view_of_bytes

PAGES = (".html", ".htm")

OpenStore = Callable[[], AbstractContextManager[ActivationStore]]


def view_named(name: str, load: Load, open_store: OpenStore, progress: Progress) -> ViewFile:
    """The view in a file, of a link, or kept under a short id; the store is opened only for an id."""
    if is_view_path(name):
        return view_of_path(Path(name))
    link = read_link(name)
    with open_store() if link.id else nullcontext() as store:
        return view_of_link(link, load, store, progress)


def is_view_path(text: str) -> bool:
    """Whether a person named a file rather than a link."""
    return "://" not in text and Path(text).suffix.lower() in (SUFFIX, *PAGES)


def view_of_path(path: Path) -> ViewFile:
    """The view in a view file or in an exported page."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.", "Name a .steerscope or .html file.") from error
    return view_of_bytes(data)


def view_lines(view: ViewFile) -> list[str]:
    """A view in a few lines: its id, what it is of, and its findings."""
    about = view.reports[0].facts
    of = f"{about.get('model')} {about.get('fingerprint')}, {about.get('n_tokens')} tokens"
    found = sorted((one for report in view.reports for one in report.findings), key=lambda one: -one.score)
    return [f"{view.id}  {view.spec.lens}", *(one.sentence for one in found), of]


def export(
    make: Callable[[], ViewFile],
    html: Path | None = None,
    data: Path | None = None,
    figures: Path | None = None,
    file: Path | None = None,
) -> list[str]:
    """Write the view to the files that are named, and return a line on each; it is made once it is known where to."""
    wanted: list[tuple[Path | None, Callable[[ViewFile], bytes]]] = [
        (html, lambda view: view_html(view).encode()),
        (data, data_zip),
        (file, ViewFile.to_bytes),
    ]
    if figures is None and all(path is None for path, _ in wanted):
        raise UserError("Where to write must be said; nothing was.", "Use --html, --data, --figures or --file.")
    view = make()
    lines = [_write(path, bytes_of(view)) for path, bytes_of in wanted if path is not None]
    if figures is not None:
        lines += [_write(figures / name, drawn) for name, drawn in figure_files(view).items()]
    return lines


def _write(path: Path, data: bytes) -> str:
    write_file(path, data)
    return f"{path}  {len(data):,} bytes"
