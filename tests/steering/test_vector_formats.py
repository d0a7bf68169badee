"""Vector files of other tools: round trips, what each cannot carry, and files that are damaged or hostile."""

import contextlib
import io
import json
import os
import random
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
import torch
from gguf import GGUFReader
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save, save_file

from capture.errors import UserError
from capture.hook_point import HookPoint
from steering import gguf_file
from steering.vector_file import VectorFile, formats, read_vector_file, write_vector_file
from tests import hostile

D = 6
BLOCK_FORMATS = ("llama.cpp", "repeng", "svec")


def post(layer):
    return HookPoint(layer, "resid_post")


def made(*points, seed=0):
    draw = torch.Generator().manual_seed(seed)
    vectors = {at: torch.randn(D, generator=draw) for at in points}
    return VectorFile(vectors, "happy", "stories", "llama", 5)


def put(files, folder):
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return [folder / name for name in files]


def same(one, other):
    return set(one) == set(other) and all(torch.equal(one[at], other[at]) for at in one)


@pytest.mark.parametrize("name", formats())
def test_vectors_come_back_at_their_blocks_with_their_values(name, tmp_path):
    found = made(post(1), post(3), seed=1)
    again = {}
    for path in put(write_vector_file(name, found), tmp_path):
        again |= read_vector_file(path).vectors
    assert same(again, found.vectors)


@given(
    st.dictionaries(st.integers(1, 60), st.integers(0, 2**32 - 1), min_size=1, max_size=5),
    st.sampled_from([*formats()]),
)
@settings(max_examples=60, deadline=None)
def test_any_float32_comes_back_bit_for_bit(tmp_path_factory, seeds, name):
    vectors = {}
    for layer, seed in seeds.items():
        bits = np.random.default_rng(seed).integers(0, 2**32, D, dtype=np.uint32).view(np.float32)
        numbers = torch.from_numpy(np.nan_to_num(np.clip(bits, -2.9e38, 2.9e38), nan=1.0))
        vectors[post(layer)] = numbers if numbers.any() else torch.ones(D)
    again = {}
    for path in put(write_vector_file(name, VectorFile(vectors, "a")), tmp_path_factory.mktemp("file")):
        again |= read_vector_file(path).vectors
    assert same(again, vectors)


@pytest.mark.parametrize("name", formats())
def test_equal_vectors_give_equal_bytes(name):
    first, second = made(post(1), post(2)), made(post(1), post(2))
    assert write_vector_file(name, first) == write_vector_file(name, second)


@pytest.mark.parametrize("name", formats())
def test_a_format_says_what_it_cannot_carry_and_refuses_it(name):
    chosen = formats()[name]
    places = [HookPoint(0, "resid_post"), HookPoint(2, "resid_pre"), HookPoint(1, "mlp_out"), HookPoint(None, "embed")]
    for at in [at for at in places if chosen.left_out(at)]:
        with pytest.raises(UserError, match=chosen.TITLE):
            write_vector_file(name, made(at))
    assert chosen.CANNOT.endswith(".")
    assert not chosen.left_out(post(1))


@pytest.mark.parametrize("name", ["llama.cpp", "repeng"])
def test_gguf_refuses_block_0_with_a_sentence(name):
    with pytest.raises(UserError, match=r"cannot carry block 0: llama\.cpp refuses direction\.0"):
        write_vector_file(name, made(post(0), post(1)))


@pytest.mark.parametrize(("name", "hint"), [("llama.cpp", "gptneox"), ("repeng", "gpt_neox")])
def test_the_gguf_library_reads_what_llama_cpp_demands(name, hint, tmp_path):
    found = VectorFile({post(2): torch.arange(1.0, 4.0)}, "a", "m", "gpt_neox", 4)
    (path,) = put(write_vector_file(name, found), tmp_path)
    reader = GGUFReader(path)
    assert [(one.name, one.tensor_type.name, one.data.tolist()) for one in reader.tensors] == [
        ("direction.1", "F32", [0, 0, 0]),
        ("direction.2", "F32", [1, 2, 3]),
        ("direction.3", "F32", [0, 0, 0]),
    ]
    assert bytes(reader.get_field("controlvector.model_hint").parts[-1]).decode() == hint
    assert bytes(reader.get_field("general.architecture").parts[-1]) == b"controlvector"


def test_svec_is_what_ibm_loads(tmp_path):
    data = json.loads(write_vector_file("svec", made(post(0), post(2)))["steering.svec"])
    assert data["model_type"] == "llama"
    assert {int(layer): len(vector) for layer, vector in data["directions"].items()} == {0: D, 2: D}
    assert data["explained_variances"] == {}


