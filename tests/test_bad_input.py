"""What people really type, paste and point at: each is answered, or refused with a sentence and a hint."""

import base64
import random
import string

import numpy as np
import pytest
import torch

from analysis import pipeline
from analysis.lens import lenses
from analysis.report import read_report
from analysis.spec import MAX_CODE_CHARS, Spec, from_code, to_code
from capture.errors import UserError
from capture.models import load_session
from tests.models import tiny_llama, tiny_tokenizer
from tests.shelves import shelve_for

ANSWERED = {
    "one token": "a",
    "one space": " ",
    "emoji": "a 🙂 and a 👩‍👩‍👧",
    "right to left": "שלום עולם",
    "mixed directions": "one \u202eowt\u202c three",
    "HTML": "<script>alert(1)</script>",
    "a NUL and other controls": "a\x00b\x07c\r\n\td",
    "a special token's name": "a <|bos|> b",
    "the same token again and again": "the the the the the the",
}
REFUSED = {
    "empty": ("", "at least one character"),
    "100 k characters": ("word " * 20_000, "64"),
}
NOISE = random.Random(0)


@pytest.fixture
def ask(tiny_session):
    """The Report of a text, from the tiny model, which has an SAE on the shelf."""
    shelve_for(tiny_session)

    def report(lens: str, text: str, bos: bool = True):
        return pipeline.run(Spec(lens, text=text, bos=bos), lambda name, dtype: tiny_session, None).report

    return report


@pytest.mark.parametrize("bos", [True, False], ids=["with BOS", "without BOS"])
@pytest.mark.parametrize("lens", lenses())
@pytest.mark.parametrize("text", ANSWERED.values(), ids=ANSWERED)
def test_an_odd_text_is_answered_with_numbers_that_survive_json(ask, tiny_session, lens, text, bos):
    report = ask(lens, text, bos)
    n_tokens = len(tiny_session.tokens(text, bos))
    assert report.facts["n_tokens"] == n_tokens
    assert read_report(report.to_json()).to_json() == report.to_json()
    for name, array in report.arrays.items():
        # Undefined, and so NaN: what compares tokens with each other for one, and for an SAE the tokens that it leaves
        # out and the loss of the first that it may change.
        n_left_out = report.numbers.get("from_pos", -1) + 1 if len(array) == n_tokens else 0
        assert not np.isinf(array).any(), name
        assert n_tokens == 1 or not np.isnan(array[n_left_out:]).any(), name


@pytest.mark.parametrize("lens", lenses())
@pytest.mark.parametrize(("text", "word"), REFUSED.values(), ids=REFUSED)
def test_a_text_that_cannot_be_run_is_refused_with_a_reason_and_a_hint(ask, lens, text, word):
    with pytest.raises(UserError) as refused:
        ask(lens, text)
    assert word in refused.value.message
    assert refused.value.hint


@pytest.mark.parametrize("text", ANSWERED.values(), ids=ANSWERED)
def test_no_character_is_lost_between_a_text_and_its_tokens(tiny_session, text):
    shown = tiny_session.token_texts(tiny_session.tokens(text, bos=False))
    raw = b"".join(bytes([int(one[3:5], 16)]) if _is_byte(one) else one.encode() for one in shown)
    assert raw.decode() == text


def _is_byte(token_text: str) -> bool:
    return len(token_text) == 6 and token_text.startswith("<0x") and token_text.endswith(">")


def noise(n_characters: int, alphabet: str) -> str:
    return "".join(NOISE.choices(alphabet, k=n_characters))


WHOLE = to_code(Spec("outliers", text="Once upon a time there was a bear."))
BAD_LINKS = {
    "empty": "",
    "cut in half": WHOLE[: len(WHOLE) // 2],
    "cut by one character": WHOLE[:-1],
    "the other half": WHOLE[len(WHOLE) // 2 :],
    "twice": WHOLE + WHOLE,
    "64 kB of base64 noise": noise(65_536, string.ascii_letters + string.digits + "-_"),
    "the longest allowed noise": noise(MAX_CODE_CHARS, string.ascii_letters + string.digits + "-_"),
    "64 kB of any characters": noise(65_536, string.printable),
    "noise that is not ASCII": "日本語🙂" * 100,
    "base64 of noise bytes": base64.urlsafe_b64encode(NOISE.randbytes(40_000)).decode(),
}


@pytest.mark.parametrize("code", BAD_LINKS.values(), ids=BAD_LINKS)
def test_a_broken_link_is_refused_with_a_sentence_and_a_hint(code):
    with pytest.raises(UserError, match="This link cannot be read") as refused:
        from_code(code)
    assert len(str(refused.value)) < 300
    assert refused.value.hint


@pytest.fixture
def model_folder(tmp_path):
    """A transformers folder of a tiny model, whole and sound."""
    tiny_llama().save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    return tmp_path


def without_tokenizer(folder):
    for path in folder.glob("tokenizer*"):
        path.unlink()


def with_nan(folder):
    model = tiny_llama()
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight[3, 5] = float("nan")
    model.save_pretrained(folder)


def without_weights(folder):
    (folder / "model.safetensors").unlink()


def with_cut_weights(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5_000])


def without_config(folder):
    (folder / "config.json").unlink()


def with_broken_config(folder):
    (folder / "config.json").write_text("{")


BREAKAGES = {
    without_tokenizer: "tokenizer",
    with_nan: "NaN",
    without_weights: "weights",
    with_cut_weights: "weights",
    without_config: "config.json",
    with_broken_config: "config.json",
}


def test_a_sound_folder_is_loaded(model_folder):
    assert load_session(str(model_folder)).shape.n_layers == 3


@pytest.mark.parametrize(("break_it", "word"), BREAKAGES.items(), ids=lambda one: getattr(one, "__name__", one))
def test_a_broken_model_folder_is_refused_with_what_is_wrong(model_folder, break_it, word):
    break_it(model_folder)
    spec = Spec("outliers", model=str(model_folder), text="a")
    with pytest.raises(UserError) as refused:
        pipeline.run(spec, load_session, None)
    assert word in str(refused.value)
    assert refused.value.hint


@pytest.mark.parametrize(
    "name", ["", "no such model", "nobody/nothing", "/dev/null", "../../etc", "stories\n", "a" * 5_000]
)
def test_a_name_that_is_no_model_is_refused_with_a_sentence(name):
    with pytest.raises(UserError) as refused:
        load_session(name)
    assert refused.value.hint
    assert len(str(refused.value)) < 600
