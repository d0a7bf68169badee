"""Directions are recovered where they were planted, and keep the facts of the papers (core-methods 3.5, 4.5)."""

import math

import pytest
import torch

from capture.errors import UserError
from capture.hook_point import HookPoint
from steering.contrast_pairs import Example, contrast_of, single_pair
from steering.direction import unit
from steering.fit_rows import RowsAsked, class_sums, fit_text, stream_rows
from steering.fitting import fit_method
from steering.logistic import fit_logistic
from steering.method import methods
from steering.methods.act_add import AddRows
from steering.methods.contrast_pca import first_component
from steering.pair_differences import pair_differences
from tests.steering.planted import AT, GAP, direction, planted_pairs, planted_session, swapped

EXACT = {"atol": 1e-5, "rtol": 0}
DIRECTIONS = ("mean_difference", "contrast_pca", "logistic_probe")


def fitted(slug, contrast=None, site="resid_pre", **options):
    return fit_method(methods()[slug], planted_session(), contrast or planted_pairs(), [0], options, site)


@pytest.mark.parametrize("slug", DIRECTIONS)
@pytest.mark.parametrize("positions", ["last", "mean", "answer", "all"])
def test_a_planted_direction_is_recovered(slug, positions):
    if (slug, positions) != ("contrast_pca", "all"):
        found = unit(fitted(slug, positions=positions).vectors[AT])
        assert float(found @ direction()) > 0.9999


