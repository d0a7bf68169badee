"""From a sentence to a steering vector, with what is known of it: how near it is to what was learnt, what it promotes.

1. The sentence is checked, and read by the model's own tokenizer and embeddings. 2. H gives Δ, and the vector is
length × mean norm × Δ: what a factor of 1 adds. 3. Its distance from the learnt concepts is 1 − the largest cosine of
what the head reads (`pooled`) with that of a learnt concept's usual sentence. 4. Tokens, SAE latents and other vectors
are compared with it by the direct path and by cosine.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize

from capture.errors import UserError
from capture.hook_point import HookPoint
from capture.session import ModelSession
from sae.autoencoder import Autoencoder
from steering.concept_rows import sentence_tokens
from steering.concepts import check_sentence
from steering.fitted import Fitted
from steering.hypernetwork_folder import TrainedHypernetwork, read_hypernetwork
from steering.hypernetwork_reader import Reader
from steering.hypernetwork_recipe import NO_CONTEXT
from steering.sentence_words import WORDS
from steering.shelf import Shelved, find_shelved, shelved
from steering.vector_folder import read_vectors

N_HELD = 4
MAX_TOKENS = 60
"""Of a sentence, BOS included: many times what any was trained on."""
HYPERNETWORKS = "hypernetworks"
Tokens = Sequence[int]


@dataclass(frozen=True)
class SentenceVector:
    """The vector of one sentence (and one prompt, in two variants), at factor 1."""

    sentence: str
    at: HookPoint
    vector: Float[Tensor, "d"]
    mean_norm: float
    nearest: str
    """The learnt concept that the head's input is nearest to."""
    distance: float
    far: float
    """Distance above which a sentence is far from everything learnt."""
    prompt: tuple[int, ...] = ()
    """The prompt that it is for, where the hypernetwork reads one."""

    @property
    def is_far(self) -> bool:
        """Whether it is far from everything learnt."""
        return self.distance > self.far

    @property
    def norm(self) -> float:
        """Length of the vector."""
        return float(self.vector.norm())


@dataclass(frozen=True)
class Neighbour:
    """Something whose direction was compared with a vector."""

    name: str
    cosine: float


def sentence_vector(
    trained: TrainedHypernetwork, session: ModelSession, sentence: str, prompt: Tokens = ()
) -> SentenceVector:
    """The vector of a sentence; without a prompt, the variants that read one are given BOS alone.

    Raises UserError for an empty or overlong sentence, and a hypernetwork of another model.
    """
    return sentence_vectors(trained, session, [sentence], [prompt])[0]


def sentence_vectors(
    trained: TrainedHypernetwork, session: ModelSession, sentences: Sequence[str], prompts: Sequence[Tokens]
) -> list[SentenceVector]:
    """The same for several sentences, each with its prompt, at once."""
    trained.check_fits(session)
    asked = [check_sentence(one) for one in sentences]
    pooled = pooled_sentences(trained, session, asked, prompts)
    with torch.no_grad():
        vectors = trained.length * trained.network.delta(pooled)
    nearest = distances_to(trained.known, pooled)
    read = prompts if trained.reads_prompt else [()] * len(asked)
    return [
        SentenceVector(
            one, trained.at, vector, trained.mean_norm, trained.learnt[place], distance, trained.far, tuple(prompt)
        )
        for one, vector, (distance, place), prompt in zip(asked, vectors, nearest, read, strict=True)
    ]


def likeness_without_prompt(found: SentenceVector, trained: TrainedHypernetwork, session: ModelSession) -> float:
    """Cosine of a vector with that of the same sentence behind no prompt: 1 where the prompt has no say."""
    without = sentence_vector(trained, session, found.sentence)
    return float(cosine_similarity(found.vector, without.vector, dim=0))


def pooled_sentences(
    trained: TrainedHypernetwork, session: ModelSession, sentences: Sequence[str], prompts: Sequence[Tokens]
) -> Float[Tensor, "batch d"]:
    """What the head reads of each sentence."""
    recipe = trained.recipe
    reader = Reader(session, trained.at, recipe.variant)
    rows = [_short(sentence_tokens(session, one, recipe.bos)) for one in sentences]
    lead = session.tokens("a", recipe.bos)[:1]
    context = [_cut(tuple(one) or lead, session) for one in prompts]
    with torch.no_grad():
        return trained.network.pooled(reader.sentences(rows), reader.context(context))


def _short(tokens: tuple[int, ...]) -> tuple[int, ...]:
    if len(tokens) > MAX_TOKENS:
        raise UserError(
            f"A hypernetwork reads sentences of at most {MAX_TOKENS} tokens; this one has {len(tokens):,}.",
            "Say it in a few words, such as: make it about the sea.",
        )
    return tokens


def _cut(tokens: tuple[int, ...], session: ModelSession) -> tuple[int, ...]:
    return tokens[-session.shape.context :]


