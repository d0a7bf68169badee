"""Dashboards in Neuronpedia's field names, on disk and by the command line."""

import gzip
import json

import pytest

import cli
from capture.errors import UserError
from capture.store import ActivationStore
from sae.dashboard import build_dashboard
from sae.dashboards import card, set_label
from sae.library import save_sae
from sae.neuronpedia import export_dashboard, feature_json
from tests.sae.dashboard_cases import D_SAE, HOOK, small_sae, subject

HOSTILE = '</script>"\n\u2028 é'


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    opened = ActivationStore.open(tmp_path_factory.mktemp("np") / "s.duckdb")
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def facts(store, tiny_session):
    return build_dashboard(subject(tiny_session), store)


def lines(path):
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return [json.loads(line) for line in data.decode().split("\n") if line]


def test_a_latent_has_neuronpedias_fields_with_the_cards_numbers(store, facts):
    one = card(store, facts.id, 12)
    found = feature_json(one)
    assert (found["modelId"], found["layer"], found["index"]) == ("tiny llama", "1-small", "12")
    assert (found["frac_nonzero"], found["maxActApprox"], found["hookName"]) == (one.density, one.max, HOOK)
    assert (found["pos_str"], found["neg_values"]) == (
        [t.text for t in one.promoted],
        [t.weight for t in one.suppressed],
    )
    assert sum(found["freq_hist_data_bar_heights"]) == one.n_fired
    assert len(found["logits_hist_data_bar_heights"]) == len(found["logits_hist_data_bar_values"]) == 50
    assert found["topkCosSimIndices"] == [n.latent for n in one.neighbours]
    for activation in found["activations"]:
        assert activation["values"][activation["maxValueTokenIndex"]] == activation["maxValue"]
        assert len(activation["tokens"]) == len(activation["values"])
    bins = [a["binContains"] for a in found["activations"] if a["binMin"] is not None]
    assert bins == pytest.approx([0.2] * len(bins), abs=0.02)


def test_the_bulk_layout_has_every_latent_and_labels_as_explanations(store, facts, tmp_path):
    set_label(store, facts.sae, 3, HOSTILE, "ada")
    assert export_dashboard(store, facts.id, tmp_path) == D_SAE
    features = lines(tmp_path / "features" / "batch-0000.jsonl.gz")
    assert [one["index"] for one in features] == [str(n) for n in range(D_SAE)]
    (label,) = lines(tmp_path / "explanations" / "batch-0000.jsonl.gz")
    assert (label["index"], label["description"], label["authorName"]) == ("3", " ".join(HOSTILE.split()), "ada")
    assert label["createdAt"].endswith("+00:00")
    (source,) = lines(tmp_path / "source.jsonl")
    assert (source["id"], source["creation"]["n_done"]) == ("1-small", facts.n_tokens)
    activations = lines(tmp_path / "activations" / "batch-0000.jsonl.gz")
    n_examples = [sum(len(g.examples) for g in card(store, facts.id, n).groups) for n in range(D_SAE)]
    assert len(activations) == sum(n_examples)
    with pytest.raises(UserError, match="no dashboard"):
        export_dashboard(store, "none", tmp_path)


@pytest.fixture
def run(tiny_session, monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("STEERSCOPE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("capture.models.load_session", lambda name, dtype: tiny_session)

    def command(*arguments):
        with pytest.raises(SystemExit) as ended:
            cli.main(["sae", "dashboard", *map(str, arguments)])
        return int(ended.value.code or 0), capsys.readouterr()

    return command


def test_the_command_builds_keeps_and_writes(run, tmp_path):
    save_sae(small_sae(), tmp_path / "small")
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a.txt").write_text("The cat sat near the river and the trees. " * 20)
    given = (tmp_path / "small", "--text", tmp_path / "text", "--window", 32)
    code, said = run(*given)
    assert (code, f"{D_SAE} latents of small" in said.out, "Dashboard " in said.out) == (0, True, True)
    code, said = run(*given, "--no-store", "--out", tmp_path / "np")
    assert (code, "Dashboard " in said.out) == (0, False)
    assert len(lines(tmp_path / "np" / "features" / "batch-0000.jsonl.gz")) == D_SAE


def test_the_command_refuses_by_a_sentence(run, tmp_path):
    save_sae(small_sae(), tmp_path / "small")
    code, said = run(tmp_path / "small")
    assert (code, "one folder or one text set" in said.err) == (2, True)
    code, said = run(tmp_path / "small", "--text-set", "nothing")
    assert (code, "No text set is called 'nothing'" in said.err) == (2, True)
    code, said = run(tmp_path / "small", "--text-set", "tour", "--no-store")
    assert (code, "kept nowhere" in said.err) == (2, True)
    code, said = run("no-such-sae", "--text-set", "tour")
    assert (code, "No SAE on the shelf is called 'no-such-sae'" in said.err) == (2, True)
