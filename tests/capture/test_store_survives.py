"""What the store must live through: kills at any moment, a full disk, and the room that comes back."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from capture.store import ActivationStore
from capture.store_dashboards import dashboard_facts
from capture.store_jobs import job_rows

ROOT = Path(__file__).parents[2]
N_KILLS = 54
WRITERS = """
import os, sys
import pandas, pyarrow.compute, pyarrow.pandas_compat
from capture.store import ActivationStore
from capture.store_dashboards import write_dashboard
from capture.store_jobs import JobRow, write_job
from tests.capture.dashboard_rows import made_rows


def write(path, n):
    store = ActivationStore.open(path)
    sys.stdout.write(f"notice {store.notice}\\n" if store.notice else "")
    while True:
        store.keep_report(f"r{n}", "outliers", "f", f"{n} " * (n * 997 % 40_000))
        write_job(store, JobRow(f"j{n % 5}", "measure", "{}", "ada", "x", "running", share=float(n)))
        write_dashboard(store, "d", {"n_done": n}, made_rows(1 + n % 7, n))
        sys.stdout.write(f"kept {n}\\n")
        sys.stdout.flush()
        if n % 11 == 0:
            store.compact()
        n += 1


# Forked, since a start of Python, and of the pandas that DuckDB looks for, costs more than the life of a writer.
for line in sys.stdin:
    child = os.fork()
    if not child:
        write(sys.argv[1], int(line))
    sys.stdout.write(f"child {child}\\n")
    sys.stdout.flush()
    os.waitpid(child, 0)
    sys.stdout.write("gone\\n")
    sys.stdout.flush()
"""
FULL = """
import json, os, resource, sys
from capture.errors import UserError
from capture.store import ActivationStore

found = {"errors": []}
store = ActivationStore.open(sys.argv[1])
kept = {}


def keep(n):
    data = os.urandom(700_000)
    try:
        store.keep_statistics(f"s{n}", data)
        kept[f"s{n}"] = data
    except UserError as error:
        found["errors"].append(str(error))


def all_there():
    return all(store.statistics(key) == data for key, data in kept.items())


resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
while len(found["errors"]) < 3:
    keep(len(kept) + len(found["errors"]))
found["n_before"], found["read_while_full"] = len(kept), all_there()
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
keep(1000)
found["written_after"], found["read_after"] = "s1000" in kept, all_there()
store.close()
store = ActivationStore.open(sys.argv[1])
found["read_again"], found["notice"] = all_there(), store.notice
store.close()
json.dump(found, sys.stdout)
"""


def kill_writers(path):
    """Kill N_KILLS writers, one after the other, at moments chosen by a fixed seed; returns what they said."""
    moments, said, n = random.Random(0), [], 1
    with subprocess.Popen(
        [sys.executable, "-c", WRITERS, str(path)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as nursery:
        for _ in range(N_KILLS):
            nursery.stdin.write(f"{n}\n")
            nursery.stdin.flush()
            lines = read_until(nursery, "child")
            for _ in range(moments.randrange(3)):
                lines += read_until(nursery, "kept")
            time.sleep(moments.uniform(0.0, 0.05))
            os.kill(next(int(line.split()[1]) for line in lines if line.startswith("child")), signal.SIGKILL)
            lines += read_until(nursery, "gone")
            said += lines
            n += 1 + sum(line.startswith("kept") for line in lines)
        nursery.stdin.close()
    return said


def read_until(process, word):
    lines = [process.stdout.readline()]
    while not lines[-1].startswith(word):
        assert lines[-1], "the writers ended by themselves"
        lines.append(process.stdout.readline())
    return lines


def test_54_kills_at_any_moment_lose_nothing_that_was_committed(tmp_path):
    said = kill_writers(tmp_path / "s.duckdb")
    kept = [int(line.split()[1]) for line in said if line.startswith("kept")]
    store = ActivationStore.open(tmp_path / "s.duckdb")
    lost = [n for n in kept if store.report(f"r{n}") != f"{n} " * (n * 997 % 40_000)]
    newest = max(row.share for row in job_rows(store))
    with store.file.snapshot() as cursor:
        halves = cursor.execute(
            "SELECT key FROM objects o WHERE kind != 'dashboard' AND n_bytes != "
            "(SELECT coalesce(sum(octet_length(data)), 0) FROM pieces p WHERE p.object_id = o.id)"
        ).fetchall()
        whole = cursor.execute("SELECT count(*), min(n_fired), max(n_fired) FROM dashboard_latents").fetchall()
        n_cards = cursor.execute("SELECT count(*), count(DISTINCT latent) FROM dashboard_cards").fetchall()
    n_done = dashboard_facts(store, "d")["n_done"]
    assert (whole, n_cards) == ([(1 + n_done % 7, n_done, n_done)], [(2 * (1 + n_done % 7), 1 + n_done % 7)])
    assert n_done >= max(kept)
    store.close()
    assert (lost, halves, [line for line in said if "notice" in line]) == ([], [], [])
    assert len(kept) > N_KILLS
    assert newest >= max(kept)


@pytest.mark.parametrize("limit", [3_000_000, 30_000_000], ids=["the log is full", "the file is full"])
def test_a_full_disk_is_said_and_the_store_goes_on_once_there_is_room(tmp_path, limit):
    command = [sys.executable, "-c", FULL, str(tmp_path / "s.duckdb"), str(limit)]
    found = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    assert all("disk is full" in error and "Make room" in error for error in found.pop("errors"))
    assert found.pop("n_before") >= 3
    assert found == {
        "read_while_full": True,
        "written_after": True,
        "read_after": True,
        "read_again": True,
        "notice": "",
    }
