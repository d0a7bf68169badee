"""SAEDashboard's own runner on the bundled model and SAE, in an environment of its own; prints seconds as JSON.

Run by bench_dashboard: python saedashboard_child.py MODEL_FOLDER SAE_FOLDER TOKENS.npy N_LATENTS THREADS
It imports nothing of Steerscope: SAEDashboard needs older versions of transformers and transformer-lens.
"""

import json
import sys
import tempfile
import time
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch


def hooked_llama(folder: str) -> Any:
    """The bundled model as the HookedTransformer that SAEDashboard takes, with its weights as they are stored."""
    from transformer_lens import HookedTransformer, HookedTransformerConfig
    from transformer_lens.pretrained.weight_conversions import convert_llama_weights
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, torch_dtype=torch.float32)
    given = model.config
    cfg = HookedTransformerConfig(
        n_layers=given.num_hidden_layers,
        d_model=given.hidden_size,
        d_head=given.hidden_size // given.num_attention_heads,
        n_heads=given.num_attention_heads,
        d_mlp=given.intermediate_size,
        d_vocab=given.vocab_size,
        n_ctx=given.max_position_embeddings,
        act_fn="silu",
        normalization_type="RMS",
        positional_embedding_type="rotary",
        rotary_adjacent_pairs=False,
        rotary_dim=given.hidden_size // given.num_attention_heads,
        rotary_base=int(given.rope_theta or 10_000),
        gated_mlp=True,
        final_rms=True,
        eps=given.rms_norm_eps,
        original_architecture="LlamaForCausalLM",
        device="cpu",
    )
    hooked = HookedTransformer(cfg)
    hooked.load_and_process_state_dict(
        convert_llama_weights(model, cfg),
        fold_ln=False,
        center_writing_weights=False,
        center_unembed=False,
        fold_value_biases=False,
    )
    hooked.eval()
    return hooked


def main() -> None:
    """Make the data of the first latents over the tokens, as `SaeVisRunner` does, and say how long it took."""
    model_folder, sae_folder, tokens_file, n_latents, threads = sys.argv[1:]
    torch.set_num_threads(int(threads))
    from sae_lens import SAE

    # By name: it is no requirement of ours.
    SaeVisConfig = import_module("sae_dashboard.sae_vis_data").SaeVisConfig
    SaeVisRunner = import_module("sae_dashboard.sae_vis_runner").SaeVisRunner

    model, sae = hooked_llama(model_folder), SAE.load_from_disk(sae_folder, device="cpu")
    # A TopK SAE with unit decoder rows has nothing to fold, and SAELens refuses to try.
    if isinstance(getattr(sae.cfg, "rescale_acts_by_decoder_norm", None), bool):
        sae.fold_W_dec_norm = lambda: None
    tokens = torch.from_numpy(np.load(tokens_file))
    point = json.loads((Path(sae_folder) / "cfg.json").read_text("utf-8"))["metadata"]["hook_name"]
    with tempfile.TemporaryDirectory() as cache:
        config = SaeVisConfig(hook_point=point, features=list(range(int(n_latents))), cache_dir=Path(cache))
        start, cpu = time.perf_counter(), time.process_time()
        data = SaeVisRunner(config).run(encoder=sae, model=model, tokens=tokens)
        seconds, cpu_s = time.perf_counter() - start, time.process_time() - cpu
    with torch.inference_mode(), suppress(AttributeError):
        _, cached = model.run_with_cache(tokens[:2], names_filter=point)
        fired = sae.encode(cached[point])[..., 0] > 0
    found = {
        "seconds": seconds,
        "cpu_s": cpu_s,
        "n_latents": len(data.feature_data_dict),
        "first_activations": [round(float(one), 5) for one in cached[point][0, 5, :4]],
        "n_fired_of_latent_0": int(fired.sum()),
    }
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
