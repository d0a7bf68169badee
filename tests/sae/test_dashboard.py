"""A dashboard against the plain formulas: statistics, examples, directions; kept, read, searched, gone on with."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from capture.errors import UserError
from capture.store import ActivationStore
from capture.store_query import query
from sae import dashboard
from sae.dashboard import Subject, build_dashboard
from sae.dashboards import all_labels, card, cards, dashboards_of, labels, latent_rows, row_of, set_label
from sae.kept_examples import AFTER, BEFORE
from sae.latent_stream import N_CONTEXT, N_TOP
from tests.sae.dashboard_cases import D_SAE, HOOK, dense, small_sae, subject, texts

HOSTILE = "<b>a 'label'</b>; DROP TABLE objects -- \u202e"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    opened = ActivationStore.open(tmp_path_factory.mktemp("dashboards") / "s.duckdb")
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def facts(store, tiny_session):
    return build_dashboard(subject(tiny_session), store)


@pytest.fixture(scope="module")
def found(store, facts):
    return list(cards(store, facts.id))


@pytest.fixture(scope="module")
def codes(tiny_session):
    return dense(tiny_session)


def test_statistics_of_every_latent_are_those_of_the_dense_codes(facts, found, codes):
    n_tokens = sum(len(text) - 1 for text in texts())
    assert (facts.n_tokens, facts.n_done, facts.is_complete) == (n_tokens, n_tokens, True)
    assert [one.latent for one in found] == list(range(D_SAE))
    for one in found:
        z = codes.of(one.latent)
        assert (one.n_fired, one.density) == (len(z), len(z) / n_tokens)
        if len(z):
            square = (z**2).mean()
            wanted = (z.max(), z.mean(), square, (z**3).mean() / square**1.5, (z**4).mean() / square**2)
            # float32 codes of a batched pass differ by about 1e-6 of their size.
            assert (one.max, one.mean, one.mean_square, one.skew, one.kurtosis) == pytest.approx(wanted, rel=1e-5)
            assert np.histogram(z, one.histogram.edges)[0].tolist() == list(one.histogram.counts)


def test_a_latent_that_never_fired_has_a_card_without_numbers_that_mean_nothing(found):
    dead = found[7]
    assert (dead.n_fired, dead.density, dead.max, dead.mean, dead.skew, dead.groups) == (0, 0.0, 0.0, None, None, ())
    assert dead.histogram.counts == ()
    assert len(dead.promoted) == len(dead.neighbours) == 10


def context(text, pos):
    return texts()[text][max(0, pos + 1 - N_CONTEXT) : pos + 1]


def best_of_each_context(codes, latent):
    """The largest peaks of a latent in a text, one for each context of the last tokens: (value, context)."""
    peaks = [(float(one[:, latent].max()), text, int(one[:, latent].argmax())) for text, one in enumerate(codes.values)]
    best = {}
    for value, text, pos in peaks:
        best[context(text, pos)] = max(value, best.get(context(text, pos), 0.0))
    return sorted(((value, tokens) for tokens, value in best.items() if value > 0), reverse=True)[:N_TOP]


def test_top_examples_are_the_peaks_of_texts_once_a_context_with_what_is_around_them(found, codes):
    for one in found:
        top = [example for group in one.group("top") for example in group.examples]
        wanted = best_of_each_context(codes, one.latent)
        assert [e.value for e in top] == pytest.approx([value for value, _ in wanted], rel=1e-5)
        assert [context(e.text, e.pos) for e in top] == [tokens for _, tokens in wanted]
        for example in top:
            first, last = max(0, example.pos - BEFORE), example.pos + AFTER + 1
            assert example.tokens == texts()[example.text][first:last]
            around = codes.values[example.text][first:last, one.latent]
            assert example.values == pytest.approx(around, rel=1e-5)
            assert (example.peak, example.values[example.peak]) == (example.pos - first, example.value)


def test_quantile_and_random_examples_are_firing_places_in_their_ranges(found, codes):
    alive = [one for one in found if one.n_fired > 60]
    assert len(alive) > 10
    for one in alive:
        assert [group.kind for group in one.groups] == ["top", *["quantile"] * 5, "random"]
        for group in one.groups[1:]:
            for example in group.examples:
                value = codes.values[example.text][example.pos, one.latent]
                assert group.low * 0.9999 <= value <= group.high * 1.0001
        inside = [
            int(((z := codes.of(one.latent)) >= g.low).sum() - (z >= g.high).sum()) for g in one.group("quantile")
        ]
        # A limit within a bin is interpolated, so shares of a fifth are near and not equal.
        assert inside == pytest.approx([group.n_firing for group in one.group("quantile")], abs=0.12 * one.n_fired)


def test_promoted_tokens_and_neighbours_are_those_of_the_whole_products(found, tiny_session, facts):
    sae = small_sae()
    weights = sae.W_dec * tiny_session.weight("ln_final", 0) @ tiny_session.weight("W_U", 0)
    weights -= weights.mean(dim=1, keepdim=True)
    cosines = sae.W_dec @ sae.W_dec.t() - 2 * torch.eye(D_SAE)
    for one in found:
        row, near = weights[one.latent], cosines[one.latent].topk(10)
        assert [t.weight for t in one.promoted] == pytest.approx(row.topk(10).values.tolist(), abs=1e-5)
        assert [float(row[t.token]) for t in one.promoted] == pytest.approx([t.weight for t in one.promoted], abs=1e-5)
        assert [t.weight for t in one.suppressed] == pytest.approx((-(-row).topk(10).values).tolist(), abs=1e-5)
        assert [n.latent for n in one.neighbours] == near.indices.tolist()
        assert sum(one.logits.counts) == len(row)
    assert "gain of the final norm" in facts.logit_rule


def test_the_order_of_texts_changes_no_statistic_and_no_example(found, tiny_session, store):
    order = np.random.default_rng(1).permutation(len(texts())).tolist()
    mixed = replace(subject(tiny_session), texts=tuple(texts()[n] for n in order))
    other = list(cards(store, build_dashboard(mixed, store).id))
    for one, two in zip(found, other, strict=True):
        assert (one.n_fired, one.histogram) == (two.n_fired, two.histogram)
        numbers = [[each.density, each.max, each.mean or 0.0, each.kurtosis or 0.0] for each in (one, two)]
        assert numbers[0] == pytest.approx(numbers[1], rel=1e-6)
        # Of equal contexts the earlier text is shown, and which that is the order decides.
        first, second = ([e.value for g in each.group("top") for e in g.examples] for each in (one, two))
        assert first == pytest.approx(second, rel=1e-5)


class StoppedError(Exception):
    """A build that was killed."""


def stop_after(n):
    def progress(share, words):
        nonlocal n
        n -= 1
        if n < 0:
            raise StoppedError

    return progress


def test_a_build_that_was_stopped_ends_as_one_that_was_not(found, facts, tiny_session, tmp_path, monkeypatch):
    monkeypatch.setattr(dashboard, "BATCH_TOKENS", 128)
    monkeypatch.setattr(dashboard, "FIRST_WRITE_S", 0.0)
    monkeypatch.setattr(dashboard, "WRITE_EVERY_S", 0.0)
    monkeypatch.setattr(dashboard, "SHARE_WRITING", 1e9)
    other = ActivationStore.open(tmp_path / "s.duckdb")
    with pytest.raises(StoppedError):
        build_dashboard(subject(tiny_session), other, stop_after(3))
    (partly,) = dashboards_of(other, facts.sae)
    assert 0 < partly.n_done < partly.n_tokens
    shares = []
    done = build_dashboard(subject(tiny_session), other, lambda share, words: shares.append(share))
    assert shares[0] > partly.share
    assert (done.id, done.is_complete, other.contents()[2].n) == (facts.id, True, 0)
    for one, two in zip(found, cards(other, done.id), strict=True):
        assert (one.n_fired, one.histogram, one.promoted) == (two.n_fired, two.histogram, two.promoted)
        assert [(e.text, e.pos) for g in one.groups for e in g.examples] == [
            (e.text, e.pos) for g in two.groups for e in g.examples
        ]
    other.close()


def test_a_complete_dashboard_is_not_built_again(facts, store, tiny_session, monkeypatch):
    monkeypatch.setattr(type(tiny_session), "stream", None)
    assert build_dashboard(subject(tiny_session), store) == facts


def test_cards_and_rows_are_read_without_the_model(store, facts):
    assert facts in dashboards_of(store, facts.sae, facts.fingerprint)
    assert dashboards_of(store, facts.sae, "other") == dashboards_of(store, "other") == ()
    assert card(store, facts.id, D_SAE) is card(store, facts.id, -1) is card(store, "other", 0) is None
    rows = latent_rows(store, facts.id, sort="max", limit=5)
    assert [row.max for row in rows] == sorted((row.max for row in rows), reverse=True)
    assert latent_rows(store, facts.id, sort="max", limit=2, offset=1) == rows[1:3]
    assert row_of(store, facts.id, [rows[0].latent, 999]) == {rows[0].latent: rows[0]}
    none = latent_rows(store, facts.id, low_density=0.0, high_density=0.0)
    assert 7 in [row.latent for row in none]
    with pytest.raises(UserError, match="cannot be sorted by 'x; DROP'"):
        latent_rows(store, facts.id, sort="x; DROP")
    with pytest.raises(UserError, match="no dashboard"):
        latent_rows(store, "other")


def test_a_search_finds_numbers_labels_and_tokens(store, facts, found):
    row = row_of(store, facts.id, [11])[11]
    assert 11 in [one.latent for one in latent_rows(store, facts.id, search=" 11 ")]
    for words in (row.fires_on[0], row.promotes[0].upper()):
        hits = latent_rows(store, facts.id, search=words, limit=D_SAE)
        wanted = words.strip().lower()
        assert 11 in [one.latent for one in hits]
        assert all(wanted in "\n".join((*one.fires_on, *one.promotes)).lower() for one in hits)
    peaks = {e.texts[e.peak] for g in found[11].groups for e in g.examples}
    assert set(row.fires_on[:1]) <= peaks


def test_labels_are_kept_by_sae_author_and_time_and_outlive_the_dashboard(tiny_session, tmp_path):
    other = ActivationStore.open(tmp_path / "s.duckdb")
    facts = build_dashboard(subject(tiny_session), other)
    set_label(other, facts.sae, 3, "first", "bo")
    set_label(other, facts.sae, 3, HOSTILE, "ada")
    assert [row.latent for row in latent_rows(other, facts.id, search="'LABEL'")] == [3]
    shown = card(other, facts.id, 3).label
    assert (shown.text, shown.author, shown.made_at > 1.7e9) == (HOSTILE, "ada", True)
    sql = "SELECT label, author FROM latents WHERE latent = 3"
    assert query(other, sql).rows == ((HOSTILE, "ada"),)
    other.clear("dashboard")
    assert (dashboards_of(other, facts.sae), query(other, "SELECT * FROM latents").rows) == ((), ())
    assert [one.text for one in all_labels(other, facts.sae)] == ["first", HOSTILE]
    set_label(other, facts.sae, 3, "", "ada")
    assert {latent: one.text for latent, one in labels(other, facts.sae).items()} == {3: "first"}
    with pytest.raises(UserError, match="at most 500 characters"):
        set_label(other, facts.sae, 3, "x" * 501, "ada")
    other.close()


def test_sql_sees_every_latent_of_every_dashboard(store, facts, found):
    sql = f"SELECT latent, n_fired, density, max, mean FROM latents WHERE dashboard = '{facts.id}' ORDER BY latent"
    assert query(store, sql).rows == tuple((o.latent, o.n_fired, o.density, o.max, o.mean) for o in found)


def test_a_dashboard_that_has_no_room_is_a_sentence(tiny_session, tmp_path):
    other = ActivationStore.open(tmp_path / "s.duckdb", limit_bytes=20_000)
    with pytest.raises(UserError, match=r"the store's limit is 20,000\. Raise the limit"):
        build_dashboard(subject(tiny_session), other)
    other.close()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"texts": ()}, "needs texts of a few tokens"),
        ({"texts": ((5,),)}, "needs texts of a few tokens"),
        ({"hook_point": "blocks.9.hook_resid_post"}, "Layer 9 does not exist"),
        ({"hook_point": "blocks.1.mlp.hook_post"}, "reads activations of 32 numbers"),
    ],
)
def test_what_cannot_be_built_is_a_sentence(changes, words, tiny_session, tmp_path):
    other = ActivationStore.open(tmp_path / "s.duckdb")
    with pytest.raises(UserError, match=words):
        build_dashboard(replace(subject(tiny_session), **changes), other)
    other.close()


def test_an_sae_off_the_residual_stream_says_that_it_promotes_nothing(tiny_session, tmp_path):
    other = ActivationStore.open(tmp_path / "s.duckdb")
    sae = small_sae(hook_point="blocks.1.ln2.hook_out")
    facts = build_dashboard(Subject(tiny_session, sae, texts()), other)
    one = card(other, facts.id, 0)
    assert (one.promoted, one.suppressed, one.logits.counts) == ((), (), ())
    assert facts.logit_rule.startswith("None: ln2_out is not written to the residual stream")
    assert (HOOK in facts.hook_point, len(one.neighbours)) == (False, 10)
    other.close()
