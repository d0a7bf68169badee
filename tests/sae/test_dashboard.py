"""A dashboard against the plain formulas: statistics, examples, directions; kept, read, searched, gone on with."""

import numpy as np
import pytest

from capture.store import ActivationStore
from sae.dashboard import build_dashboard
from sae.dashboards import card, cards, dashboards_of, labels, latent_rows, row_of, set_label
from tests.sae.dashboard_cases import D_SAE, dense, subject, texts


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    opened = ActivationStore.open(tmp_path_factory.mktemp("dashboards") / "s.duckdb")
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def facts(store, tiny_session):
    return build_dashboard(subject(tiny_session), store)


@pytest.fixture(scope="module")
def codes(tiny_session):
    return dense(tiny_session)


def test_statistics_of_every_latent_are_those_of_the_dense_codes(store, facts, codes):
    n_tokens = sum(len(text) - 1 for text in texts())
    assert (facts.n_tokens, facts.n_done, facts.is_complete) == (n_tokens, n_tokens, True)
    found = list(cards(store, facts.id))
    assert [one.latent for one in found] == list(range(D_SAE))
    for one in found:
        z = codes.of(one.latent)
        assert (one.n_fired, one.density) == (len(z), len(z) / n_tokens)
        if not len(z):
            assert (one.max, one.mean, one.skew, one.groups) == (0.0, None, None, ())
            continue
        square = (z**2).mean()
        wanted = (z.max(), z.mean(), square, (z**3).mean() / square**1.5, (z**4).mean() / square**2)
        # float32 codes of a batched pass differ by about 1e-6 of their size.
        assert (one.max, one.mean, one.mean_square, one.skew, one.kurtosis) == pytest.approx(wanted, rel=1e-5)
        counts, _ = np.histogram(z, one.histogram.edges)
        assert counts.tolist() == list(one.histogram.counts)


def test_cards_rows_and_labels_are_read_without_the_model(store, facts):
    assert dashboards_of(store, facts.sae, facts.fingerprint) == (facts,)
    assert dashboards_of(store, facts.sae, "other") == dashboards_of(store, "other") == ()
    assert card(store, facts.id, D_SAE) is card(store, "other", 0) is None
    rows = latent_rows(store, facts.id, sort="max", limit=5)
    assert [row.max for row in rows] == sorted((row.max for row in rows), reverse=True)
    assert row_of(store, facts.id, [rows[0].latent, 999]) == {rows[0].latent: rows[0]}
    set_label(store, facts.sae, rows[0].latent, "<b>a 'label'</b>; DROP TABLE objects --", "ada")
    assert card(store, facts.id, rows[0].latent).label.author == "ada"
    assert [row.latent for row in latent_rows(store, facts.id, search="'LABEL'")] == [rows[0].latent]
    set_label(store, facts.sae, rows[0].latent, "", "ada")
    assert labels(store, facts.sae) == {}
