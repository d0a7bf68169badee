"""Training on a model's activations: rows, resume to the same weights, two processes as one, bad runs."""

import copy
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from capture.errors import UserError
from capture.hook_point import HookPoint
from capture.session import ModelSession
from sae.activation_rows import ActivationRows, windows_of, without_massive
from sae.library import load_sae
from sae.row_choice import RowChoice
from sae.sae_recipe import SaeRecipe
from sae.token_windows import TokenWindows
from sae.training import Run, train_sae
from sae.training_curve import read_curve
from tests.models import tiny_llama, tiny_tokenizer

AT = HookPoint(1, "resid_post")
CHOICE = RowChoice(window=16, buffer_rows=600)
RECIPE = SaeRecipe(d_sae=48, k=4, k_aux=8, batch_rows=64, total_rows=64 * 30, warmup_steps=3, dead_after_rows=256)
ROOT = Path(__file__).resolve().parents[2]
STORY = "The bear sat on the mat and saw that the moon was bright. She said the night was long and the cat was small. "


@pytest.fixture(scope="module")
def texts(tiny_session, tmp_path_factory):
    folder = tmp_path_factory.mktemp("text")
    (folder / "a.train.txt").write_text(f"{STORY * 20}\n<|endoftext|>\n{STORY * 8}")
    (folder / "a.heldout.txt").write_text("Never read. " * 50)
    return tuple(windows_of(tiny_session, folder, CHOICE))


def a_run(session, texts, out, **recipe):
    return Run(session, texts, AT, replace(RECIPE, **recipe), CHOICE, out)


def test_windows_begin_with_bos_and_leave_out_held_out_files(tiny_session, texts):
    bos = tiny_session.tokens("a", True)[0]
    assert {window[0] for window in texts} == {bos}
    assert max(map(len, texts)) == CHOICE.window
    joined = "".join(text for window in texts for text in tiny_session.token_texts(window[1:]))
    assert joined.count("bear") == 28
    assert "Never" not in joined


def test_rows_are_the_captures_of_the_texts_in_another_order(tiny_session, texts):
    rows = ActivationRows(tiny_session, texts, AT, replace(CHOICE, buffer_rows=10**6)).buffer(0)
    direct = torch.cat([tiny_session.capture(tokens, (AT,))[AT][1:].float() for tokens in texts])
    assert rows.shape == direct.shape
    assert not torch.equal(rows, direct)
    torch.testing.assert_close(rows.sort(dim=0).values, direct.sort(dim=0).values, atol=1e-5, rtol=1e-5)


def test_massive_rows_are_told_by_the_median_norm():
    rows = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0], [0.0, 7.0]])
    assert without_massive(rows, 3.0).tolist() == rows[:3].tolist()
    assert without_massive(rows, 1.0).tolist() == rows[:2].tolist()
    assert without_massive(rows, 0.0) is rows


def test_windows_in_one_array_are_the_windows():
    windows = [(1, 2, 3), (4,), (5, 6)]
    packed = TokenWindows(windows)
    assert (list(packed), len(packed), packed[1], packed[-1], list(packed[1:])) == (
        windows,
        3,
        (4,),
        (5, 6),
        windows[1:],
    )
    with pytest.raises(IndexError):
        packed[3]


def test_rows_in_bfloat16_are_kept_so_and_train_to_about_the_same(tiny_session, texts, tmp_path):
    halved = ModelSession(copy.deepcopy(tiny_llama()).bfloat16(), tiny_tokenizer(), name="tiny llama")
    assert ActivationRows(halved, texts, AT, CHOICE).buffer(0).dtype == torch.bfloat16
    exact = train_sae(a_run(tiny_session, texts, tmp_path / "exact"))
    rough = train_sae(a_run(halved, texts, tmp_path / "rough", precision="bfloat16"))
    assert rough.W_dec.dtype == torch.float32
    last = [read_curve(tmp_path / name)[-1]["fvu"] for name in ("exact", "rough")]
    assert last[1] == pytest.approx(last[0], rel=0.05)
    assert exact.digest != rough.digest


@pytest.mark.parametrize("site", ["q", "pattern"])
def test_a_hook_point_without_one_vector_a_token_is_refused(tiny_session, texts, tmp_path, site):
    run = replace(a_run(tiny_session, texts, tmp_path), at=HookPoint(1, site))
    with pytest.raises(UserError, match="one vector for each token"):
        train_sae(run)


def test_an_epoch_gives_every_row_once_and_the_next_in_another_order(tiny_session, texts):
    rows = ActivationRows(tiny_session, texts, AT, CHOICE)
    n_buffers = len(rows._buffer_starts()) - 1
    assert n_buffers > 1
    epochs = [torch.cat([rows.buffer(e * n_buffers + n) for n in range(n_buffers)]) for e in range(2)]
    torch.testing.assert_close(*(one.sort(dim=0).values for one in epochs), atol=1e-5, rtol=1e-5)
    assert not torch.equal(*epochs)


