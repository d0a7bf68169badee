"""Latents: which latents of a sparse autoencoder fire on a text, how strongly, and how much of it they explain.

The SAE is one of the shelf's, named by its digest; activations are those of its hook point from `from_pos` on, the
first position that it was trained on. x̂ is its reconstruction (a transcoder's prediction of another activation).

Arrays of one text: `indices`, `values` [pos slot], the latents of each token, largest first, value 0 where a slot is
empty; `l0` [pos], how many fire; `error_share` [pos], ‖x − x̂‖² / ‖x‖²; `strongest` [pos]; NaN in the last three at
positions that are not counted. Of a text and of a set, over the latents that fire at all, by number: `fired`, `fired_n`
(tokens), `fired_total`, `fired_max`, `fired_max_text`, `fired_max_pos` [fired].

Numbers: `sae` {name, digest, kind, d_in, d_sae, k, hook_point, hook_point_out, model, fingerprint, origin}, `fits`
(whether it was trained on this very model), `from_pos`, `tokens`, `n_tokens`, `n_counted`, `n_texts`, `is_text_set`,
`fvu` (null where there is none), `usual_fvu`, `l0`, `n_fired`, `n_silent`, `strongest_latents` [{latent, n, max, mean,
token, text, pos}], `sentence`.
"""

from collections import Counter
from typing import Any

import numpy as np
import torch

from analysis.latent_findings import findings_of
from analysis.latent_view import Counts, LatentGather
from analysis.lens import Lens, Measured, Options, Progress, Subject
from analysis.option import Option
from analysis.quantity import Quantity
from analysis.stream_state import stream_set
from capture.errors import UserError
from capture.hook_point import HookPoint
from capture.session import ModelShape
from sae.card_figures import card_figures
from sae.shelf import Shelved, find_shelved, load_shelved

N_LISTED = 40
BATCH_TOKENS = 2048
_FIRED = ("fired",)
QUANTITIES = (
    Quantity("indices", "latent, by value", ("pos", "slot")),
    Quantity("values", "value of that latent", ("pos", "slot")),
    Quantity("l0", "latents that fire", ("pos",)),
    Quantity("error_share", "squared error over squared norm", ("pos",)),
    Quantity("strongest", "value of the strongest latent", ("pos",)),
    Quantity("fired", "latent that fires", _FIRED),
    Quantity("fired_n", "tokens it fires on", _FIRED),
    Quantity("fired_total", "sum of its values", _FIRED),
    Quantity("fired_max", "its largest value", _FIRED),
    Quantity("fired_max_text", "text of its largest value", _FIRED),
    Quantity("fired_max_pos", "position of its largest value", _FIRED),
)
OPTIONS = (
    Option(
        "sae",
        "SAE",
        "Name or digest of a sparse autoencoder on the shelf; none given, the first that was trained on this model.",
        "",
        is_of_model=True,
    ),
)


def settle(options: Options, fingerprint: str) -> Options:
    """The options with the digest of the SAE; raises UserError where the shelf has none of that name or model."""
    return {**options, "sae": find_shelved(str(options["sae"]), fingerprint).digest}


def points_of(shape: ModelShape, options: Options) -> tuple[HookPoint, ...]:
    """Where the SAE reads, and where a transcoder's target is; raises UserError where that cannot be in this model."""
    one = find_shelved(str(options["sae"]))
    if not one.facts.hook_point:
        raise UserError(
            f"The files of the SAE {one.name} do not say where it reads.",
            "Add its hook point as hook_name under metadata in its cfg.json, in SAELens's layout.",
        )
    names = (one.facts.hook_point, *([one.facts.hook_point_out] if one.facts.is_transcoder else []))
    points = tuple(HookPoint.parse(name) for name in names)
    for point in points:
        if point.layer is not None and point.layer >= shape.n_layers:
            raise UserError(
                f"The SAE {one.name} reads {point}, and this model has blocks 0 to {shape.n_layers - 1}.",
                "Choose an SAE that was trained on this model.",
            )
    return points


def measure(subject: Subject, options: Options, progress: Progress) -> Measured:
    """The latents of one text or of a text set; see the module for the names."""
    progress(0.1, "loading the SAE")
    one = find_shelved(str(options["sae"]))
    sae, card = load_shelved(one.digest), card_figures(one)
    points = points_of(subject.session.shape, options)
    gather = LatentGather(sae, points, subject.texts, card.from_pos)
    arrays: dict[str, np.ndarray] = {}
    if subject.is_text_set:
        stream_set(subject, points, gather, lambda share, words: progress(0.1 + 0.8 * share, words), BATCH_TOKENS)
    else:
        progress(0.3, "encoding")
        arrays = _one_text(subject, gather)
    progress(0.9, "looking for what is unusual")
    counts = gather.counts
    numbers = _numbers(subject, one, counts, card.from_pos, card.fvu)
    shares = _shares_of_tokens(subject, card.from_pos)
    findings = findings_of(
        counts,
        lambda text, pos: subject.session.token_texts(subject.texts[text])[pos],
        lambda token: shares[token] / max(1, counts.n),
        arrays["strongest"][card.from_pos :] if arrays else None,
        card.fvu,
        subject.is_text_set,
    )
    progress(1.0, "done")
    return Measured(numbers, {**arrays, **_fired(counts)}, findings)


