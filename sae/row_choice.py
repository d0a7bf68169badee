"""RowChoice: which activations train an SAE."""

from dataclasses import dataclass


@dataclass(frozen=True)
class RowChoice:
    """Which rows train an SAE. Outlier tokens are few, huge and alike, and cost latents and FVU."""

    window: int = 256
    """Tokens of a text that is run at once, BOS included."""
    bos: bool = True
    """Lead each window with BOS."""
    skip_first: bool = True
    """Leave out position 0, the BOS token where there is one."""
    massive_ratio: float = 0.0
    """Leave out rows whose norm is above this multiple of the buffer's median norm; 0 leaves none out."""
    buffer_rows: int = 131_072
    """Rows that are shuffled together; they are held in memory."""
