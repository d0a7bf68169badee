"""Report: the frozen result of an analysis, as JSON and arrays; everything a figure is drawn from."""

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from analysis.spec import Spec, canonical_json, read_spec
from capture.errors import UserError

REPORT_VERSION = 1


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

    def to_json(self) -> str:
        """The whole Report as one JSON text; equal Reports give equal bytes."""
        return canonical_json(
            {
                "report_version": REPORT_VERSION,
                "spec": self.spec.to_json(),
                "facts": dict(self.facts),
                "numbers": dict(self.numbers),
                "arrays": {name: _pack(array) for name, array in self.arrays.items()},
                "findings": [asdict(finding) for finding in self.findings],
            }
        )

    def digest(self) -> str:
        """SHA-256 over the numbers alone (not over facts such as the time), 32 hex digits."""
        packed = {name: _pack(array) for name, array in self.arrays.items()}
        numbers = canonical_json({"numbers": dict(self.numbers), "arrays": packed})
        return hashlib.sha256(numbers.encode()).hexdigest()[:32]


def read_report(text: str) -> Report:
    """The Report that `to_json` wrote; raises UserError where it cannot be read."""
    try:
        data = json.loads(text)
        if data["report_version"] != REPORT_VERSION:
            raise ValueError(f"version {data['report_version']!r}")
        arrays = {name: _unpack(packed) for name, packed in data["arrays"].items()}
        findings = tuple(Finding(**{**one, "series": tuple(one["series"])}) for one in data["findings"])
        return Report(read_spec(data["spec"]), data["facts"], data["numbers"], arrays, findings)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"This report cannot be read: {error}.", "Make it again from its link.") from error


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
    raw = base64.b64decode(packed["base64"], validate=True)
    array = np.frombuffer(raw, dtype=np.dtype(packed["dtype"]).newbyteorder("<")).reshape(packed["shape"])
    return array.astype(packed["dtype"])
