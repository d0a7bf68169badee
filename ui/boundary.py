"""The one error boundary: a message, what to do, a short id; the traceback goes to the log."""

import logging
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st

from capture.errors import UserError
from ui.words import plain

LOG = logging.getLogger("steerscope")


UNFORESEEN = "Change the text or the model, and try again."


@contextmanager
def boundary(doing: str, remedy: str = UNFORESEEN) -> Iterator[None]:
    """Shows an error raised inside as a sentence and goes on after the block; `doing` says what was tried.

    `remedy` is what to do where nobody foresaw the error.
    """
    try:
        yield
    except Exception as error:  # noqa: BLE001 - this is the one place that may
        tell(error, doing, remedy)


def tell(error: BaseException, doing: str, remedy: str = UNFORESEEN) -> None:
    """Show an error: message, hint and id."""
    code = error_id(error, doing)
    if isinstance(error, UserError):
        message, hint = error.message, error.hint
    else:
        message = f"Something went wrong while {doing}."
        hint = f"The log of the server has the details under this number. {remedy}"
    st.error(f"**{plain(message)}**  \n{plain(hint)}  \n:small[error {code}]", icon=":material/error:")


def error_id(error: BaseException, doing: str) -> str:
    """Six hex digits that name this error on the screen and in the log; logged the first time it is asked for."""
    if not hasattr(error, "steerscope_id"):
        error.steerscope_id = secrets.token_hex(3)  # type: ignore[attr-defined]
        LOG.error("error %s while %s", error.steerscope_id, doing, exc_info=error)  # type: ignore[attr-defined]
    return error.steerscope_id  # type: ignore[attr-defined, no-any-return]
