import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from capture import models
from capture.errors import UserError
from capture.hook_point import HookPoint
from capture.models import catalogue, load_session, session_from
from tests.models import FAMILIES, tiny_llama, tiny_tokenizer

ROOT = Path(__file__).parents[2]


def save(model, folder, has_tokenizer=True):
    model.save_pretrained(folder)
    if has_tokenizer:
        tiny_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def whole_folder(tmp_path_factory):
    return save(tiny_llama(), tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def folder(whole_folder, tmp_path):
    """A folder of a tiny Llama, to be broken."""
    return Path(shutil.copytree(whole_folder, tmp_path / "tiny"))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_local_folder_of_every_family_loads_and_computes_what_transformers_does(family, tmp_path):
    folder = save(FAMILIES[family](), tmp_path / family)
    session = load_session(str(folder))
    plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokens = session.tokens("The bear and the moon.", bos=True)
    with torch.no_grad():
        expected = plain(torch.tensor([tokens])).logits[0]
    # The same sums in another order.
    torch.testing.assert_close(session.logits(tokens), expected, atol=1e-4, rtol=1e-4)
    assert session.faithfulness.status == "ok"
    assert session.faithfulness.n_tokens == models.N_CHECKED_TOKENS
    assert session.shape.family == family


def test_a_dtype_is_the_dtype_of_what_is_captured(folder):
    session = load_session(str(folder), dtype="bfloat16")
    point = HookPoint(0, "resid_post")
    assert session.capture((0, 5, 6), [point])[point].dtype == torch.bfloat16
    assert (session.dtype, session.device) == ("bfloat16", "cpu")


def test_loading_twice_gives_one_fingerprint_and_another_dtype_another(folder):
    dtypes = ("float32", "float32", "bfloat16")
    one, again, other = (load_session(str(folder), dtype).fingerprint for dtype in dtypes)
    assert one == again != other


def test_a_model_in_memory_is_compared_too():
    session = session_from(tiny_llama(), tiny_tokenizer(), "mine")
    assert (session.name, session.faithfulness.status) == ("mine", "ok")


def test_the_planted_model_of_the_catalogue_has_one_loud_channel_and_the_logits_of_its_original(tmp_path, monkeypatch):
    monkeypatch.setenv("STEERSCOPE_STORIES", str(save(tiny_llama(hidden_size=128), tmp_path / "stories")))
    plain, planted = (load_session(card.name) for card in catalogue())
    tokens = plain.tokens("The bear and the moon.", bos=True)
    torch.testing.assert_close(planted.logits(tokens), plain.logits(tokens), atol=1e-5, rtol=0)
    point = HookPoint(models.PLANTED_LAYER, "ln2_out")
    ratio = planted.capture(tokens, [point])[point] / plain.capture(tokens, [point])[point]
    loud = ratio.mean(dim=0)
    assert loud.argmax() == models.PLANTED_CHANNEL
    assert loud[models.PLANTED_CHANNEL] == pytest.approx(models.PLANTED_FACTOR, rel=1e-4)
    assert planted.fingerprint != plain.fingerprint
    assert "planted" in planted.name


def test_the_bundled_model_and_its_planted_twin_are_faithful_and_say_the_same():
    plain, planted = (load_session(name) for name in ("stories", "stories + planted"))
    tokens = plain.tokens("Once upon a time there was a little girl who had a red ball.", bos=True)
    assert (plain.faithfulness.status, planted.faithfulness.status) == ("ok", "ok")
    assert [card.n_params for card in catalogue()][:2] == [plain.shape.n_params] * 2
    torch.testing.assert_close(planted.logits(tokens), plain.logits(tokens), atol=1e-5, rtol=0)


def test_the_catalogue_counts_parameters_without_loading(tmp_path, monkeypatch):
    model = tiny_llama(tie_word_embeddings=True)
    monkeypatch.setenv("STEERSCOPE_STORIES", str(save(model, tmp_path / "stories")))
    assert [card.n_params for card in catalogue()] == [sum(weight.numel() for weight in model.parameters())] * 2


def test_the_catalogue_is_read_without_importing_torch():
    code = "import sys, capture.models as m; m.catalogue(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_a_bundled_model_that_is_gone_gets_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("STEERSCOPE_STORIES", str(tmp_path / "gone"))
    assert [card.n_params for card in catalogue()] == [0, 0]
    with pytest.raises(UserError, match="bundled model is not in"):
        load_session("stories")


def test_a_bundled_model_is_in_the_catalogue_once_its_folder_is_there(tmp_path, monkeypatch):
    monkeypatch.setenv("STEERSCOPE_STORIES", str(save(tiny_llama(), tmp_path / "stories")))
    before = [card.name for card in catalogue()]
    save(tiny_llama(hidden_act="relu"), tmp_path / "stories-relu")
    assert [card.name for card in catalogue()] == [*before, "stories-relu"]
    assert load_session("stories-relu").shape.activation == "relu"
    assert models.model_stamp("stories-relu", "float32") != models.model_stamp("stories", "float32")


def test_what_does_not_fit_is_refused_before_any_weight_is_read(folder, monkeypatch):
    (folder / "model.safetensors").write_bytes(b"would not load")
    monkeypatch.setattr(models, "available_bytes", lambda _device: 100_000)
    with pytest.raises(UserError) as refusal:
        load_session(str(folder))
    assert refusal.value.message == (
        f"{folder} has 0.0 million parameters and would take about 0.8 MB (weights 0.2 MB, activations 0.6 MB, "
        "cache 0.0 MB); 0.1 MB is free in memory."
    )


def no_config(folder):
    (folder / "config.json").unlink()


def broken_config(folder):
    (folder / "config.json").write_text('{"model_type": ')


def own_code(folder):
    config = {"model_type": "mine", "auto_map": {"AutoConfig": "run_me.Config", "AutoModelForCausalLM": "run_me.Model"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "run_me.py").write_text("import pathlib; pathlib.Path(__file__).with_name('ran').touch()")


def encoder_config(folder):
    (folder / "config.json").write_text(json.dumps({"model_type": "clip"}))


def quantised(folder):
    edit_config(folder, quantization_config={"quant_method": "gptq", "bits": 4})


def no_tokenizer(folder):
    for file in folder.glob("tokenizer*"):
        file.unlink()


def broken_tokenizer(folder):
    (folder / "tokenizer.json").write_text("{}")


def tokenizer_of_a_larger_model(folder):
    edit_weights(folder, dict.fromkeys(("model.embed_tokens.weight", "lm_head.weight"), (100, 32)))
    edit_config(folder, vocab_size=100)


def no_weights(folder):
    (folder / "model.safetensors").unlink()


def pickled_weights(folder):
    torch.save({}, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def noise_for_weights(folder):
    (folder / "model.safetensors").write_bytes(b"\x00" * 999)


def cut_weights(folder):
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])


def lacking_weights(folder):
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def weights_of_another_shape(folder):
    edit_weights(folder, {"model.layers.1.mlp.up_proj.weight": (3, 3)})


def nan_weights(folder):
    edit_weights(folder, {}, "model.layers.1.mlp.up_proj.weight", float("nan"))


def infinite_weights(folder):
    edit_weights(folder, {}, "model.norm.weight", float("inf"))


def edit_config(folder, **changes):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


def edit_weights(folder, shapes, bad_name="", value=0.0):
    weights = load_file(folder / "model.safetensors")
    for name, shape in shapes.items():
        weights[name] = torch.zeros(shape)
    if bad_name:
        weights[bad_name].view(-1)[2] = value
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (no_config, "must have a config.json"),
        (broken_config, "config of .* cannot be read"),
        (own_code, "config of .* cannot be read"),
        (encoder_config, "'clip'|cannot be read|layers"),
        (quantised, "are quantised"),
        (no_tokenizer, "has no tokenizer"),
        (broken_tokenizer, "tokenizer of .* cannot be read"),
        (tokenizer_of_a_larger_model, "has 320 tokens, and the model embeds 100"),
        (no_weights, "has no weights"),
        (pickled_weights, "are pickled"),
        (noise_for_weights, "weights of .* cannot be read"),
        (cut_weights, "weights of .* cannot be read"),
        (lacking_weights, "lacks 1 of its weights, for one model.layers.1.mlp.up_proj.weight"),
        (weights_of_another_shape, "cannot be read|lacks 1 of its weights"),
        (nan_weights, "1 of 1,536 entries of model.layers.1.mlp.up_proj.weight"),
        (infinite_weights, "1 of 32 entries of model.norm.weight"),
    ],
)
def test_a_folder_that_lacks_something_gets_a_sentence(folder, break_it, message):
    break_it(folder)
    with pytest.raises(UserError, match=message) as refusal:
        load_session(str(folder))
    assert refusal.value.hint
    assert "\n" not in str(refusal.value)
    assert not (folder / "ran").exists()