def test_neuronpedia_names_the_hook_point_and_the_source():
    found = VectorFile({HookPoint(2, "resid_pre"): torch.ones(2)}, "happy", "gpt2-small")
    (data,) = (json.loads(one) for one in write_vector_file("neuronpedia", found).values())
    assert (data["hookName"], data["layer"]) == ("blocks.2.hook_resid_pre", "2-neuronpedia-resid-pre")
    assert (data["modelId"], data["vectorLabel"], data["vector"]) == ("gpt2-small", "happy", [1.0, 1.0])


def gguf(tensors=(("direction.1", [2], 0, 0),), keys=(), n_tensors=None, n_keys=None, version=3, data=b"\0\0\x80?" * 2):
    """A GGUF file by hand, which may lie about anything."""

    def text(word):
        return struct.pack("<Q", len(word)) + word.encode()

    keys = [("general.architecture", struct.pack("<I", 8) + text("controlvector")), *keys]
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors) if n_tensors is None else n_tensors, n_keys or len(keys))
    head += b"".join(text(key) + value for key, value in keys)
    for name, shape, kind, offset in tensors:
        head += text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)
    return head + b"\0" * (-len(head) % 32) + data


def npz(**arrays):
    data = io.BytesIO()
    np.savez(data, **arrays)
    return data.getvalue()