def _one_text(subject: Subject, gather: LatentGather) -> dict[str, np.ndarray]:
    """Take in the captures of one text; its arrays by position, with empty ones before `from_pos`."""
    tokens = subject.texts[0]
    places = torch.arange(len(tokens))
    for point in gather.points:
        gather.update(point, subject.captures[point], torch.zeros_like(places), places)
    coded = gather.last
    assert coded is not None  # every point was passed on
    lead = min(gather.from_pos, len(tokens))

    def placed(rows: np.ndarray, missing: float | int) -> np.ndarray:
        return np.concatenate([np.full((lead, *rows.shape[1:]), missing, rows.dtype), rows])

    share = np.divide(coded.error, coded.square, out=np.zeros_like(coded.error), where=coded.square > 0)
    return {
        "indices": placed(coded.indices.astype(np.int32), 0),
        "values": placed(coded.values.astype(np.float32), 0),
        "l0": placed((coded.values > 0).sum(axis=1).astype(np.float32), np.nan),
        "error_share": placed(share.astype(np.float32), np.nan),
        "strongest": placed(coded.values.max(axis=1, initial=0).astype(np.float32), np.nan),
    }


def _fired(counts: Counts) -> dict[str, np.ndarray]:
    latents = np.nonzero(counts.fired)[0]
    return {
        "fired": latents.astype(np.int32),
        "fired_n": counts.fired[latents].astype(np.int32),
        "fired_total": counts.total[latents].astype(np.float32),
        "fired_max": counts.highest[latents],
        "fired_max_text": counts.highest_text[latents].astype(np.int32),
        "fired_max_pos": counts.highest_pos[latents].astype(np.int32),
    }


def _shares_of_tokens(subject: Subject, from_pos: int) -> Counter[int]:
    """How often each token comes among those that are counted."""
    return Counter(token for tokens in subject.texts for token in tokens[from_pos:])


def _numbers(subject: Subject, one: Shelved, counts: Counts, from_pos: int, usual_fvu: float | None) -> dict[str, Any]:
    n_fired = int((counts.fired > 0).sum())
    numbers: dict[str, Any] = {
        "sae": about_sae(one),
        "fits": one.fits(subject.session.fingerprint),
        "from_pos": from_pos,
        "tokens": [] if subject.is_text_set else list(subject.session.token_texts(subject.texts[0])),
        "n_tokens": sum(map(len, subject.texts)),
        "n_counted": counts.n,
        "n_texts": len(subject.texts),
        "is_text_set": subject.is_text_set,
        "fvu": counts.fvu,
        "usual_fvu": usual_fvu,
        "l0": float(counts.fired.sum() / counts.n) if counts.n else None,
        "n_fired": n_fired,
        "n_silent": len(counts.fired) - n_fired,
        "strongest_latents": _strongest_latents(subject, counts),
    }
    return {**numbers, "sentence": sentence_of(numbers)}


def about_sae(one: Shelved) -> dict[str, Any]:
    """What an SAE is, as the numbers of a Report say it."""
    facts = one.facts
    return {
        **{name: getattr(one, name) for name in ("name", "digest", "origin")},
        **{name: getattr(facts, name) for name in ("kind", "d_in", "d_sae", "k", "hook_point", "hook_point_out")},
        "model": str(facts.provenance.get("model") or ""),
        "fingerprint": str(facts.provenance.get("fingerprint") or ""),
    }


def _strongest_latents(subject: Subject, counts: Counts) -> list[dict[str, Any]]:
    order = np.argsort(-counts.highest, kind="stable")[:N_LISTED]
    rows = []
    for latent in (int(one) for one in order if counts.fired[one]):
        text, pos = int(counts.highest_text[latent]), int(counts.highest_pos[latent])
        row = {"latent": latent, "n": int(counts.fired[latent]), "max": float(counts.highest[latent])}
        row |= {"mean": float(counts.total[latent] / counts.fired[latent]), "text": text, "pos": pos}
        rows.append(row | {"token": subject.session.token_texts(subject.texts[text])[pos]})
    return rows


def sentence_of(numbers: dict[str, Any]) -> str:
    """What was measured, and how well the SAE does on it, in words."""
    sae = numbers["sae"]
    if not numbers["n_counted"]:
        return (
            f"{sae['name']} was trained without position 0, and there is no token after it: a longer text has latents."
        )
    said = ["Position 0 is left out, as in the SAE's training."] if numbers["from_pos"] else []
    said.append(f"{numbers['n_fired']:,} of {sae['d_sae']:,} latents fire, {numbers['l0']:.3g} a token.")
    if numbers["fvu"] is not None:
        usual = "" if numbers["usual_fvu"] is None else f" (its card: {numbers['usual_fvu']:.3g})"
        said.append(f"FVU {numbers['fvu']:.3g}{usual}.")
    if not numbers["fits"]:
        said.append(f"{sae['name']} was not trained on this very model: judge it by its FVU.")
    return " ".join(said)


def _needs(shape: ModelShape) -> str | None:
    return None if shape.n_layers > 0 else "It has no blocks, and SAEs read what blocks write."


LENS = Lens(
    slug="latents",
    title="Latents",
    question="Which latents of a sparse autoencoder fire on this text, and what is each of them?",
    paper="Gao et al. 2024, arXiv 2406.04093; Bricken et al. 2023, Towards Monosemanticity; "
    "Cunningham et al. 2023, arXiv 2309.08600",
    how_to_read=(
        "A latent is one direction that the SAE learned, and its value says how much of it a token's activation has. "
        "Click a token for the latents that fire on it, and a latent for its card: where it fires elsewhere, which "
        "tokens it promotes, and what becomes of the prediction without it."
    ),
    options=OPTIONS,
    needs=_needs,
    hook_points=points_of,
    measure=measure,
    quantities=QUANTITIES,
    settle=settle,
)