def test_rows_of_massive_norm_are_left_out(tiny_session, texts):
    whole = ActivationRows(tiny_session, texts, AT, replace(CHOICE, skip_first=False)).buffer(0)
    norms = whole.norm(dim=1)
    kept = ActivationRows(tiny_session, texts, AT, replace(CHOICE, skip_first=False, massive_ratio=1.05)).buffer(0)
    assert 0 < len(kept) < len(whole)
    assert len(kept) == int((norms <= 1.05 * norms.median()).sum())


@pytest.mark.parametrize("kind", ["topk", "batch_topk", "matryoshka"])
def test_a_run_that_was_stopped_ends_in_the_same_weights(tiny_session, texts, tmp_path, kind):
    whole = train_sae(a_run(tiny_session, texts, tmp_path / "whole", kind=kind))
    asked = []

    def stop(share, words):
        asked.append(share)
        if len(asked) == 17:
            raise KeyboardInterrupt

    stopped = a_run(tiny_session, texts, tmp_path / "stopped", kind=kind)
    with pytest.raises(KeyboardInterrupt):
        train_sae(stopped, stop, save_every_s=0.0)
    n_before = len(asked)
    again = train_sae(stopped, lambda share, words: asked.append(share))
    assert len(asked) - n_before == RECIPE.n_steps - 16
    assert again.digest == whole.digest
    record = json.loads((tmp_path / "stopped" / "training.json").read_text())
    assert read_curve(tmp_path / "stopped") == record["curve"] == read_curve(tmp_path / "whole")
    assert len(record["curve"]) == RECIPE.n_steps
    assert load_sae(tmp_path / "stopped").digest == record["digest"]


def test_the_saved_folder_is_read_as_it_was_trained(tiny_session, texts, tmp_path):
    trained = train_sae(a_run(tiny_session, texts, tmp_path))
    again = load_sae(tmp_path, tiny_session.shape.d_model, str(AT))
    x = ActivationRows(tiny_session, texts, AT, CHOICE).buffer(0)
    torch.testing.assert_close(again.reconstruct(x)[0], trained.reconstruct(x)[0])
    record = json.loads((tmp_path / "training.json").read_text())
    assert record["fingerprint"] == tiny_session.fingerprint
    assert record["curve"][-1]["fvu"] < record["curve"][0]["fvu"]


def test_a_checkpoint_of_another_run_is_refused(tiny_session, texts, tmp_path):
    train_sae(a_run(tiny_session, texts, tmp_path))
    with pytest.raises(UserError, match="of another run"):
        train_sae(a_run(tiny_session, texts, tmp_path, k=5))


def test_a_training_that_diverges_keeps_the_last_good_checkpoint(tiny_session, texts, tmp_path, monkeypatch):
    run = a_run(tiny_session, texts, tmp_path)
    rows_of = ActivationRows.buffer
    monkeypatch.setattr(ActivationRows, "buffer", lambda self, n: rows_of(self, n) * (float("nan") if n else 1))
    with pytest.raises(UserError, match="The last good weights"):
        train_sae(run, save_every_s=0.0)
    kept = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert 0 < kept["step"] < RECIPE.n_steps
    assert all(bool(torch.isfinite(weight).all()) for weight in kept["weights"].values())


def test_text_that_does_not_fill_a_batch_is_refused(tiny_session, texts, tmp_path):
    with pytest.raises(UserError, match="must fit into the text"):
        train_sae(a_run(tiny_session, texts[:2], tmp_path))


def test_a_folder_without_text_is_refused(tiny_session, tmp_path):
    with pytest.raises(UserError, match=r"must hold \.txt files"):
        windows_of(tiny_session, tmp_path, CHOICE)


def test_two_processes_train_as_one(tmp_path):
    """On rows that are made in code; the sum of a gradient's halves rounds differently from the whole."""
    script = ROOT / "tests" / "sae" / "parallel_training.py"
    environment = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PATH": ""}
    alone, together = tmp_path / "alone.pt", tmp_path / "together.pt"
    subprocess.run([sys.executable, str(script), str(alone)], env=environment, check=True)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--master_addr=127.0.0.1"]
    port = ["--master_port=0", "--rdzv_backend=c10d", "--rdzv_endpoint=127.0.0.1:0"]
    run = subprocess.run(
        [*launcher, *port, str(script), str(together)], env=environment, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr[-4000:]
    one, two = (torch.load(path, weights_only=True) for path in (alone, together))
    assert torch.equal(one["counter"], two["counter"])
    for name, weight in one["weights"].items():
        torch.testing.assert_close(two["weights"][name], weight, atol=2e-4, rtol=1e-3)
