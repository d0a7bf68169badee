"""The README of a bundle: how each tool is given its file, and what no file says."""

from collections.abc import Mapping, Sequence
from typing import Any

from steering.kept_scores import middle
from steering.vector_file import BLOCK_OUTPUTS, VectorFile, formats
from steering.vector_folder import LAYER_BASE

HEAD = """\
# {name}

Steering vectors for {model} ({family}, {n_layers} blocks of width {d_model}; fingerprint {fingerprint}), written by
Steerscope. {layers} Blocks: {layer_base}. Strength, unit and layer weights are in the vectors: strength 1 is the
strength that was set. `recipe.json` is the whole recipe, which Steerscope opens again; `manifest.json` says what it was
made from and has the SHA-256 of every file.
"""
NOTHING_LOST = "Nothing: every step adds its vector at every token, and every file here can say that."
USES = {
    "llama.cpp": """\
## llama.cpp

```
llama-cli -m MODEL.gguf --control-vector {file} --control-vector-layer-range 1 {last} -p "Once upon a time"
```

`direction.N` is added to the output of block N, counted from 0. For another strength:
`--control-vector-scaled {file}:0.5` (older builds: `--control-vector-scaled {file} 0.5`). `llama-server` takes the same
flags. {cannot}
""",
    "repeng": """\
## repeng

```python
from repeng import ControlModel, ControlVector
model = ControlModel(model, range(1, {n_layers}))
model.set_control(ControlVector.import_gguf("{file}"), 1.0)
```

{cannot}
""",
    "svec": """\
## IBM activation-steering

```python
from activation_steering import MalleableModel, SteeringVector
vector = SteeringVector.load("{file}")
model = MalleableModel(model, tokenizer)
model.steer(behavior_vector=vector, behavior_layer_ids={layers}, behavior_vector_strength=1.0)
```

{cannot}
""",
    "neuronpedia": """\
## Neuronpedia

{files}: POST `/api/vector/new` takes `modelId`, `vector`, `vectorLabel` and `vectorDefaultSteerStrength` as they are
there, `layerNumber`, and `hookType` (the end of `hookName`). {cannot}
""",
    "safetensors": """\
## steering-vectors

```python
from safetensors.torch import load_file
from steering_vectors import SteeringVector
tensors = load_file("{file}")
by_block = {{int(key.removeprefix("resid_post.")): v for key, v in tensors.items() if key.startswith("resid_post.")}}
with SteeringVector(by_block, "decoder_block").apply(model):
    model(ids)
```

It adds what is added to the output of a block; for other places it has other layer types. {cannot}
""",
    "npz": """\
## NumPy

`numpy.load("{file}")` has the same arrays under the same names. {cannot}
""",
}
SCRIPT = """\
## transformers

```
python apply_steering.py MODEL_FOLDER "Once upon a time" 40
```

or, in a program, `with steering(model, prompt_ids): model.generate(prompt_ids)`. It reads `steps.json` and
`steps.safetensors`, knows scopes, schedules, projection, replacing, clamping and controllers too, and imports nothing
of Steerscope.
"""
CARRIED = """\
## What the recipe names

`recipe.json` names these by their digests; each is whole in a folder of its own, as it lay on the shelf.
`python cli.py import` with this folder, or with its ZIP, puts them and the recipe on the shelf of another machine.

{things}
"""
HOLDS = {
    "controllers": "safetensors and a manifest with the formula that they mean; `apply_steering.py` reads it",
    "hypernetworks": "safetensors and a manifest; Steerscope makes vectors of sentences with it",
    "saes": "an SAE whose latents the recipe changes, in the layout that it was opened in",
    "vectors": "what a step was made from: vectors as fitted, pairs, options and scores",
}
SWEEP = """\
## What it does, measured

A sweep over the strength of {tuned}, of this very recipe on {model}. Every number is a proxy. Knee: {knee}, within a
KL of {budget:g} nats a token on the half that chose ({chose}). The table is of the other half ({reported}), with the
middle 95 % of a bootstrap. The recipe stands at {standing}.{pairs}
"""


def readme(found: VectorFile, manifest: Mapping[str, Any], files: Mapping[str, Sequence[str]]) -> str:
    """The README of a bundle with these files of each format."""
    facts = manifest["facts"]
    parts = [
        HEAD.format(
            name=found.name,
            layers=_places(found),
            layer_base=LAYER_BASE,
            **{name: facts[name] for name in ("model", "family", "n_layers", "d_model", "fingerprint")},
        ),
        "## What the files cannot say\n\n" + _list(manifest["warnings"]),
        SCRIPT,
        *([_carried(manifest["carried"])] if manifest["carried"] else []),
        *(_use(kind, found, names) for kind, names in files.items() if found.vectors),
        *(_sweep(one, facts["model"]) for one in manifest["recipe_scores"]),
        _made_from(facts["steps"]),
    ]
    return "\n".join(parts)


