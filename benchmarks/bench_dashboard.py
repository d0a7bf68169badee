"""Building a dashboard against its parts, and against SAEDashboard, on the bundled model and SAE.

(a) The whole build into a store, beside the plain forward pass of the same tokens (with logits) and their encoding; and
beside the pass that stops at the SAE's block, which is what the build runs. (b) SAEDashboard's `SaeVisRunner` on the
same windows, in the environment that $SAEDASHBOARD_PYTHON names, for some latents; ours always makes all of them.
Targets: (a) at most 1.3, (b) at least 10 times faster.
Run: python -m benchmarks.bench_dashboard
$DASHBOARD_TEXT is a folder of text; the bundled set `stories`, repeated, where it is not set.
$DASHBOARD_TOKENS is how many tokens (a) takes; $DASHBOARD_LATENTS how many latents SAEDashboard makes.
"""

import json
import logging
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from analysis.text_set import read_text_set
from benchmarks.record import percentiles, record
from capture.hook_point import HookPoint
from capture.model_source import stories_folder
from capture.models import load_session
from capture.store import ActivationStore
from sae.activation_rows import windows_of, windows_of_texts
from sae.dashboard import BATCH_TOKENS, Subject, build_dashboard
from sae.row_choice import RowChoice
from sae.shelf import find_shelved, load_shelved

WINDOW = 128
N_TOKENS = int(os.environ.get("DASHBOARD_TOKENS", "100000"))
N_LATENTS = int(os.environ.get("DASHBOARD_LATENTS", "4096"))
RIVAL_WINDOWS = 256
CHILD = Path(__file__).with_name("saedashboard_child.py")
_LOG = logging.getLogger(__name__)


