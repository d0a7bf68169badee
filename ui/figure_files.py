"""A view's figures as SVG and PNG files, drawn by Chromium without a tab and without the network."""

import io
import re
import socket
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from analysis.view_file import ViewFile
from capture.errors import UserError
from ui.figures import pictures_of
from ui.figures.picture import Picture
from ui.view_sections import UNREADABLE

FORMATS = ("svg", "png")
WIDTH_PX = 900
DOTS_PER_PX = 2
LIMIT_S = 120
GROUND = "#FFFFFF"
NO_BROWSER = "Use the SVG and PNG buttons in the page that Export saves as HTML, or install Chromium."


def figure_files(view: ViewFile, formats: Sequence[str] = FORMATS) -> dict[str, bytes]:
    """Every figure of the view by file name, such as outliers-heat.svg.

    Raises UserError where there is no figure, or no Chromium that draws them.
    """
    if unknown := sorted(set(formats) - set(FORMATS)):
        raise UserError(f"A figure is saved as svg or png; {unknown[0][:20]!r} was asked for.", "Choose one of them.")
    named = _named(view)
    if not named:
        raise UserError("This view has no figures.", "Export its data, or the page as HTML.")
    with tempfile.TemporaryDirectory(prefix="steerscope-") as folder:
        paths = {f"{name}.{kind}": (picture, kind) for name, picture in named.items() for kind in formats}
        _draw([_job(picture, kind, Path(folder) / file) for file, (picture, kind) in paths.items()])
        return {file: _read(Path(folder) / file) for file in paths}


def figure_zip(view: ViewFile, formats: Sequence[str] = FORMATS) -> bytes:
    """The figures in one archive."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in figure_files(view, formats).items():
            file.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data)
    return archive.getvalue()


def _named(view: ViewFile) -> dict[str, Picture]:
    """Figures by a file name that no other has."""
    named: dict[str, Picture] = {}
    for report in view.reports:
        pins = view.spec.pins if report.spec.lens == view.spec.lens else {}
        try:
            pictures = pictures_of(report, pins)
        except UNREADABLE as error:
            raise UserError(
                "The figures of this view cannot be drawn: its numbers are not those that this version draws.",
                "Export its data instead.",
            ) from error
        for picture in pictures:
            stem = re.sub(r"[^a-z0-9-]", "-", picture.name.lower())[:60]
            named[stem if stem not in named else f"{stem}-{len(named) + 1}"] = picture
    return named


def _job(picture: Picture, kind: str, path: Path) -> dict[str, Any]:
    drawn = picture.figure.to_dict()
    drawn["layout"] |= {"paper_bgcolor": GROUND}
    size = {"width": WIDTH_PX, "height": int(picture.figure.layout.height or 280)}
    return {"fig": drawn, "path": path, "opts": {"format": kind, "scale": DOTS_PER_PX if kind == "png" else 1, **size}}


def _draw(jobs: list[dict[str, Any]]) -> None:
    import kaleido
    from kaleido.errors import BrowserClosedError, BrowserFailedError, ChromeNotFoundError

    # Without this the page that draws would ask a content network for MathJax.
    page = kaleido.PageGenerator(mathjax=False)
    try:
        with dead_end() as proxy:
            options = {"page_generator": page, "timeout": LIMIT_S, "proxy_server": proxy}
            kaleido.write_fig_from_object_sync(jobs, kopts=options)
    except ChromeNotFoundError as error:
        raise UserError("Figures are drawn by Chromium, and none was found here.", NO_BROWSER) from error
    except (BrowserClosedError, BrowserFailedError, TimeoutError) as error:
        raise UserError(f"Chromium did not draw the figures: {type(error).__name__}.", NO_BROWSER) from error


@contextmanager
def dead_end() -> Iterator[str]:
    """The address of a proxy that refuses everything: Chromium itself asks for updates, the time, a search page."""
    with socket.socket() as held:
        # Bound but not listening: nobody else can take the port, and every connection is refused.
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}"


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise UserError(f"Chromium did not draw {path.name}.", NO_BROWSER) from error