def _places(found: VectorFile) -> str:
    if not found.vectors:
        return "No step adds a vector, so that only `apply_steering.py` steers."
    return f"Vectors are added at {', '.join(f'`{at}`' for at in found.vectors)}."


def _list(warnings: Sequence[str]) -> str:
    return "".join(f"- {one}\n" for one in warnings) or f"{NOTHING_LOST}\n"


def _use(kind: str, found: VectorFile, names: Sequence[str]) -> str:
    return USES[kind].format(
        file=names[0],
        files=", ".join(f"`{name}`" for name in names),
        n_layers=found.n_layers,
        last=found.n_layers - 1,
        layers=[at.layer for at in found.vectors if at.site == BLOCK_OUTPUTS],
        cannot=formats()[kind].CANNOT,
    )


def _carried(things: Sequence[Mapping[str, Any]]) -> str:
    rows = [f"- `{one['folder']}` ({one['n_bytes'] / 1e6:.2f} MB): {HOLDS[one['kind']]}." for one in things]
    return CARRIED.format(things="\n".join(rows))


def _sweep(found: Mapping[str, Any], model: str) -> str:
    """The dose-response of the recipe, where a sweep measured it."""
    knee, pairs, prompts = found["knee"], found["pairs"], found["prompts"]
    counted = {which: f"{prompts[which]:,} prompts" for which in ("n_choosing", "n_reported")}
    if pairs is not None:
        counted = {which: f"{pairs[which]:,} pairs and {words}" for which, words in counted.items()}
    on = "" if pairs is None else f" Pairs: {pairs['title']!r} ({pairs['digest']})."
    words = SWEEP.format(
        tuned=found["tuned"],
        model=model,
        knee="none" if knee is None else _point(knee, found["unit"]),
        budget=found["kl_budget"],
        chose=counted["n_choosing"],
        reported=counted["n_reported"],
        pairs=on,
        standing=_point(found["standing"], found["unit"]),
    )
    return words + "".join(_rows(found["doses"], found["unit"]))


def _point(found: Mapping[str, Any], unit: str) -> str:
    where = "" if found["layer"] is None else f" at block {found['layer']}"
    return f"{found['strength']:g} ({unit}){where}"


def _made_from(steps: Sequence[Mapping[str, Any]]) -> str:
    lines = ["## What it was made from\n"]
    for step in steps:
        words = [f"- {step['name']}: {(step.get('method') or step['kind']).replace('_', ' ')}"]
        if "origin" in step:
            words.append(f"from {step['origin']}")
        if sentence := step.get("sentence"):
            words.append(f"from the sentence {sentence!r}")
        if "strength" in step:
            words.append(f"strength {step['strength']:g} ({step['unit']})")
        if "scope" in step:
            words.append(f"scope {step['scope'].replace('_', ' ')}")
        if isinstance(pairs := step.get("pairs"), Mapping):
            words.append(f"pairs {pairs.get('title')!r} ({pairs.get('digest')})")
        lines.append(", ".join(words) + "\n")
        lines += _doses(step.get("scores"))
    return "".join(lines)


def _doses(scores: Any) -> list[str]:
    """The dose-response of the vectors that a step was made from, where one was measured."""
    if not isinstance(scores, Mapping) or not isinstance(scores.get("doses"), list):
        return []
    return _rows(scores["doses"], scores.get("facts", {}).get("unit", ""))


def _rows(doses: Sequence[Mapping[str, Any]], unit: str) -> list[str]:
    """A table of doses; by block where there are several."""
    has_block = any(one.get("layer") is not None for one in doses)
    names = [*(["block"] if has_block else []), f"strength ({unit})", "concept, nats", "95 %", "KL, nats"]
    head = f"\n| {' | '.join([*names, 'perplexity ×'])} |\n| {' | '.join(['---'] * (len(names) + 1))} |\n"
    return [head, *(_row(one, has_block) for one in doses), "\n"]


def _row(one: Mapping[str, Any], has_block: bool) -> str:
    concept = one["concept"]
    spread = ["–", "–"]
    if concept is not None:
        spread = [f"{concept['mean']:+.3f}", f"{concept['low']:+.3f} to {concept['high']:+.3f}"]
    cost = [f"{middle(one['kl']):.3f}", f"{middle(one['perplexity_ratio']):.2f}"]
    cells = [*([str(one["layer"])] if has_block else []), f"{one['strength']:g}", *spread, *cost]
    return f"| {' | '.join(cells)} |\n"
