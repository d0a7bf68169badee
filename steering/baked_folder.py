"""A baked model as a folder: weights, tokenizer, the recipe, and what the comparison with the hooks gave."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from capture.errors import UserError
from capture.intervention import Intervention
from capture.session import ModelSession
from capture.written_file import write_file
from steering.bake import TOLERANCE, bake, difference, plan_of
from steering.bundle import recipe_object
from steering.methods.hypernetwork import spoken

RECIPE, README = "recipe.json", "README.md"
WORDS = """\
# {name} with a recipe in its weights

A transformers folder, written by Steerscope from {name} (fingerprint {fingerprint}), in float32. {switches}
Its logits on {n} tokens differ by at most {worst:.2g} from those of the hooks; the largest is {largest:.3g}.
`recipe.json` is what was baked.
"""
BIASES = "Biases were added by its config ({names})."


def write_baked(
    name: str, session: ModelSession, interventions: Sequence[Intervention], folder: Path, every_token: bool, text: str
) -> float:
    """Write the folder, compare it with the hooks on a text, and return the largest difference of logits.

    Raises UserError for a recipe that cannot be baked, a folder that is not empty, and one that differs from the hooks.
    """
    from capture.models import load_plain

    if folder.exists() and any(folder.iterdir()):
        raise UserError(f"A baked model is a folder of its own; {folder} is not empty.", "Name another folder.")
    session.check_interventions(interventions)
    interventions = spoken(interventions, session)
    plan = plan_of(interventions, session.shape.n_layers, every_token)
    model, tokenizer, _ = load_plain(name, device="cpu")
    before = model.config.to_dict()
    baked = bake(model, plan)
    baked.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    tokens = session.tokens(text, bos=True)
    worst, largest = difference(folder, session, plan, tokens)
    if worst > TOLERANCE * largest:
        shutil.rmtree(folder)
        raise UserError(
            f"The baked weights differ from the hooks by {worst:.3g} of {largest:.3g}, so that nothing was written.",
            "Export a bundle: its script steers by hooks.",
        )
    spelled = json.dumps(recipe_object(plan.recipe, session), indent=1, ensure_ascii=False)
    write_file(folder / RECIPE, f"{spelled}\n".encode())
    added = [one for one in ("attention_bias", "mlp_bias") if before.get(one) is False and getattr(baked.config, one)]
    switches = BIASES.format(names=", ".join(added)) if added else ""
    facts = {"fingerprint": session.fingerprint, "n": len(tokens), "worst": worst, "largest": largest}
    write_file(folder / README, WORDS.format(name=name, switches=switches, **facts).encode())
    return worst
