"""The error that a person can act on, and what other errors say to a person."""


class UserError(Exception):
    """Something a person can put right.

    `message` says what must hold and what was received; `hint` says what to do.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(f"{message} {hint}".strip())
        self.message = message
        self.hint = hint


def first_line(error: BaseException) -> str:
    """The first line of what an error says, 200 characters at most, without full stop; its name where it is silent."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(".")
