"""What to show for a token: its text, with the bytes of a split character spelled out."""

import codecs
import re
from collections.abc import Sequence
from functools import cache
from typing import Any

_SENTENCEPIECE_SPACE = "▁"
_BYTE_PIECE = re.compile(r"<0x([0-9A-F]{2})>")


def token_texts(tokenizer: Any, tokens: Sequence[int]) -> tuple[str, ...]:
    """One string a token; those of ordinary tokens make up the text; split characters as bytes, such as <0xF0>."""
    added = tokenizer.added_tokens_decoder
    pieces = tokenizer.convert_ids_to_tokens(list(tokens))
    read = _from_bytes if _is_byte_level(tokenizer) else _from_sentencepiece
    texts = [
        added[token].content if token in added else read(piece or f"<{token}>")
        for token, piece in zip(tokens, pieces, strict=True)
    ]
    return tuple(texts if read is _from_bytes else _without_dummy_space(tokenizer, tokens, texts))


def _without_dummy_space(tokenizer: Any, tokens: Sequence[int], texts: list[str]) -> list[str]:
    """The texts without the space that a SentencePiece tokenizer puts before the first word."""
    ordinary = [index for index, token in enumerate(tokens) if token not in tokenizer.added_tokens_decoder]
    if not ordinary or not texts[ordinary[0]].startswith(" "):
        return texts
    whole = tokenizer.decode([tokens[index] for index in ordinary], clean_up_tokenization_spaces=False)
    if not whole.startswith(" "):
        texts[ordinary[0]] = texts[ordinary[0]][1:]
    return texts


def _is_byte_level(tokenizer: Any) -> bool:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    return backend is not None and backend.decoder is not None and b"ByteLevel" in backend.decoder.__getstate__()


def _from_sentencepiece(piece: str) -> str:
    if match := _BYTE_PIECE.fullmatch(piece):
        byte = int(match[1], 16)
        return chr(byte) if byte < 0x80 else piece
    return piece.replace(_SENTENCEPIECE_SPACE, " ")


def _from_bytes(piece: str) -> str:
    table = _byte_of_character()
    if any(character not in table for character in piece):
        return piece
    return bytes(table[character] for character in piece).decode("utf-8", errors=_handler())


@cache
def _byte_of_character() -> dict[str, int]:
    """The byte that each character of a byte-level vocabulary stands for (Radford et al. 2019, GPT-2's encoder)."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(256 + index): byte for index, byte in enumerate(others)}


@cache
def _handler() -> str:
    """Name of the decoding error handler that spells a byte out."""

    def spell(error: UnicodeError) -> tuple[str, int]:
        if not isinstance(error, UnicodeDecodeError):
            raise error
        return "".join(f"<0x{byte:02X}>" for byte in error.object[error.start : error.end]), error.end

    codecs.register_error("steerscope_bytes", spell)
    return "steerscope_bytes"


def stop_tokens(model: Any, tokenizer: Any) -> frozenset[int]:
    """The tokens after which a text is over."""
    found = {tokenizer.eos_token_id}
    for config in (model.config, getattr(model, "generation_config", None)):
        ids = getattr(config, "eos_token_id", None)
        found |= set(ids) if isinstance(ids, list | tuple) else {ids}
    return frozenset(found - {None})