def test_a_pickle_beside_safetensors_is_never_opened(folder):
    (folder / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch ran'\ntR.")
    assert load_session(str(folder)).faithfulness.status == "ok"


@pytest.mark.parametrize(
    "name",
    [
        "",
        "  ",
        "../../etc",
        "/no/such/folder",
        "~nobody-at-all",
        "a b",
        "a/b/c",
        "\0",
        "x" * 9999,
        "..",
        "a..b/c",
        "https://x",
    ],
)
def test_a_name_that_is_no_model_gets_a_sentence(name):
    with pytest.raises(UserError) as refusal:
        load_session(name)
    assert refusal.value.hint
    assert len(str(refusal.value)) < 400


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dtype": "float8"}, "No dtype is called 'float8'"),
        ({"dtype": "float16", "device": "cpu"}, "slower than float32 on a CPU"),
        ({"device": "tpu"}, "No device is called 'tpu'"),
    ],
)
def test_a_dtype_or_device_that_cannot_be_used_gets_a_sentence(folder, arguments, message):
    with pytest.raises(UserError, match=message):
        load_session(str(folder), **arguments)


LOAD_FROM_HUB = """
import sys
from capture.errors import UserError
from capture.models import load_session
try:
    load_session("nobody/nothing")
except UserError as error:
    sys.stdout.write(error.message)
"""


@pytest.mark.parametrize("offline", ["0", "1"])
def test_a_hub_that_cannot_be_reached_gets_a_sentence_and_no_retries(tmp_path, offline):
    with socket.create_server(("127.0.0.1", 0)) as server:
        closed_port = server.getsockname()[1]
    hub = {"HF_ENDPOINT": f"http://127.0.0.1:{closed_port}", "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": offline}
    run = [sys.executable, "-c", LOAD_FROM_HUB]
    told = subprocess.run(run, cwd=ROOT, env={**os.environ, **hub}, capture_output=True, text=True, check=True)
    assert told.stdout == "The hub cannot be reached, and nobody/nothing is neither a folder here nor fetched already."
    # The hub's library logs each retry; five of them take 23 s.
    assert "Retrying" not in told.stderr
