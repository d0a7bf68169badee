"""ViewFile: a view and its numbers in one file; what a short link keeps and what another instance opens.

The file is gzip-compressed canonical JSON. Its id is the digest of the Spec, pins included, and of the numbers, so that
the same view has the same id wherever it is made, and a changed file no longer has its name.
"""

import gzip
import io
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from analysis.plain_json import read_json
from analysis.report import Report, report_in
from analysis.spec import Spec, canonical_json, digest_json, read_spec
from capture.errors import UserError

VIEW_VERSION = 1
SUFFIX = ".steerscope"
MAX_FILE_BYTES = 50_000_000
MAX_JSON_BYTES = 100_000_000
MAX_REPORTS = 100
TEXT, MAYBE = (str,), type(None)
FACTS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("model", "revision", "fingerprint", "dtype", "device", "processing"), TEXT),
    "bos": (bool, MAYBE),
    "hook_points": (list,),
    "n_tokens": (int,),
    "faithfulness": (dict, MAYBE),
}
"""What a page tells of every Report; None where the sides of a comparison differ."""


@dataclass(frozen=True)
class ViewFile:
    """A Spec with its pins, the Reports that its page shows, and how they were made.

    `made` has `at` (ISO time in UTC), `lens_revisions` by slug, and `versions` of the libraries that ran the model.
    """

    spec: Spec
    reports: tuple[Report, ...]
    made: Mapping[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """20 hex digits that name this Spec with these numbers."""
        return digest_json([self.spec.to_json(), [report.digest() for report in self.reports]])[:20]

    def to_bytes(self) -> bytes:
        """The file; equal views give equal bytes. Raises UserError where it would be too large to be read again."""
        data = {
            "view_version": VIEW_VERSION,
            "id": self.id,
            "spec": self.spec.to_json(),
            "made": dict(self.made),
            "reports": [report.to_data() for report in self.reports],
        }
        raw = canonical_json(data).encode()
        packed = gzip.compress(raw, 6, mtime=0)
        if len(raw) > MAX_JSON_BYTES or len(packed) > MAX_FILE_BYTES:
            raise UserError(
                f"A view file holds at most {MAX_JSON_BYTES:,} bytes of numbers; this view has {len(raw):,}.",
                "Choose a shorter text, or share the self-contained link, which has no numbers in it.",
            )
        return packed


def read_view_file(data: bytes) -> ViewFile:
    """The ViewFile that `to_bytes` wrote, of this or an older version; raises UserError for anything else."""
    if len(data) > MAX_FILE_BYTES:
        raise _unreadable(f"it has {len(data):,} bytes and a view file has at most {MAX_FILE_BYTES:,}")
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            raw = file.read(MAX_JSON_BYTES + 1)
        if len(raw) > MAX_JSON_BYTES:
            raise _unreadable(f"it unpacks to more than {MAX_JSON_BYTES:,} bytes")
        parsed = read_json(raw.decode("utf-8"))
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise _unreadable("it is damaged, cut short, or no view file") from error
    if not isinstance(parsed, dict) or parsed.get("view_version") != VIEW_VERSION:
        version = parsed.get("view_version") if isinstance(parsed, dict) else None
        raise _unreadable(f"it is of version {str(version)[:20]!r}, and this program reads version {VIEW_VERSION}")
    return _checked(parsed)


def _checked(parsed: dict[str, Any]) -> ViewFile:
    reports, made = parsed.get("reports"), parsed.get("made", {})
    if not isinstance(reports, list) or not 1 <= len(reports) <= MAX_REPORTS or not isinstance(made, dict):
        raise _unreadable(f"it must have 1 to {MAX_REPORTS} reports and say how they were made")
    view = ViewFile(read_spec(parsed.get("spec")), tuple(map(report_in, reports)), made)
    if not all(_are_sound(report.facts) for report in view.reports) or not _is_made_soundly(made):
        raise _unreadable("it does not say how its numbers were made")
    if view.id != parsed.get("id"):
        raise _unreadable("its numbers are not those it was made with: it was changed afterwards")
    return view


def _are_sound(facts: Mapping[str, Any]) -> bool:
    has_kinds = all(name in facts and type(facts[name]) in kinds for name, kinds in FACTS.items())
    return has_kinds and all(isinstance(point, str) for point in facts["hook_points"])


def _is_made_soundly(made: Mapping[str, Any]) -> bool:
    revisions, versions = made.get("lens_revisions", {}), made.get("versions", {})
    if not isinstance(made.get("at", ""), str) or not isinstance(revisions, dict) or not isinstance(versions, dict):
        return False
    numbers = all(one is None or type(one) is int for one in revisions.values())
    return numbers and all(isinstance(one, str) for one in versions.values())


def _unreadable(reason: str) -> UserError:
    return UserError(f"This view file cannot be read: {reason}.", "Ask for the file again, or for the link.")
