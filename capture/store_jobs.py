"""Jobs in the store: what was asked for, how far it is and what came of it, so that a restart forgets none."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields

from capture.store import ActivationStore


@dataclass(frozen=True)
class JobRow:
    """One job as the store keeps it; times are in seconds since 1970, None where it has not come so far.

    `recipe` is JSON text that makes the job again, `result` a link or a path, `error` a sentence.
    """

    id: str
    kind: str
    recipe: str
    owner: str
    name: str
    state: str
    share: float = 0.0
    words: str = ""
    result: str = ""
    error: str = ""
    made_at: float = 0.0
    started_at: float | None = None
    ended_at: float | None = None


_COLUMNS = ", ".join(field.name for field in fields(JobRow))


def write_job(store: ActivationStore, row: JobRow) -> None:
    """Keep a job, in place of the row with its id."""
    values = list(astuple(row))
    with store.file.transaction() as cursor:
        cursor.execute("DELETE FROM jobs WHERE id = ?", [row.id])
        cursor.execute(f"INSERT INTO jobs ({_COLUMNS}) VALUES ({','.join('?' * len(values))})", values)


def job_rows(store: ActivationStore, states: Sequence[str] | None = None) -> list[JobRow]:
    """The jobs in these states, or all, in the order in which they were asked for."""
    marks = ",".join("?" * len(states or ()))
    where = "" if states is None else f"WHERE state IN ({marks})" if states else "WHERE false"
    with store.file.snapshot() as cursor:
        found = cursor.execute(f"SELECT {_COLUMNS} FROM jobs {where} ORDER BY made_at, id", list(states or ()))
        return [JobRow(*values) for values in found.fetchall()]


def delete_job(store: ActivationStore, identity: str) -> None:
    """Forget a job; one that is not there is no error."""
    with store.file.transaction() as cursor:
        cursor.execute("DELETE FROM jobs WHERE id = ?", [identity])
