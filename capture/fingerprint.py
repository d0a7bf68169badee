"""Fingerprint: the digest of a model's config and weights."""

import hashlib
import json
from typing import Any

# These change with the program that wrote the folder, or with where it lies, and not with the model's function.
_VOLATILE = frozenset({"transformers_version", "_name_or_path", "architectures", "dtype", "torch_dtype", "use_cache"})


def fingerprint(model: Any) -> str:
    """SHA-256 of config and weights, 32 hex digits; weights in the order of their names, tied ones once.

    The same weights in another dtype have another fingerprint: their numbers differ.
    """
    import torch

    config = {key: value for key, value in model.config.to_dict().items() if key not in _VOLATILE}
    digest = hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode())
    for name, weight in sorted(model.named_parameters()):
        digest.update(f"{name} {weight.dtype} {tuple(weight.shape)}".encode())
        # numpy knows no bfloat16, so the bytes are read as they lie.
        digest.update(weight.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:32]
