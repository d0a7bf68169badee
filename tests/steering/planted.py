"""A tiny model whose token embeddings hold a known direction, and spools of known rows.

At the input of block 0 an activation is the embedding of its token, so what a fit finds there can be written down.
"""

import io
from functools import cache

import torch

from capture.hook_point import HookPoint
from capture.session import ModelSession
from steering.contrast_pairs import Example, contrast_of
from steering.row_spool import RowSpool
from tests.models import tiny_llama, tiny_tokenizer

AT = HookPoint(0, "resid_pre")
UP, DOWN = "ABCDEFGH", "QRUVWXYZ"
"""Letters that are tokens of their own, on either side of the direction; the nth of both have the same noise."""
GAP = 3.0


def direction() -> torch.Tensor:
    """The planted direction, of length 1."""
    v = torch.randn(32, generator=torch.Generator().manual_seed(5))
    return v / v.norm()


@cache
def planted_session() -> ModelSession:
    """A tiny Llama in which UP and DOWN letters are GAP apart along the direction."""
    model, tokenizer = tiny_llama(), tiny_tokenizer()
    noise = torch.randn(8, 32, generator=torch.Generator().manual_seed(6))
    v = direction()
    noise -= (noise @ v)[:, None] * v
    with torch.no_grad():
        for letters, side in ((UP, 0.5), (DOWN, -0.5)):
            for n, letter in enumerate(letters):
                (token,) = tokenizer(letter)["input_ids"]
                model.get_input_embeddings().weight[token] = 1.0 + noise[n] + side * GAP * v
    return ModelSession(model, tokenizer, name="planted")


@cache
def planted_speaker() -> ModelSession:
    """A tiny Llama that says UP letters the more, and DOWN letters the less, the more of the direction it holds."""
    model, tokenizer = tiny_llama(tie_word_embeddings=False), tiny_tokenizer()
    with torch.no_grad():
        for letters, side in ((UP, 1.0), (DOWN, -1.0)):
            for letter in letters:
                (token,) = tokenizer(letter)["input_ids"]
                model.get_output_embeddings().weight[token] += side * direction()
    return ModelSession(model, tokenizer, name="speaker")


def planted_pairs(n=12, length=5):
    """Pairs of strings whose nth letters have the same noise."""
    draw = torch.Generator().manual_seed(1)
    examples = []
    for _ in range(n):
        places = torch.randint(8, (length,), generator=draw).tolist()
        examples += [Example("".join(UP[i] for i in places), "up"), Example("".join(DOWN[i] for i in places), "down")]
    return contrast_of("planted", ("up", "down"), examples, is_paired=True)


def swapped(contrast):
    """The same texts with the labels' roles exchanged."""
    examples = [one for pair in contrast.pairs for one in reversed(pair)]
    return contrast_of(contrast.title, contrast.labels[::-1], examples, is_paired=True)


def spool_of(rows, labels):
    """A spool of these rows, each a text of its own."""
    spool = RowSpool(io.BytesIO(rows.numpy().tobytes()), rows.shape[1])
    spool.labels.append(labels)
    spool.texts.append(torch.arange(len(rows)))
    spool.norm = float(rows.norm(dim=1).sum())
    return spool
