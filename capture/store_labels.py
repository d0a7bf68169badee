"""Labels that people give to latents, by the SAE's digest: they outlive every dashboard and every clearing."""

import time
from dataclasses import dataclass

from capture.errors import UserError
from capture.store import ActivationStore

MAX_LABEL, MAX_AUTHOR = 500, 80


@dataclass(frozen=True)
class Label:
    """What somebody called a latent, who and when (seconds since 1970)."""

    latent: int
    text: str
    author: str
    made_at: float


def set_label(store: ActivationStore, sae_digest: str, latent: int, text: str, author: str) -> None:
    """Keep an author's label of a latent in place of their older one; an empty text takes it back.

    Raises UserError for a text or a name that is too long, and for a latent below 0.
    """
    text, author = " ".join(text.split()), " ".join(author.split())
    if len(text) > MAX_LABEL:
        raise UserError(f"A label has at most {MAX_LABEL} characters; {len(text):,} were given.", "Shorten it.")
    if len(author) > MAX_AUTHOR:
        raise UserError(f"A name has at most {MAX_AUTHOR} characters; {len(author):,} were given.", "Shorten it.")
    if latent < 0:
        raise UserError(f"Latents are numbered from 0; {latent} was given.", "Give the latent's number.")
    with store.file.transaction() as cursor:
        cursor.execute(
            "DELETE FROM latent_labels WHERE sae = ? AND latent = ? AND author = ?", [sae_digest, latent, author]
        )
        if text:
            row = [sae_digest, latent, text, author, time.time()]
            cursor.execute("INSERT INTO latent_labels VALUES (?, ?, ?, ?, ?)", row)


def labels(store: ActivationStore, sae_digest: str) -> dict[int, Label]:
    """The newest label of each latent of an SAE."""
    return {one.latent: one for one in all_labels(store, sae_digest)}


def all_labels(store: ActivationStore, sae_digest: str) -> tuple[Label, ...]:
    """Every author's label of every latent of an SAE, the oldest first."""
    with store.file.snapshot() as cursor:
        rows = cursor.execute(
            "SELECT latent, text, author, made_at FROM latent_labels WHERE sae = ? ORDER BY made_at, latent, author",
            [sae_digest],
        ).fetchall()
    return tuple(Label(*row) for row in rows)
