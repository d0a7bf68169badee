"""LoReFT: its formula by hand, and a planted edit of a subspace that no added vector can be."""

import json
import math
from dataclasses import replace
from functools import cache

import pytest
import torch

from capture.errors import UserError
from capture.hook_point import HookPoint
from capture.intervention import operator_from_recipe
from capture.session import ModelSession
from steering import evaluation
from steering import low_rank_training as training
from steering.bake import plan_of
from steering.contrast_pairs import Example, contrast_of
from steering.evaluation import Question, evaluate
from steering.fit_rows import FitText
from steering.fitted import Fitted, Setting
from steering.fitting import fit_method
from steering.folding import fold
from steering.method import methods
from steering.methods import loreft
from steering.methods.loreft import AffineLowRank, checked_edit
from steering.recipe import Step, step_of
from steering.shelf import put_on_shelf
from steering.shelf_step import is_direction, step_from_shelf
from steering.token_scope import TokenScope
from steering.vector_folder import read_vectors, write_vectors
from tests.models import tiny_llama, tiny_tokenizer
from tests.steering.planted import DOWN, UP, direction

AT, LATER = HookPoint(1, "resid_post"), HookPoint(2, "resid_post")
LETTERS = UP + DOWN
OPTIONS = {"rank": 1, "n_ends": 2, "learning_rate": 0.1, "n_epochs": 10}
PROMPTS = ("AQ", "BR", "UC", "VD")


@cache
def mirror_session() -> ModelSession:
    """A tiny Llama whose blocks write nothing: the next letter is of the side of the last one along the direction."""
    model, tokenizer = tiny_llama(tie_word_embeddings=False), tiny_tokenizer()
    v = direction()
    with torch.no_grad():
        for block in model.model.layers:
            block.self_attn.o_proj.weight.zero_()
            block.mlp.down_proj.weight.zero_()
        model.lm_head.weight *= 0.1
        embeddings = model.get_input_embeddings().weight
        for letter in LETTERS:
            (token,) = tokenizer(letter)["input_ids"]
            embeddings[token] += (side(letter) - embeddings[token] @ v) * v
            model.lm_head.weight[token] = 2.0 * side(letter) * v
    return ModelSession(model, tokenizer, name="mirror")


def side(letter):
    return 1.0 if letter in UP else -1.0


def mirrored(n=36, length=4):
    """Prompts whose wanted next letter is of the other side than the last, and the other text's of the same one."""
    draw, examples = torch.Generator().manual_seed(2), []
    for _ in range(n):
        *prompt, one = (LETTERS[i] for i in torch.randint(16, (length + 1,), generator=draw).tolist())
        other = (DOWN if one in UP else UP)[LETTERS.index(one) % 8]
        last, near, far = (one, one, other) if side(prompt[-1]) == side(one) else (other, other, one)
        text = "".join(prompt)
        assert side(last) == side(prompt[-1])
        examples += [Example(far, "swapped", text), Example(near, "same", text)]
    return contrast_of("mirrored", ("swapped", "same"), examples, is_paired=True)


@cache
def fitted():
    return fit_method(methods()["loreft"], mirror_session(), mirrored(), [1], OPTIONS)


def next_side(step=None):
    """The side of the likeliest next letter behind each letter."""
    found = []
    for letter in LETTERS:
        tokens = mirror_session().tokens(letter, True)
        best = mirror_session().generate(tokens, 1, temperature=0, interventions=[step] if step else [])
        found.append(side(mirror_session().token_texts(best)[0]))
    return found


def acted(change, *rows):
    return change(torch.tensor([rows]), AT, 0)[0]


def test_a_known_edit():
    """Fact 4.5 (9)."""
    change = AffineLowRank(AT, ((1.0, 0.0, 0.0),), ((0.0, 1.0, 0.0),), (0.5,))
    assert acted(change, [1.0, 2.0, 3.0]).tolist() == [[2.5, 2.0, 3.0]]


def test_where_w_is_r_and_b_is_0_nothing_changes_and_else_r_h_is_what_w_and_b_say():
    """Fact 4.5 (9)."""
    rotation = torch.linalg.qr(torch.randn(8, 3, generator=torch.Generator().manual_seed(0))).Q.T
    weight, h = torch.randn(3, 8), torch.randn(1, 5, 8)
    rows = tuple(map(tuple, rotation.tolist()))
    same = AffineLowRank(AT, rows, rows, (0.0, 0.0, 0.0))
    assert torch.equal(same(h, AT, 0), h)
    change = AffineLowRank(AT, rows, tuple(map(tuple, weight.tolist())), (1.0, -2.0, 0.5))
    wanted = h @ weight.T + torch.tensor(change.bias)
    torch.testing.assert_close(change(h, AT, 0) @ rotation.T, wanted, atol=1e-5, rtol=0)
    # What lies outside of the subspace stays.
    outside = torch.eye(8) - rotation.T @ rotation
    torch.testing.assert_close(change(h, AT, 0) @ outside, h @ outside, atol=1e-5, rtol=0)


