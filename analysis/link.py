"""Link: what a person pastes to open a view: an address, its code, or the short id of a kept view."""

import re
from dataclasses import dataclass
from urllib.parse import parse_qs, urlencode, urlsplit, urlunsplit

from analysis.spec import MAX_CODE_CHARS, Spec, from_code, to_code
from capture.errors import UserError

CODE_FIELD = "view"
ID_FIELD = "id"
_ID = re.compile(r"[0-9a-f]{20}")


@dataclass(frozen=True)
class Link:
    """A Spec in full (`spec`), the id of a kept view (`id`), or both: that view with the pins of the Spec."""

    spec: Spec | None = None
    id: str = ""

    def query(self) -> dict[str, str]:
        """The query parameters that spell it."""
        spelled = {ID_FIELD: self.id} if self.id else {}
        return spelled | ({CODE_FIELD: to_code(self.spec)} if self.spec else {})

    def address(self, base: str) -> str:
        """The address under `base`, whose own query and fragment are dropped."""
        parts = urlsplit(base)
        return urlunsplit((parts.scheme, parts.netloc, parts.path or "/", urlencode(self.query()), ""))


def read_link(text: str) -> Link:
    """The Link in an address, a code or an id; raises UserError for anything else. Nothing is fetched or looked up."""
    text = text.strip()
    if len(text) > 2 * MAX_CODE_CHARS:
        raise UserError(f"A link has at most {MAX_CODE_CHARS:,} characters; {len(text):,} were given.", _HINT)
    if _ID.fullmatch(text):
        return Link(id=text)
    if "?" not in text and "=" not in text:
        return Link(from_code(text))
    try:
        query = parse_qs(urlsplit(text).query or text)
    except ValueError as error:
        raise UserError(f"{text[:60]!r} is no address: {str(error)[:100]}.", _HINT) from error
    return link_of({name: values[0] for name, values in query.items()})


def link_of(query: dict[str, str]) -> Link:
    """The Link in an address's query parameters; raises UserError where there is none or it cannot be read."""
    identity, code = query.get(ID_FIELD, ""), query.get(CODE_FIELD, "")
    if identity and not _ID.fullmatch(identity):
        raise UserError(f"A short link has 20 hex digits after id=; {identity[:40]!r} was given.", _HINT)
    if not identity and not code:
        raise UserError("This address has neither view= nor id=, so it is not of a view.", _HINT)
    return Link(from_code(code) if code else None, identity)


_HINT = "Copy the whole link from Share."
