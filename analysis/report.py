"""Report: the frozen result of an analysis, as JSON and arrays; everything a figure is drawn from."""

import base64
import hashlib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from analysis.plain_json import read_json
from analysis.spec import Spec, canonical_json, read_spec
from capture.errors import UserError

REPORT_VERSION = 1
MAX_AXES = 8
MAX_EMPTY_AXIS = 100_000


@dataclass(frozen=True)
class Finding:
    """A computed sentence: how far `magnitude` is from usual decides its rank by `score`; `place` is what to pin."""

    sentence: str
    magnitude: float
    unit: str
    score: float
    place: Mapping[str, Any] = field(default_factory=dict)
    lens: str = ""
    series: tuple[float, ...] = ()
    """A few numbers for the small picture beside the sentence."""


@dataclass(frozen=True)
class Report:
    """Numbers of one Spec. `facts` say how they were made (model revision, dtype, hook points, BOS, processing,
    faithfulness, tokens); `numbers` is plain JSON; `arrays` are NumPy arrays by name.
    """

    spec: Spec
    facts: Mapping[str, Any]
    numbers: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray]
    findings: tuple[Finding, ...] = ()

    @property
    def runs(self) -> tuple[Mapping[str, Any], ...]:
        """The facts of each run of a model behind the numbers: one, or one for each side of a comparison."""
        sides = self.facts.get("sides")
        is_of_sides = isinstance(sides, list) and bool(sides) and all(isinstance(one, dict) for one in sides)
        return tuple(sides) if is_of_sides else (self.facts,)  # type: ignore[arg-type]

    def to_json(self) -> str:
        """The whole Report as one JSON text; equal Reports give equal bytes."""
        return canonical_json(self.to_data())

    def to_data(self) -> dict[str, Any]:
        """The whole Report as plain JSON values; `report_in` reads them."""
        return {
            "report_version": REPORT_VERSION,
            "spec": self.spec.to_json(),
            "facts": dict(self.facts),
            "numbers": dict(self.numbers),
            "arrays": {name: _pack(array) for name, array in self.arrays.items()},
            "findings": [asdict(finding) for finding in self.findings],
        }

    def digest(self) -> str:
        """SHA-256 over the numbers alone (not over facts such as the time), 32 hex digits."""
        packed = {name: _pack(array) for name, array in self.arrays.items()}
        numbers = canonical_json({"numbers": dict(self.numbers), "arrays": packed})
        return hashlib.sha256(numbers.encode()).hexdigest()[:32]


def read_report(text: str) -> Report:
    """The Report that `to_json` wrote; raises UserError where it cannot be read."""
    try:
        return report_in(read_json(text))
    except ValueError as error:
        raise _unreadable(error) from error


def report_in(data: Any) -> Report:
    """The Report in JSON values that `read_json` gave; raises UserError where it cannot be read."""
    try:
        if data["report_version"] != REPORT_VERSION:
            raise ValueError(f"version {str(data['report_version'])[:20]!r}")
        for name, kind in (("facts", dict), ("numbers", dict), ("arrays", dict), ("findings", list)):
            if not isinstance(data[name], kind):
                raise ValueError(f"{name} is a {type(data[name]).__name__}")
        arrays = {name: _unpack(packed) for name, packed in data["arrays"].items()}
        findings = tuple(map(_finding, data["findings"]))
        return Report(read_spec(data["spec"]), data["facts"], data["numbers"], arrays, findings)
    except (KeyError, TypeError, ValueError) as error:
        raise _unreadable(error) from error


def _unreadable(error: Exception) -> UserError:
    return UserError(f"This report cannot be read: {str(error)[:200]}.", "Make it again from its link.")


def _finding(data: Any) -> Finding:
    finding = Finding(**{**data, "series": tuple(data.get("series", ()))})
    texts = (finding.sentence, finding.unit, finding.lens)
    numbers = (finding.magnitude, finding.score, *finding.series)
    is_sound = all(isinstance(one, str) for one in texts) and all(type(one) in (int, float) for one in numbers)
    if not is_sound or not isinstance(finding.place, dict):
        raise ValueError("a finding has a field of another kind")
    return finding


def _pack(array: np.ndarray) -> dict[str, Any]:
    little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    return {
        "dtype": array.dtype.name,
        "shape": list(array.shape),
        "base64": base64.b64encode(little.tobytes()).decode(),
    }


def _unpack(packed: Mapping[str, Any]) -> np.ndarray:
    if packed["dtype"] not in {"float32", "float64", "int64", "int32", "int16", "uint16", "uint8", "bool"}:
        raise ValueError(f"array dtype {packed['dtype']!r}")
    raw, shape = base64.b64decode(packed["base64"], validate=True), packed["shape"]
    dtype = np.dtype(packed["dtype"]).newbyteorder("<")
    # An empty array could have an axis of any length.
    longest = max(MAX_EMPTY_AXIS, len(raw))
    if not isinstance(shape, list) or not all(type(one) is int and 0 <= one <= longest for one in shape):
        raise ValueError("an array has an impossible shape")
    if len(shape) > MAX_AXES or math.prod(shape) * dtype.itemsize != len(raw):
        raise ValueError("an array has another shape than its bytes")
    return np.frombuffer(raw, dtype=dtype).reshape(shape).astype(packed["dtype"])