def test_strength_is_the_share_of_the_edit_and_0_is_nothing():
    """Fact 4.5 (1): the paper has no factor, so 1 is the paper's."""
    (change,) = loreft.apply(fitted(), Setting())
    x = torch.randn(1, 4, 32, generator=torch.Generator().manual_seed(1))
    assert torch.equal(replace(change, strength=0.0)(x, AT, 0), x)
    half, whole = (replace(change, strength=one)(x, AT, 0) - x for one in (0.5, 1.0))
    torch.testing.assert_close(2 * half, whole, atol=1e-5, rtol=0)


def test_the_planted_edit_is_learnt_where_no_vector_would_do():
    """Planted: every letter's coordinate along the direction must change its sign, which adding cannot do."""
    assert next_side() == [side(letter) for letter in LETTERS]
    (rotation, *_) = (fitted().tensors[f"{name}.resid_post.1"] for name in "RWb")
    assert abs(float(rotation[0] @ direction())) > 0.9
    step = step_of(fitted(), methods()["loreft"], "mirror")
    assert step.scope == TokenScope("prompt_ends", n_ends=2)
    assert next_side(step) == [-side(letter) for letter in LETTERS]
    assert next_side(replace(step, strength=0.0)) == next_side()


def test_the_rows_of_r_are_orthonormal_after_every_step_and_the_base_stays_as_it_was(monkeypatch):
    """Facts 4.5 (9) and 4.5 (4)."""
    session, seen, own = mirror_session(), [], training.edited_loss
    tokens = session.tokens(UP, True)
    before = session.logits(tokens)

    def watched(session, texts, learners, n_ends):
        seen.extend(one.layer.weight.detach().clone() for one in learners)
        return own(session, texts, learners, n_ends)

    monkeypatch.setattr(training, "edited_loss", watched)
    fit_method(methods()["loreft"], session, mirrored(12), [1, 2], OPTIONS | {"rank": 3, "n_epochs": 3})
    assert len(seen) == 2 * 3 * 2
    assert not torch.allclose(seen[0], seen[-2], atol=1e-3)
    for rotation in seen:
        torch.testing.assert_close(rotation @ rotation.T, torch.eye(3), atol=1e-5, rtol=0)
    assert torch.equal(session.logits(tokens), before)


def test_the_seed_alone_decides_a_fit():
    given, fits = OPTIONS | {"n_epochs": 1}, []
    for seed in (0, 0, 1):
        torch.manual_seed(len(fits))
        fits.append(fit_method(methods()["loreft"], mirror_session(), mirrored(12), [1], given | {"seed": seed}))
    first, second, other = (one.tensors["R.resid_post.1"] for one in fits)
    assert torch.equal(first, second)
    assert not torch.allclose(first, other, atol=0.1)


def test_the_loss_in_training_is_that_of_the_recipe_in_use(tiny_session):
    """Both layers' edits together, the second one reading what the first one left."""
    texts = [FitText((0, 9, 8, 7, 30, 40, 3), 5), FitText((0, 5, 6, 7), 2)]
    draw = torch.Generator().manual_seed(3)
    learners = training.begun(tiny_session, texts[0], (AT, LATER), 2, draw)
    for one in learners:
        one.bias.data += 1.0
    trained = training.edited_loss(tiny_session, texts, learners, 2).detach()
    changes = [AffineLowRank(one.at, *map(_rows, one.tensors()[:2]), (1.0, 1.0)) for one in learners]
    step = Step("edits", tuple(changes), scope=TokenScope("prompt_ends", n_ends=2))
    used = []
    for text in texts:
        bound = step.bound_to(tiny_session, text.tokens[: text.start])
        used.append(tiny_session.loss(text.tokens, bound)[text.start - 1 :])
    torch.testing.assert_close(trained, torch.cat(used).mean(), atol=1e-5, rtol=0)
    assert abs(float(trained - _clean(tiny_session, texts))) > 1e-3


def _rows(tensor):
    return tuple(map(tuple, tensor.tolist()))


def _clean(session, texts):
    return torch.cat([session.loss(one.tokens)[one.start - 1 :] for one in texts]).mean()


def test_the_first_and_last_positions_of_a_prompt_count_once():
    texts = [FitText((0,) * 9, 7), FitText((0,) * 4, 3)]
    found = training.end_positions(texts, 2)[:, :, 0]
    assert found.tolist() == [[1, 1, 0, 0, 0, 1, 1, 0, 0], [1, 1, 1, 0, 0, 0, 0, 0, 0]]


def shelved(tmp_path, monkeypatch):
    monkeypatch.setenv("STEERSCOPE_HOME", str(tmp_path / "home"))
    write_vectors(fitted(), tmp_path / "vectors")
    return put_on_shelf("vectors", tmp_path / "vectors", "mirror")


