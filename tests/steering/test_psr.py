"""PSR: its formula by hand, a planted gate, and what a steering prompt does to the tokens behind it."""

from functools import cache

import pytest
import torch

from capture.errors import UserError
from capture.hook_point import HookPoint
from steering.evaluation import Question, evaluate
from steering.fitted import Fitted, Setting
from steering.fitting import fit_method
from steering.folding import fold
from steering.method import methods
from steering.methods import psr
from steering.methods.add_direction import AddDirection
from steering.methods.psr import AddGated, explained, prompted_batches, train_gate
from steering.null_vectors import random_fits
from steering.recipe import step_of
from steering.shelf import put_on_shelf
from steering.shelf_export import vector_file_of
from steering.shelf_step import step_from_shelf
from steering.strength_range import strength_range
from steering.vector_folder import write_vectors
from tests.steering.planted import planted_pairs, planted_session

AT = HookPoint(1, "resid_post")
LEAD = "the cat"
EXACT = {"atol": 1e-5, "rtol": 0}


@cache
def fitted(lead=LEAD):
    return fit_method(methods()["psr"], planted_session(), planted_pairs(), [1], {"lead": lead})


def rows(n=6, d=4, seed=0):
    return torch.randn(1, n, d, generator=torch.Generator().manual_seed(seed))


def test_a_known_token_gets_as_much_as_it_asks_for():
    change = AddGated(AT, (0.0, 3.0), (1.0, 0.0), -0.5, 2.0)
    assert change(torch.tensor([[[1.0, 2.0], [0.25, 2.0]]]), AT, 0).tolist() == [[[1.0, 5.0], [0.25, 2.0]]]


def test_without_w_it_is_a_constant_addition_and_a_low_b_is_the_identity():
    """Fact 3.5 (17)."""
    x, v, zero = rows(), (1.0, -2.0, 0.5, 3.0), (0.0,) * 4
    added = AddDirection(AT, v, 1.7)(x, AT, 0)
    torch.testing.assert_close(AddGated(AT, v, zero, 1.0, 1.7)(x, AT, 0), added, **EXACT)
    assert torch.equal(AddGated(AT, v, (1.0, 1.0, 1.0, 1.0), -1e6)(x, AT, 0), x)


def made(n=2000, d=16, noise=0.01):
    """Rows whose Δ is a known gate's, and that gate."""
    draw = torch.Generator().manual_seed(0)
    h, w, z = torch.randn(n, d, generator=draw), torch.randn(d, generator=draw), torch.randn(d, generator=draw)
    z = z / z.norm()
    delta = (h @ w - 0.5).relu()[:, None] * z + noise * torch.randn(n, d, generator=draw)
    return h, delta, w, z


def test_a_planted_gate_is_found_from_batches():
    """Error of w about noise / √rows; a gate that was linear would miss by as much as half of the rows are shut."""
    h, delta, w, z = made()

    def batches():
        return iter([(h[:700], delta[:700]), (h[700:], delta[700:])])

    found, bias = train_gate(batches, z, {"n_rounds": 10, "ridge": 0.0})
    torch.testing.assert_close(found, w, atol=5e-3, rtol=0)
    assert bias == pytest.approx(-0.5, abs=5e-3)
    shares = explained(batches(), z, found, bias, float((delta @ z).mean()))
    assert shares["gate"] > 0.99 > 0.6 > shares["constant"]


def test_a_gate_that_is_shut_everywhere_ends_the_search():
    h, _, _, z = made(50)
    found, bias = train_gate(lambda: iter([(h, 0.0 * h)]), z, {"n_rounds": 10, "ridge": 0.1})
    assert not found.any()
    assert bias == 0.0


def test_what_is_imitated_is_the_difference_that_the_steering_prompt_makes():
    """Oracle: both runs of a text by hand; BOS is left out, and every token stands beside itself."""
    session, contrast = planted_session(), planted_pairs(3)
    lead = session.tokens("the cat ", False)
    ((h, delta),) = prompted_batches(session, contrast, AT, lead, True)
    text = session.tokens(contrast.examples[0].text, True)
    alone, behind = (session.capture(one, [AT])[AT] for one in (text, (*text[:1], *lead, *text[1:])))
    n = len(text) - 1
    torch.testing.assert_close(h[:n], alone[1:], **EXACT)
    torch.testing.assert_close(delta[:n], behind[1 + len(lead) :] - alone[1:], **EXACT)
    assert len(h) == sum(len(session.tokens(one.text, False)) for one in contrast.examples[::2])


def test_the_gate_explains_more_of_it_than_a_constant_and_the_direction_has_length_1():
    shares = fitted().facts["explained"][str(AT)]
    assert 1 >= shares["gate"] > shares["constant"] > 0
    assert float(fitted().vectors[AT].norm()) == pytest.approx(1.0, abs=1e-6)


def test_the_step_adds_what_the_gate_says_to_all_but_special_tokens():
    step, session = step_of(fitted(), methods()["psr"], "like the cat"), planted_session()
    tokens = session.tokens("ABQR", True)
    clean, changed = (session.capture(tokens, [AT], some)[AT] for some in ((), (step,)))
    (change,) = step.changes
    amount = (clean @ torch.tensor(change.gate) + change.bias).relu()
    amount[0] = 0.0
    torch.testing.assert_close(changed - clean, amount[:, None] * fitted().vectors[AT], atol=1e-4, rtol=0)
    assert strength_range(step) == (-2.0, 2.0)


def test_no_file_of_vectors_takes_it_without_its_gate(tmp_path, monkeypatch):
    monkeypatch.setenv("STEERSCOPE_HOME", str(tmp_path / "home"))
    write_vectors(fitted(), tmp_path / "vectors")
    one = put_on_shelf("vectors", tmp_path / "vectors", "cat")
    assert step_from_shelf("cat").changes == psr.apply(fitted(), Setting())
    with pytest.raises(UserError, match="no file of vectors that are added can carry it"):
        vector_file_of(one)
    (words,) = fold([step_from_shelf("cat")]).refused
    assert "is of kind add gated" in words


def test_chance_is_a_random_direction_behind_the_same_gate():
    """Exchanging labels would give the same steering prompt again, and so the same vector."""
    pairs, prompts = planted_pairs(4), ("AQ", "BR", "UC", "VD")
    fitting, held_out = pairs.halves()
    question = Question(
        planted_session(),
        methods()["psr"],
        fitted(),
        fitting,
        held_out,
        prompts,
        Setting(),
        refit=lambda _: pytest.fail("refitted"),
        n_null=2,
    )
    (null,) = evaluate(question, (1.0,)).nulls
    drawn = [psr.apply(one, Setting()) for one in random_fits(fitted(), 2)]
    assert {one.gate for (one,) in drawn} == {psr.apply(fitted(), Setting())[0].gate}
    assert null.shuffled is None
    assert isinstance(null.random, float)


def test_what_cannot_be_gets_a_sentence():
    with pytest.raises(UserError, match="no steering prompt was given"):
        fitted("  ")
    with pytest.raises(UserError, match="1 is what the steering prompt does"):
        psr.apply(fitted(), Setting(unit="relative"))
    without = Fitted("psr", fitted().vectors, fitted().mean_norms, fitted().facts)
    with pytest.raises(UserError, match="have no gate at"):
        psr.apply(without, Setting())
