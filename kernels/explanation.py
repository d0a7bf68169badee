"""What a kernel would do for a call, and why: for a person who wonders about speed, memory or exactness."""

from dataclasses import dataclass

import torch

from kernels.backend import OVERRIDE, choose, choose_encoder
from kernels.encoder_pack import EncoderPack, tile_width
from kernels.row_counts import row_count

KERNELS = (
    *("topk", "topk_encode", "batch_topk_encode", "threshold_encode", "group_encode"),
    *("sparse_decode", "sampled_product", "scattered_product"),
)
ENCODERS = ("topk_encode", "batch_topk_encode", "threshold_encode")
TORCH_ONLY = {
    "topk": "torch's top-k, ties mended",
    "sampled_product": "torch's sampled product",
    "group_encode": "torch's product of whole groups, a maximum each",
}


@dataclass(frozen=True)
class Explanation:
    """One kernel's backend for a call. Rows are those of its process so far, on that backend; encoders share them."""

    kernel: str
    backend: str
    reason: str
    tiling: str
    pack_bytes: int
    is_certified: bool
    """Whether the product has a proven bound, so that the set is the float32 reference's."""
    n_rows: int
    n_redone: int
    override: str = OVERRIDE


def explain(
    kernel: str,
    rows: int = 512,
    d_in: int = 768,
    d_sae: int = 24576,
    k: int = 32,
    *,
    device: str = "cpu",
    pack: EncoderPack | None = None,
    exact: bool = True,
) -> Explanation:
    """The backend that a call of this shape takes, with the reason; nothing is computed.

    Raises ValueError for a kernel that does not exist and for an override that names no backend.
    """
    if kernel not in KERNELS:
        raise ValueError(f"A kernel is one of {', '.join(KERNELS)}; it is {kernel!r}.")
    if kernel in TORCH_ONLY:
        return Explanation(kernel, "torch", f"Everywhere: {TORCH_ONLY[kernel]}.", "none", 0, False, 0, 0)
    x = torch.empty(rows, 0, device=device)
    if kernel not in ENCODERS:
        choice = choose(x)
        return Explanation(kernel, choice.backend, choice.reason, "none", 0, False, 0, 0)
    choice = choose_encoder(x, d_sae, k, pack is not None, exact)
    in_bf16 = choice.dtype == torch.bfloat16
    counted = row_count("topk_encode", choice.backend)
    return Explanation(
        *(kernel, choice.backend, choice.reason, _tiling(choice.backend, in_bf16, d_sae)),
        0 if pack is None else pack.n_bytes,
        in_bf16 and exact,
        *(counted.n_rows, counted.n_redone),
    )


def _tiling(backend: str, in_bf16: bool, d_sae: int) -> str:
    if backend == "triton":
        from kernels.encoder_pack import CHUNK
        from kernels.topk_encode_triton import BLOCK_ROWS

        return f"{BLOCK_ROWS} rows x {CHUNK} latents, bfloat16"
    if backend != "cpu":
        return "none"
    from kernels.encoder_pack import TILE
    from kernels.topk_encode_cpu import rows_at_once

    widest = TILE if in_bf16 else TILE // 2
    width = tile_width(d_sae, widest)
    return f"{rows_at_once(width, widest)} rows x {width} latents, {'bfloat16' if in_bf16 else 'float32'}"