def distances_to(known: Float[Tensor, "concepts d"], pooled: Float[Tensor, "batch d"]) -> list[tuple[float, int]]:
    """Of each row, 1 − the largest cosine with a known one, and which that is."""
    cosines, places = (normalize(pooled, dim=1) @ known.t()).max(dim=1)
    return list(zip((1 - cosines).tolist(), places.tolist(), strict=True))


def load_hypernetwork(wanted: str) -> tuple[Shelved, TrainedHypernetwork]:
    """The hypernetwork of a digest or name on the shelf, held in memory for the next call."""
    one = find_shelved(HYPERNETWORKS, wanted)
    return one, _held(str(one.folder), one.digest)


@lru_cache(maxsize=N_HELD)
def _held(folder: str, digest: str) -> TrainedHypernetwork:
    return read_hypernetwork(Path(folder))


def fitting_hypernetworks(session_name: str, fingerprint: str) -> tuple[Shelved, ...]:
    """Those on the shelf that were trained on this model; those without context first."""
    found = [one for one in shelved(HYPERNETWORKS) if one.fits(fingerprint) or one.facts.get("model") == session_name]
    return tuple(sorted(found, key=lambda one: one.manifest.get("recipe", {}).get("variant") != NO_CONTEXT))


def nearest_latents(vector: Float[Tensor, "d"], sae: Autoencoder, n: int) -> list[tuple[int, float]]:
    """The latents whose decoder directions have the largest cosines with the vector, largest first."""
    cosines = normalize(sae.W_dec.detach().float().cpu(), dim=1) @ normalize(vector.float(), dim=0)
    found = cosines.topk(min(n, len(cosines)))
    return list(zip(found.indices.tolist(), found.values.tolist(), strict=True))


def nearest_vectors(vector: Float[Tensor, "d"], at: HookPoint, fingerprint: str, n: int) -> list[Neighbour]:
    """Vectors on the shelf of the same model and hook point, by the size of their cosines."""
    found = []
    for one in shelved("vectors"):
        if not one.fits(fingerprint):
            continue
        try:
            known = read_vectors(one.folder).vectors.get(at)
        except UserError:
            continue
        if known is not None and known.shape == vector.shape:
            cosine = float(normalize(known.float(), dim=0) @ normalize(vector.float(), dim=0))
            found.append(Neighbour(one.name, cosine))
    return sorted(found, key=lambda one: -abs(one.cosine))[:n]


def promoted_tokens(
    vector: Float[Tensor, "d"], session: ModelSession, n: int
) -> tuple[list[tuple[int, float]], list[tuple[int, float]]]:
    """The tokens that the vector raises and lowers most on the direct path, in nats: v × gain of the norm × W_U.

    After AxBench (Wu et al. 2025, arXiv 2501.17148), less the mean over the vocabulary; what later blocks make of it
    and the norm's division are left out.
    """
    gain, unembedding = session.weight("ln_final", 0).float().cpu(), session.weight("W_U", 0).float().cpu()
    readout = vector.float()
    if session.shape.final_norm_centres:
        readout = readout - readout.mean()
    weights = (gain * readout) @ unembedding
    weights = weights - weights.mean()
    up, down = weights.topk(n), (-weights).topk(n)
    return (
        list(zip(up.indices.tolist(), up.values.tolist(), strict=True)),
        list(zip(down.indices.tolist(), (-down.values).tolist(), strict=True)),
    )


def named_hypernetwork(wanted: str, session: ModelSession) -> tuple[str, TrainedHypernetwork]:
    """The hypernetwork in a folder, or of a name or digest on the shelf; "" takes the first of this model.

    Raises UserError where there is none.
    """
    if wanted and Path(wanted).expanduser().is_dir():
        return Path(wanted).expanduser().resolve().name, read_hypernetwork(Path(wanted).expanduser())
    if not wanted:
        fitting = fitting_hypernetworks(session.name, session.fingerprint)
        if not fitting:
            raise UserError(
                f"No hypernetwork on the shelf was trained on {session.name}.",
                "Train one: python cli.py hypernet train; or choose the model stories.",
            )
        wanted = fitting[0].digest
    one, trained = load_hypernetwork(wanted)
    return one.name, trained


def fitted_of(found: SentenceVector, trained: TrainedHypernetwork, name: str) -> Fitted:
    """The vector as any fitted one, to be kept, exported and used; it is at factor 1."""
    facts = {
        **{key: value for key, value in trained.facts.items() if key not in ("concepts", WORDS)},
        "hypernetwork": name,
        "variant": trained.recipe.variant,
        "sentence": found.sentence,
        "nearest": found.nearest,
        "distance": found.distance,
        "far": found.far,
    }
    if trained.reads_prompt:
        facts["prompt_tokens"] = list(found.prompt)
    return Fitted("hypernetwork", {found.at: found.vector}, {found.at: found.mean_norm}, facts)
