"""Bundles and recipes that are damaged, or made to do harm: a value or a sentence, bounded, and nothing elsewhere."""

import io
import json
import random
import tracemalloc
import zipfile
from functools import partial

import pytest

from capture.errors import UserError
from capture.intervention import operator_from_recipe
from steering import bundle_import
from steering.bundle import make_bundle, zipped
from steering.importing import import_any
from steering.methods.cast_condition import Condition
from steering.methods.hypernetwork import SteerBySentence
from steering.methods.logit_shift import LogitShift
from steering.recipe import Step
from steering.schedule import Schedule
from steering.token_scope import TokenScope
from tests import hostile
from tests.steering.operator_examples import AT, STEERING_EXAMPLES, vector
from tests.steering.test_bundle_carries import controller_step

N_CASES = 40


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("STEERSCOPE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def files(tiny_session, tmp_path):
    """The files of a bundle with a controller."""
    return dict(make_bundle(tiny_session, [controller_step(tiny_session, tmp_path)], "b").files)


def answered(act):
    """Whether it gave a value; a UserError must be a sentence with a hint."""
    refused = None
    try:
        act()
    except UserError as error:
        refused = error
    assert refused is None or (0 < len(refused.message) < 600 and refused.hint)
    return refused is None


@pytest.mark.parametrize("method", ["stored", "deflated", "lzma"])
def test_a_bundle_damaged_anywhere_is_read_or_refused_by_a_sentence(method, files, tmp_path):
    draw, data, path = random.Random(3), io.BytesIO(), tmp_path / "b.zip"
    with zipfile.ZipFile(data, "w", getattr(zipfile, f"ZIP_{method.upper()}")) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    n_read = 0
    for _ in range(N_CASES):
        path.write_bytes(hostile.damaged(draw, data.getvalue()))
        n_read += answered(lambda: import_any(path))
    assert n_read < N_CASES


@pytest.mark.parametrize(
    "name", ["../evil", "/tmp/evil", "a/../../evil", "a//b", "C:\\evil", "./evil", "controllers/.x"]
)
def test_a_name_in_an_archive_that_leads_elsewhere_is_refused_and_written_nowhere(name, files, tmp_path):
    (tmp_path / "b.zip").write_bytes(zipped({**files, name: b"evil"}))
    before = set(tmp_path.rglob("*"))
    with pytest.raises(UserError, match="which is no file in it"):
        import_any(tmp_path / "b.zip")
    assert set(tmp_path.rglob("*")) == before


def test_an_archive_that_unpacks_to_too_much_is_refused_before_it_is_unpacked(files, tmp_path, monkeypatch):
    monkeypatch.setattr(bundle_import, "MAX_BYTES", 1_000_000)
    (tmp_path / "b.zip").write_bytes(zipped({**files, "zeros": bytes(30_000_000)}))
    tracemalloc.start()
    with pytest.raises(UserError, match=r"unpacks to 10 files of 30 MB"):
        import_any(tmp_path / "b.zip")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5_000_000


def listed(n, entry=b"PK\1\2" + bytes(24) + b"\1\0" + bytes(16) + b"a"):
    """A ZIP that is a list of n parts and nothing else."""
    counts = min(n, 65_535).to_bytes(2, "little") * 2
    return entry * n + b"PK\5\6" + bytes(4) + counts + (len(entry) * n).to_bytes(4, "little") + bytes(6)


@pytest.mark.parametrize("ending", [".zip", ".npz"])
def test_a_list_of_parts_that_is_too_long_is_not_parsed(ending, tmp_path):
    path = tmp_path / f"long{ending}"
    path.write_bytes(listed(100_000))
    tracemalloc.start()
    with pytest.raises(UserError, match="it has too many parts"):
        import_any(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


def test_an_archive_of_many_files_is_refused(tmp_path):
    (tmp_path / "b.zip").write_bytes(zipped({"manifest.json": b"{}", **{f"f{n}": b"" for n in range(2_100)}}))
    with pytest.raises(UserError, match="unpacks to 2,101 files"):
        import_any(tmp_path / "b.zip")


@pytest.mark.parametrize("checksums", [None, [], {}, 3, "x", {"recipe.json": None}, {"manifest.json": "0"}])
def test_a_manifest_without_checksums_of_its_files_is_refused(checksums, files, tmp_path):
    manifest = json.loads(files["manifest.json"]) | {"checksums": checksums}
    (tmp_path / "b.zip").write_bytes(zipped({**files, "manifest.json": json.dumps(manifest).encode()}))
    assert not answered(lambda: import_any(tmp_path / "b.zip"))


def test_a_bundle_without_its_recipe_is_refused(files, tmp_path):
    manifest = json.loads(files["manifest.json"])
    del manifest["checksums"]["recipe.json"]
    (tmp_path / "b.zip").write_bytes(zipped({**files, "manifest.json": json.dumps(manifest).encode()}))
    with pytest.raises(UserError, match=r"has no recipe\.json"):
        import_any(tmp_path / "b.zip")


def every_operator():
    condition = Condition(AT, vector(1), 0.5, ">")
    steps = [
        Step(
            "s",
            examples[:1],
            2.0,
            condition=condition,
            schedule=Schedule("ramp"),
            scope=TokenScope("ranges", ((0, 4),)),
        )
        for kind, examples in STEERING_EXAMPLES.items()
        if examples and kind is not Step and all(hasattr(one, "ranges") for one in examples[:1])
    ]
    found = [one for examples in STEERING_EXAMPLES.values() for one in examples[:1]]
    return [*found, *steps, SteerBySentence(AT, "0" * 32, "the sea"), LogitShift("a", "b")]


@pytest.mark.parametrize("one", every_operator(), ids=lambda one: one.kind)
def test_a_recipe_with_anything_in_any_field_is_read_or_refused_by_a_sentence(one):
    draw = random.Random(5)
    for _ in range(N_CASES):
        answered(partial(operator_from_recipe, hostile.changed(draw, one.recipe())))
