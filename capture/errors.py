"""The error that a person can act on."""


class UserError(Exception):
    """Something a person can put right.

    `message` says what must hold and what was received; `hint` says what to do.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(f"{message} {hint}".strip())
        self.message = message
        self.hint = hint