@pytest.mark.parametrize("positions", ["last", "mean", "answer", "all"])
def test_the_mean_difference_is_the_gap_and_the_mean_over_pairs(positions):
    """Facts 3.5 (11), 4.5 (11): the mean over pairs equals the difference of class means."""
    torch.testing.assert_close(
        fitted("mean_difference", positions=positions).vectors[AT], GAP * direction(), atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("slug", DIRECTIONS)
def test_swapping_the_labels_negates_the_direction(slug):
    """Facts 3.5 (10), (11), 4.5 (11)."""
    one, other = fitted(slug), fitted(slug, swapped(planted_pairs()))
    torch.testing.assert_close(other.vectors[AT], -one.vectors[AT], atol=1e-4, rtol=0)


def test_the_order_of_texts_does_not_matter_to_the_mean_difference():
    """Fact 4.5 (11)."""
    pairs = planted_pairs()
    turned = contrast_of("t", pairs.labels, [one for pair in reversed(pairs.pairs) for one in pair], True)
    one, other = fitted("mean_difference"), fitted("mean_difference", turned)
    torch.testing.assert_close(other.vectors[AT], one.vectors[AT], **EXACT)


def test_every_token_counts_the_same_in_diffmean_and_every_text_in_the_mean():
    """Fact 4.5 (11): a long text weighs more where all tokens are taken."""
    texts = [Example("AAAB", "up"), Example("C", "up"), Example("Q", "down")]
    contrast = contrast_of("lengths", ("up", "down"), texts, is_paired=False)
    session = planted_session()
    embedded = {letter: session.capture(session.tokens(letter, False), [AT])[AT][0] for letter in "ABCQ"}
    a, b, c, q = (embedded[letter] for letter in "ABCQ")
    by_token = fitted("mean_difference", contrast, positions="all").vectors[AT]
    by_text = fitted("mean_difference", contrast, positions="mean").vectors[AT]
    torch.testing.assert_close(by_token, (3 * a + b + c) / 5 - q, **EXACT)
    torch.testing.assert_close(by_text, ((3 * a + b) / 4 + c) / 2 - q, **EXACT)


def rows_of(asked):
    session, kept = planted_session(), []
    texts = [fit_text(session, one, bos=False) for one in planted_pairs().examples]
    stream_rows(session, texts, [AT], asked, lambda _, rows, __: kept.append(rows))
    return torch.cat(kept)


def test_position_zero_and_massive_rows_are_left_out():
    everything = rows_of(RowsAsked("all", skip_first=False)).view(24, 5, 32)
    torch.testing.assert_close(rows_of(RowsAsked("all")).view(24, 4, 32), everything[:, 1:], **EXACT)
    norms = everything.norm(dim=2)
    few = everything[norms <= 1.02 * norms.median(dim=1, keepdim=True).values]
    assert len(few) < 120
    torch.testing.assert_close(rows_of(RowsAsked("all", False, massive_ratio=1.02)), few, **EXACT)


def test_tokens_of_the_prompt_are_not_counted():
    session = planted_session()
    text = fit_text(session, Example("ABC", "up", "QRU"), bos=True)
    assert (len(text.tokens), text.start) == (7, 4)
    prompted = contrast_of("p", ("up", "down"), [Example("A", "up", "QQQ"), Example("Q", "down", "AAA")], True)
    plain = contrast_of("p", ("up", "down"), [Example("A", "up"), Example("Q", "down")], True)
    for positions in ("all", "mean", "answer"):
        one, other = (fitted("mean_difference", some, positions=positions) for some in (prompted, plain))
        torch.testing.assert_close(one.vectors[AT], other.vectors[AT], **EXACT)


def test_a_fit_on_batches_is_the_fit_on_one_text_at_a_time():
    session, contrast = planted_session(), planted_pairs(30)
    sums = class_sums(session, contrast, [AT], RowsAsked("mean"))[AT]
    plain = [
        session.capture(session.tokens(one.text, True), [AT])[AT][1:].double().mean(dim=0) for one in contrast.examples
    ]
    torch.testing.assert_close(sums.mean(0), torch.stack(plain[::2]).mean(dim=0), atol=1e-6, rtol=0)
    moments = pair_differences(session, contrast, [AT], RowsAsked("mean"))[AT]
    differences = torch.stack(plain[::2]) - torch.stack(plain[1::2])
    assert moments.n == 30
    torch.testing.assert_close(moments.moment, differences.T @ differences, atol=1e-4, rtol=0)


def test_identical_classes_have_no_direction():
    """Fact 3.5 (10)."""
    texts = [Example("A", "up"), Example("A", "down"), Example("B", "up"), Example("B", "down")]
    with pytest.raises(UserError, match="zero in every entry"):
        fitted("mean_difference", contrast_of("same", ("up", "down"), texts, is_paired=False))


def test_adding_a_constant_to_all_activations_changes_no_difference():
    """Fact 3.5 (10): the planted embeddings all have 1 added, and the difference is the gap alone."""
    assert abs(float(fitted("mean_difference").vectors[AT].sum() - GAP * direction().sum())) < 1e-4


def test_the_mean_difference_of_gaussians_is_the_bayes_direction():
    """Fact 3.5 (10): with shared isotropic covariance the logistic probe tends to it; 4,000 rows, 5 % off at most."""
    draw = torch.Generator().manual_seed(0)
    y = (torch.arange(4000) % 2).float()
    v = direction()
    x = torch.randn(4000, 32, generator=draw) + (y - 0.5)[:, None] * 2.0 * v
    w = fit_logistic(lambda: [(x[:2500], y[:2500]), (x[2500:], y[2500:])], ridge=1e-4).w.float()
    difference = x[y == 1].mean(dim=0) - x[y == 0].mean(dim=0)
    assert float(unit(w) @ v) > 0.95
    assert float(unit(w) @ unit(difference)) > 0.99


def test_logistic_regression_is_the_minimum_of_its_loss():
    draw = torch.Generator().manual_seed(3)
    x, y = torch.randn(60, 4, generator=draw).double() * 3 + 5, (torch.rand(60, generator=draw) > 0.4).double()
    found = fit_logistic(lambda: [(x.float(), y.float())], ridge=0.1)
    scale = float((x - x.mean(dim=0)).square().mean().sqrt())
    w, b = (found.w * scale).requires_grad_(), torch.tensor(found.b + float(x.mean(dim=0) @ found.w)).double()
    b.requires_grad_()
    odds = (x - x.mean(dim=0)) / scale @ w + b
    loss = torch.nn.functional.binary_cross_entropy_with_logits(odds, y) + 0.05 * (w @ w)
    loss.backward()
    assert float(w.grad.abs().max()) < 1e-5
    assert float(b.grad.abs()) < 1e-5


@pytest.mark.parametrize("centring", ["pair_centred", "difference"])
def test_the_first_component_is_that_of_a_plain_decomposition(centring):
    pairs = pair_differences(planted_session(), planted_pairs(), [AT], RowsAsked("mean"))[AT]
    pairs.moment += torch.diag(torch.linspace(0, 3, 32)).double()
    draw = torch.Generator().manual_seed(2)
    rows = torch.randn(50, 32, generator=draw).double() * torch.linspace(0.1, 2, 32) + direction()
    pairs.moment, pairs.total, pairs.n = rows.T @ rows, rows.sum(dim=0), 50
    centred = rows - rows.mean(dim=0) if centring == "difference" else rows
    plain = torch.linalg.svd(centred).Vh[0].float()
    found, share = first_component(pairs, centring)
    assert math.isclose(abs(float(found @ plain)), 1.0, abs_tol=1e-5)
    assert float(found.double() @ rows.mean(dim=0)) > 0
    assert 0 < share < 1


def test_act_add_is_the_difference_of_two_prompts_row_by_row():
    """Fact 3.5 (16)."""
    session = planted_session()
    found = fit_method(methods()["act_add"], session, single_pair("AB", "QRU"), [0]).vectors[AT]
    plus, minus = (session.capture(session.tokens(text, True), [AT])[AT] for text in ("AB ", "QRU"))
    torch.testing.assert_close(found, plus - minus, **EXACT)
    swap = fit_method(methods()["act_add"], session, single_pair("QRU", "AB"), [0]).vectors[AT]
    torch.testing.assert_close(swap, -found, **EXACT)
    assert found.shape == (4, 32)
    assert not found[0].any()


def test_rows_of_two_equal_prompts_change_nothing():
    """Fact 3.5 (16): p+ = p− is the identity; a fit of it is refused."""
    x = torch.randn(1, 6, 32, generator=torch.Generator().manual_seed(0))
    assert torch.equal(AddRows(AT, ((0.0,) * 32,) * 3, 5.0)(x, AT, 0), x)
    with pytest.raises(UserError, match="must differ"):
        fit_method(methods()["act_add"], planted_session(), single_pair("A", "A "), [0])


def test_a_fit_says_what_it_was_made_from():
    found = fitted("mean_difference")
    assert found.facts["fingerprint"] == planted_session().fingerprint
    assert found.facts["texts"]["digest"] == planted_pairs().digest()
    assert found.facts["options"]["positions"] == "answer"
    session = planted_session()
    rows = [session.capture(session.tokens(one.text, True), [AT])[AT][1] for one in planted_pairs().examples]
    assert math.isclose(found.mean_norms[AT], float(torch.stack(rows).norm(dim=1).mean()), rel_tol=1e-5)


@pytest.mark.parametrize(
    ("slug", "layers", "given", "site", "sentence"),
    [
        ("project_out", [0], {}, None, "is not fitted"),
        ("mean_difference", [], {}, None, "at least one layer"),
        ("mean_difference", [9], {}, None, "Layer 9 does not exist"),
        ("mean_difference", [0], {}, "z", "is not fitted at 'z'"),
        ("mean_difference", [0], {"colour": "red"}, None, "No option is called 'colour'"),
        ("act_add", [0], {}, None, "needs a single pair; 12 were given"),
        ("k_steering", [0, 1], {}, None, "acts at one layer"),
    ],
)
def test_what_cannot_be_fitted_is_refused(slug, layers, given, site, sentence):
    with pytest.raises(UserError, match=sentence):
        fit_method(methods()[slug], planted_session(), planted_pairs(), layers, given, site)


def test_pairs_and_labels_are_checked_before_the_model_runs():
    single = contrast_of("s", ("up", "down"), [Example("A", "up"), Example("Q", "down")], is_paired=False)
    with pytest.raises(UserError, match="needs contrast pairs"):
        fitted("contrast_pca", single)
    three = contrast_of("s", ("a", "b", "c"), [Example(one, one) for one in "abc"], is_paired=False)
    with pytest.raises(UserError, match="two labels; 3 were given"):
        fitted("mean_difference", three)


def test_a_text_longer_than_the_context_is_refused():
    with pytest.raises(UserError, match="fits 64"):
        fitted("mean_difference", contrast_of("l", ("a", "b"), [Example("A" * 80, "a"), Example("Q", "b")], True))


def test_a_hook_point_of_a_later_layer_is_fitted_too():
    assert set(fit_method(methods()["mean_difference"], planted_session(), planted_pairs(), [1, 2]).vectors) == {
        HookPoint(1, "resid_post"),
        HookPoint(2, "resid_post"),
    }
