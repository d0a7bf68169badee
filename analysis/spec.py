"""Spec: what to ask, as plain JSON; the permalink, the cache key, the command line's arguments."""

import base64
import binascii
import hashlib
import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from analysis.plain_json import read_json
from capture.errors import UserError

SPEC_VERSION = 1
MAX_CODE_CHARS = 64_000
MAX_SPEC_BYTES = 1_000_000
DTYPES = ("float32", "bfloat16")


@dataclass(frozen=True)
class Spec:
    """One view: model, text, lens, options, interventions, and what is pinned.

    `fingerprint` is empty until the model was loaded once; `pins` are part of the link but not of the numbers.
    """

    lens: str
    model: str = "stories"
    text: str = ""
    text_set: str = ""
    bos: bool = True
    dtype: str = "float32"
    fingerprint: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    interventions: tuple[Mapping[str, Any], ...] = ()
    pins: Mapping[str, Any] = field(default_factory=dict)
    version: int = SPEC_VERSION

    def with_(self, **changes: Any) -> "Spec":
        """The same Spec with some fields changed."""
        return replace(self, **changes)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; `read_spec` reads it."""
        return {**asdict(self), "interventions": [dict(one) for one in self.interventions]}

    def digest(self) -> str:
        """Name of the numbers this Spec stands for: 32 hex digits; pins do not change it."""
        numbers = {key: value for key, value in self.to_json().items() if key != "pins"}
        return digest_json(numbers)


def digest_json(value: Any) -> str:
    """SHA-256 of canonical JSON, shortened to 32 hex digits."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:32]


def canonical_json(value: Any) -> str:
    """JSON with sorted keys, no spaces, UTF-8; refuses NaN and infinity."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def read_spec(data: Any) -> Spec:
    """The Spec in parsed JSON of this or an older version; every field is checked."""
    if not isinstance(data, dict):
        raise _unreadable("it is not a set of named fields")
    version = data.get("version")
    if version != SPEC_VERSION or type(version) is not int:
        raise _unreadable(f"it is of version {str(version)[:20]}, and this program reads version {SPEC_VERSION}")
    fields = Spec.__dataclass_fields__
    if unknown := sorted(set(data) - set(fields)):
        raise _unreadable(f"it has a field {unknown[0][:40]!r}, which no Spec has")
    texts = ("lens", "model", "text", "text_set", "dtype", "fingerprint")
    for name in texts:
        if not isinstance(data.get(name, ""), str):
            raise _unreadable(f"its field {name!r} is not text")
    _check_shapes(data)
    return Spec(**{**data, "interventions": tuple(data.get("interventions", ()))})


def _check_shapes(data: dict[str, Any]) -> None:
    if not data.get("lens"):
        raise _unreadable("it names no lens")
    if not isinstance(data.get("bos", True), bool):
        raise _unreadable("its field 'bos' is neither true nor false")
    if data.get("dtype", DTYPES[0]) not in DTYPES:
        raise _unreadable(f"its dtype {data['dtype'][:20]!r} is none of {', '.join(DTYPES)}")
    for name in ("options", "pins"):
        if not isinstance(data.get(name, {}), dict):
            raise _unreadable(f"its field {name!r} is not a set of named values")
    interventions = data.get("interventions", [])
    if not isinstance(interventions, list | tuple) or not all(isinstance(one, dict) for one in interventions):
        raise _unreadable("its interventions are not a list of recipes")


def to_code(spec: Spec) -> str:
    """The Spec as URL-safe text: zlib-compressed canonical JSON in base64url."""
    return base64.urlsafe_b64encode(zlib.compress(canonical_json(spec.to_json()).encode(), 9)).decode().rstrip("=")


def from_code(code: str) -> Spec:
    """The Spec that `to_code` wrote; raises UserError for a link that is cut, damaged, too long or not ours."""
    if len(code) > MAX_CODE_CHARS:
        raise _unreadable(f"it has {len(code):,} characters and a link has at most {MAX_CODE_CHARS:,}")
    try:
        packed = base64.b64decode(code + "=" * (-len(code) % 4), altchars=b"-_", validate=True)
        inflater = zlib.decompressobj()
        raw = inflater.decompress(packed, MAX_SPEC_BYTES)
        # eof is reached only where the checksum at the end was there and right.
        if not inflater.eof:
            raise _unreadable("it is cut short or too large")
        if inflater.unused_data:
            raise _unreadable("it goes on after its end")
        data = read_json(raw.decode("utf-8"))
    except (binascii.Error, zlib.error, ValueError) as error:
        raise _unreadable("it is damaged, or it was not made here") from error
    return read_spec(data)


def _unreadable(reason: str) -> UserError:
    return UserError(f"This link cannot be read: {reason}.", "Ask for the whole link again, or start from the tour.")
