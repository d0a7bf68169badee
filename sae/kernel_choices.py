"""What the kernels would do for a call on this machine, for the interface to show."""

from kernels.explanation import KERNELS, Explanation, explain

SHAPE = {"rows": 512, "d_in": 768, "d_sae": 24576, "k": 32}
"""The call that is explained, as `explain` takes it: an SAE of GPT-2 small's width on a text of 512 tokens."""


def kernel_choices() -> list[Explanation]:
    """Every kernel's backend for the call, on a GPU where torch sees one."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    return [explain(kernel, *SHAPE.values(), device=device) for kernel in KERNELS]