def lying_npz(shape, descr="'<f4'"):
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}".encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as file:
        file.writestr("resid_post.1.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + b"\0" * 8)
    return data.getvalue()


class Hostile:
    def __reduce__(self):
        return (os.system, ("touch /tmp/steerscope-was-run",))


def pickled_npz():
    data = io.BytesIO()
    np.savez(data, **{"resid_post.1": np.array([Hostile()], dtype=object)})
    return data.getvalue()


HUGE = 2**62
ARRAY = ("x", struct.pack("<IIQ", 9, 8, HUGE))
NESTED = ("x", struct.pack("<IIQ", 9, 9, 1) + struct.pack("<IQ", 4, 0))
OBJECT = {"modelId": "m", "hookName": "blocks.1.hook_resid_post", "vector": [1.0]}
BAD = {
    "empty.gguf": b"",
    "model.gguf": gguf().replace(b"controlvector", b"llama\0\0\0\0\0\0\0\0"),
    "other.gguf": b"PK\3\4" + b"\0" * 64,
    "version.gguf": gguf(version=1),
    "big_endian.gguf": gguf(version=0x03000000),
    "counts.gguf": gguf(n_tensors=HUGE),
    "keys.gguf": gguf(n_keys=HUGE),
    "array.gguf": gguf(keys=[ARRAY]),
    "nested.gguf": gguf(keys=[NESTED]),
    "unknown.gguf": gguf(keys=[("x", struct.pack("<I", 99))]),
    "name.gguf": gguf(keys=[("x", struct.pack("<IQ", 8, HUGE))]),
    "dims.gguf": gguf([("direction.1", [1] * 9, 0, 0)]),
    "rank.gguf": gguf([("direction.1", [1, 2], 0, 0)]),
    "type.gguf": gguf([("direction.1", [2], 1, 0)]),
    "long.gguf": gguf([("direction.1", [HUGE], 0, 0)]),
    "offset.gguf": gguf([("direction.1", [2], 0, HUGE)]),
    "zero.gguf": gguf([("direction.0", [2], 0, 0)]),
    "minus.gguf": gguf([("direction.-1", [2], 0, 0)]),
    "word.gguf": gguf([("direction.one", [2], 0, 0)]),
    "stray.gguf": gguf([("direction.1", [2], 0, 0), ("bias", [2], 0, 0)]),
    "twice.gguf": gguf([("direction.1", [2], 0, 0)] * 2),
    "widths.gguf": gguf([("direction.1", [2], 0, 0), ("direction.2", [1], 0, 0)]),
    "none.gguf": gguf([]),
    "width_0.gguf": gguf([("direction.1", [0], 0, 0)]),
    "alignment.gguf": gguf(keys=[("general.alignment", struct.pack("<II", 4, 0))]),
    "nan.gguf": gguf(data=b"\0\0\xc0\x7f" * 2),
    "cut.gguf": gguf()[:-3],
    "strings.svec": json.dumps({"directions": {"1": ["1.0", "2.0"]}}).encode(),
    "bool.svec": json.dumps({"directions": {"1": [True]}}).encode(),
    "table.svec": json.dumps({"directions": [[1.0]]}).encode(),
    "nothing.svec": b"{}",
    "list.svec": b"[]",
    "layer.svec": json.dumps({"directions": {"-1": [1.0]}}).encode(),
    "infinite.svec": b'{"directions": {"1": [Infinity, 1e999]}}',
    "widths.svec": json.dumps({"directions": {"1": [1.0], "2": [1.0, 2.0]}}).encode(),
    "deep.svec": b"[" * 15_000,
    "deeper.svec": b"[" * 10_000_000,
    "numbers.svec": b"[" + b"0," * 3_000_000 + b"0]",
    "latin.svec": b'{"model_type": "\xff"}',
    "no_hook.json": json.dumps({"vector": [1.0]}).encode(),
    "hook.json": json.dumps(OBJECT | {"hookName": "blocks.1.hook_mlp_out"}).encode(),
    "vector.json": json.dumps(OBJECT | {"vector": "1 2 3"}).encode(),
    "twice.json": json.dumps([OBJECT, OBJECT]).encode(),
    "none.json": b"[]",
    "number.json": b"3",
    "pickle.npz": pickled_npz(),
    "size.npz": lying_npz((10**12,)),
    "product.npz": lying_npz((2**40, 2**40)),
    "strings.npz": lying_npz((1,), "'<U2'"),
    "number.npz": npz(**{"1": np.ones(2)}),
    "matrix.npz": npz(**{"resid_post.1": np.ones((2, 2))}),
    "cut.npz": npz(**{"resid_post.1": np.ones(2)})[:-9],
    "text.npz": b"no zip",
    "cut.safetensors": save({"resid_post.1": torch.ones(4)})[:-3],
    "header.safetensors": struct.pack("<Q", HUGE) + b"{}",
    "shape.safetensors": b"X\0\0\0\0\0\0\0"
    + b'{"resid_post.1":{"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,8]}}',
    "name.safetensors": save({"layer1": torch.ones(4)}),
    "place.safetensors": save({"blocks.1.nowhere": torch.ones(4)}),
    "complex.safetensors": save({"resid_post.1": torch.ones(4, dtype=torch.complex64)}),
    "vector.pt": b"\x80\x02K\x03.",
    "README": b"words",
}


@pytest.mark.parametrize("name", BAD)
def test_a_damaged_or_hostile_file_gets_a_sentence(name, tmp_path):
    (tmp_path / name).write_bytes(BAD[name])
    tracemalloc.start()
    with pytest.raises(UserError) as refused:
        read_vector_file(tmp_path / name)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 0 < len(refused.value.message) < 400
    assert refused.value.hint
    assert peak < 60_000_000
    assert not os.path.exists("/tmp/steerscope-was-run")


@pytest.mark.parametrize("name", formats())
def test_files_damaged_anywhere_are_read_or_refused_by_a_sentence(name, tmp_path):
    draw = random.Random(7)
    ((file_name, sound),) = write_vector_file(name, made(post(2))).items()
    read = 0
    for _ in range(80):
        (tmp_path / file_name).write_bytes(hostile.damaged(draw, sound))
        with contextlib.suppress(UserError):
            found = read_vector_file(tmp_path / file_name)
            assert all(torch.isfinite(vector).all() for vector in found.vectors.values())
            read += 1
    assert read < 80


def test_an_array_in_the_metadata_is_stepped_over_and_not_walked(tmp_path, monkeypatch):
    calls, number = [], gguf_file._Walk.number
    monkeypatch.setattr(gguf_file._Walk, "number", lambda walk, code: (calls.append(code), number(walk, code))[1])
    array = struct.pack("<IIQ", 9, 0, 100_000) + bytes(100_000)
    (tmp_path / "a.gguf").write_bytes(gguf(keys=[("x", array)]))
    assert read_vector_file(tmp_path / "a.gguf").vectors[post(1)].tolist() == [1.0, 1.0]
    assert len(calls) < 100


def test_a_file_too_large_to_be_vectors_is_not_opened(tmp_path):
    with (tmp_path / "model.gguf").open("wb") as file:
        file.truncate(300_000_000)
    with pytest.raises(UserError, match="of the vectors alone, not of a model"):
        read_vector_file(tmp_path / "model.gguf")


def test_what_is_no_file_is_refused(tmp_path):
    for path in (tmp_path, tmp_path / "none.gguf"):
        with pytest.raises(UserError, match="There is no file"):
            read_vector_file(path)


def test_vectors_at_sites_of_two_widths_are_one_file(tmp_path):
    save_file({"resid_post.1": torch.ones(4), "mlp_post.1": torch.ones(9)}, tmp_path / "a.safetensors")
    assert {at.site: len(one) for at, one in read_vector_file(tmp_path / "a.safetensors").vectors.items()} == {
        "resid_post": 4,
        "mlp_post": 9,
    }