def test_a_link_names_the_digest_of_the_matrices(tmp_path, monkeypatch):
    one = shelved(tmp_path, monkeypatch)
    step = step_from_shelf("mirror")
    written = json.dumps(step.recipe())
    assert len(written) < 1000
    again = operator_from_recipe(json.loads(written))
    assert again == step
    assert step.changes[0].source == one.digest
    # Tried at another layer, it is the edit that was fitted at this one.
    moved = operator_from_recipe(replace(step.changes[0], at=LATER).recipe())
    assert (moved.at, moved.rotation) == (LATER, step.changes[0].rotation)
    assert not is_direction(one)


def test_what_no_file_can_carry_is_said():
    step = step_of(fitted(), methods()["loreft"], "mirror")
    (words,) = fold([step]).refused
    assert words.startswith("'mirror' is of kind affine low rank, which no vector that is added can stand for")
    with pytest.raises(UserError, match="cannot be baked"):
        plan_of([step], 3, every_token=True)


def test_scores_are_taken_at_the_ends_of_each_prompt(monkeypatch):
    """Half of the pairs held out: the edit prefers the wanted text far more often than not."""
    fitting, held_out = mirrored().halves()
    found = fit_method(methods()["loreft"], mirror_session(), fitting, [1], OPTIONS)
    monkeypatch.setattr(
        evaluation, "_nulls", lambda question, material, settings, progress: [evaluation.Null(None, 0.0)]
    )
    question = Question(
        mirror_session(), methods()["loreft"], found, fitting, held_out, PROMPTS, Setting(), refit=lambda one: found
    )
    (used,) = evaluation._used(question, found, Setting())
    assert used.scope == TokenScope("prompt_ends", n_ends=2)
    scored = evaluate(question, (1.0,))
    assert scored.doses[0].anti_steerable == 0.0
    assert scored.doses[0].concept.low > 1.0
    assert scored.facts["scope"] == {"kind": "prompt_ends", "ranges": [[0, None]], "n_ends": 2}


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"rank": 33}, "at most 32 dimensions; a rank of 33"),
        ({"n_ends": 0}, "First and last must be a whole number from 1"),
    ],
)
def test_options_that_cannot_be_get_a_sentence(given, sentence):
    with pytest.raises(UserError, match=sentence):
        fit_method(methods()["loreft"], mirror_session(), mirrored(4), [1], given)


def test_texts_that_follow_no_prompt_get_a_sentence():
    bare = contrast_of("bare", ("a", "b"), [Example("A", "a"), Example("Q", "b")], is_paired=True)
    with pytest.raises(UserError, match="'A' follows none"):
        fit_method(methods()["loreft"], mirror_session(), bare, [1])


def test_a_loss_that_is_no_number_stops_the_fit(monkeypatch):
    monkeypatch.setattr(training, "text_loss", lambda logits, texts: logits.sum() * math.nan)
    with pytest.raises(UserError, match="at step 1 it is nan"):
        fit_method(methods()["loreft"], mirror_session(), mirrored(4), [1])


def test_a_relative_strength_is_refused():
    with pytest.raises(UserError, match="1 is the whole edit"):
        loreft.apply(fitted(), Setting(unit="relative"))


@pytest.mark.parametrize(
    ("rotation", "weight", "bias"),
    [
        (((1.0, 0.0),), ((1.0, 0.0),), ()),
        (((1.0, 0.0),), ((1.0, 0.0, 0.0),), (0.0,)),
        (((1.0, 1.0),), ((1.0, 0.0),), (0.0,)),
        (((1.0, 0.0), (1.0, 0.0)), ((1.0, 0.0), (0.0, 1.0)), (0.0, 0.0)),
        ((), (), ()),
        (((1.0,),) * 3, ((1.0,),) * 3, (0.0,) * 3),
    ],
)
def test_matrices_that_are_no_edit_are_refused(rotation, weight, bias):
    with pytest.raises(ValueError, match="R"):
        checked_edit(rotation, weight, bias)


def test_vectors_without_matrices_get_a_sentence(tmp_path, monkeypatch):
    without = Fitted("loreft", fitted().vectors, fitted().mean_norms, fitted().facts)
    with pytest.raises(UserError, match=r"have no low-rank edit of blocks\.1\.hook_resid_post"):
        loreft.apply(without, Setting())
    monkeypatch.setenv("STEERSCOPE_HOME", str(tmp_path))
    gone = {"kind": "affine_low_rank", "at": str(AT), "source": "0" * 32, "origin": str(AT)}
    with pytest.raises(UserError, match="on the shelf is called"):
        operator_from_recipe(gone | {"strength": 1.0, "ranges": [[0, None]]})


def test_a_folder_keeps_the_matrices(tmp_path):
    write_vectors(fitted(), tmp_path)
    again = read_vectors(tmp_path)
    assert loreft.apply(again, Setting()) == loreft.apply(fitted(), Setting())