def subject() -> Subject:
    """The bundled SAE over windows of one length, about N_TOKENS tokens."""
    session = load_session("stories")
    shelved = find_shelved("", session.fingerprint)
    folder = os.environ.get("DASHBOARD_TEXT", "")
    if folder:
        found = windows_of(session, Path(folder), RowChoice(window=WINDOW))
    else:
        found = windows_of_texts(session, read_text_set("stories").texts, WINDOW, bos=True)
    whole = [window for window in found if len(window) == WINDOW]
    n = -(-N_TOKENS // WINDOW)
    # Repeated where there is too little; a step through it takes in every file of a folder.
    windows = whole[:: max(1, len(whole) // n)]
    texts = tuple((windows * -(-n // len(windows)))[:n])
    return Subject(session, load_shelved(shelved.digest), texts, shelved.name, "benchmark")


def variants(given: Subject) -> dict[str, Callable[[Subject], Any]]:
    """What is timed over some of the windows; each says what the build's parts cost."""

    def forward(part: Subject, *more: HookPoint) -> None:
        part.session.stream(part.texts, (part.at, *more), lambda *rows: None, batch_tokens=BATCH_TOKENS)

    @torch.no_grad()
    def encoded(_: HookPoint, values: Tensor, __: Tensor, pos: Tensor) -> None:
        given.sae.encode(values[pos >= given.from_pos])

    def encode(part: Subject) -> None:
        part.session.stream(part.texts, (part.at,), encoded, batch_tokens=BATCH_TOKENS)

    def build(part: Subject) -> None:
        with tempfile.TemporaryDirectory() as folder:
            store = ActivationStore.open(Path(folder) / "steerscope.duckdb")
            build_dashboard(part, store)
            store.close()

    return {
        "forward to the SAE's block": forward,
        "plain forward": lambda part: forward(part, HookPoint(None, "logits")),
        "forward to the SAE's block and encoding": encode,
        "dashboard": build,
    }


def timed(act: Callable[[Subject], Any], part: Subject) -> float:
    """Seconds of this process's work; other programs on the machine do not count."""
    start = time.process_time()
    act(part)
    return time.process_time() - start


def against_parts(given: Subject, n_rounds: int = int(os.environ.get("DASHBOARD_ROUNDS", "3"))) -> list[dict[str, Any]]:
    """(a): the build takes all tokens in one go; its parts are linear in the tokens."""
    acts = variants(given)
    for act in acts.values():
        act(replace(given, texts=given.texts[:32]))
    seconds: dict[str, list[float]] = {name: [] for name in acts}
    for _ in range(n_rounds):
        for name, act in acts.items():
            seconds[name].append(timed(act, given))
    rows = []
    where = {"kernel": "dashboard", "backend": "numpy, torch", "dtype": "float32"}
    where["shape"] = f"4096 latents x {len(given.texts) * WINDOW} tokens"
    for name, values in seconds.items():
        rows.append({**where, "mode": name, "metric": "cpu time", "unit": "s", **percentiles(values)})
        _LOG.info("%-42s %8.2f s", name, rows[-1]["p50"])
    # Encoding is what comes on top of the pass that stops at the SAE's block.
    parts = zip(*seconds.values(), strict=True)
    full, least = [], []
    for to_block, plain, with_codes, whole in parts:
        full.append(whole / (plain + with_codes - to_block))
        least.append(whole / with_codes)
    for metric, values in (
        ("cpu time / (plain forward + encoding)", full),
        ("cpu time / (forward to the SAE's block + encoding)", least),
    ):
        rows.append({**where, "mode": "dashboard", "metric": metric, "unit": "ratio", **percentiles(values)})
        _LOG.info("%-52s x %.2f", metric, rows[-1]["p50"])
    return rows


def against_saedashboard(given: Subject, python: str) -> list[dict[str, Any]]:
    """(b): SAEDashboard for N_LATENTS latents, ours for all, over the same windows, one thread each."""
    part = replace(given, texts=given.texts[:RIVAL_WINDOWS])
    shelved = find_shelved(given.sae.digest)
    with tempfile.TemporaryDirectory() as folder:
        tokens = Path(folder) / "tokens.npy"
        np.save(tokens, np.array(part.texts, np.int64))
        paths = (str(stories_folder()), str(shelved.folder), str(tokens))
        command = [python, str(CHILD), *paths, str(N_LATENTS), str(torch.get_num_threads())]
        said = subprocess.run(command, capture_output=True, text=True, check=True, cwd=folder).stdout
    theirs = json.loads(said.splitlines()[-1])
    ours = timed(variants(given)["dashboard"], part)
    d_sae = given.sae.facts.d_sae
    ratio = (theirs["cpu_s"] / theirs["n_latents"]) / (ours / d_sae)
    _LOG.info("SAEDashboard: %.1f s for %d latents; ours: %.1f s for %d", *theirs_and_ours(theirs), ours, d_sae)
    _LOG.info("a latent of ours is made in 1 / %.1f of the time", ratio)
    where = {"kernel": "dashboard", "dtype": "float32", "metric": "cpu time", "unit": "s"}
    shape = f"{{}} latents x {len(part.texts) * WINDOW} tokens"
    n_theirs = theirs["n_latents"]
    return [
        {**where, "mode": "SAEDashboard", "shape": shape.format(n_theirs), **percentiles([theirs["cpu_s"]])},
        {**where, "mode": "dashboard", "shape": shape.format(d_sae), **percentiles([ours])},
        {
            **where,
            "mode": "SAEDashboard",
            "shape": shape.format(f"{n_theirs} of {d_sae}"),
            "metric": "cpu time a latent / dashboard's",
            "unit": "ratio",
            **percentiles([ratio]),
        },
    ]


def theirs_and_ours(theirs: dict[str, Any]) -> tuple[float, int]:
    """What SAEDashboard took and made."""
    return theirs["cpu_s"], theirs["n_latents"]


def main() -> None:
    """Measure, say and record."""
    torch.set_num_threads(1)
    given = subject()
    rows = against_parts(given)
    if python := os.environ.get("SAEDASHBOARD_PYTHON", ""):
        rows += against_saedashboard(given, python)
    else:
        _LOG.info("SAEDASHBOARD_PYTHON is not set: nothing to compare with")
    record(rows)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    main()
