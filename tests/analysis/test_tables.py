"""Tables and archives of views: every value of every array is in them, and where it comes from."""

import io
import json
import zipfile
from dataclasses import replace
from functools import cache

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv, parquet

from analysis.lens import lenses
from analysis.report import Finding, Report, read_report
from analysis.spec import Spec
from analysis.tables import FINDINGS, METADATA, csv_bytes, data_zip, parquet_bytes, tables
from analysis.view_file import ViewFile, read_view_file
from tests.analysis.test_lens_laws import on_set, on_text, session_of

FACTS = {
    "model": "tiny",
    "revision": "",
    "fingerprint": "a" * 16,
    "dtype": "float32",
    "device": "cpu",
    "bos": True,
    "processing": "raw",
    "hook_points": ["blocks.0.hook_resid_post"],
    "n_tokens": 6,
    "faithfulness": None,
}


@cache
def report_of(is_text_set: bool = False, **fields) -> Report:
    lens, session = lenses()["outliers"], session_of("llama")
    measured = on_set(lens, session) if is_text_set else on_text(lens, session)
    spec = Spec("outliers", text="" if is_text_set else "the bear", text_set="tour" if is_text_set else "")
    return Report(spec, FACTS, measured.numbers, measured.arrays, measured.findings)


def view_of(*reports: Report) -> ViewFile:
    return ViewFile(reports[0].spec.with_(pins={"layer": 1}), reports, {"at": "2026-01-02 03:04:05"})


def opened(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def columns_of(files: dict[str, bytes], ending: str) -> dict[str, np.ndarray]:
    read = {"csv": lambda file: csv.read_csv(file), "parquet": lambda file: parquet.read_table(file)}[ending]
    found = [read(io.BytesIO(data)) for name, data in files.items() if name.endswith(ending) and FINDINGS not in name]
    return {name: table[name].to_numpy() for table in found for name in table.column_names}


@pytest.mark.parametrize("is_text_set", [False, True])
def test_parquet_holds_every_array_bit_for_bit(is_text_set):
    report = report_of(is_text_set)
    columns = columns_of(opened(data_zip(view_of(report))), "parquet")
    for name, array in report.arrays.items():
        assert columns[name].dtype == array.dtype
        np.testing.assert_array_equal(columns[name], array.reshape(-1), err_msg=name)


@pytest.mark.parametrize("is_text_set", [False, True])
def test_csv_holds_decimals_that_read_back_the_same(is_text_set):
    report = report_of(is_text_set)
    columns = columns_of(opened(data_zip(view_of(report))), "csv")
    for name, array in report.arrays.items():
        np.testing.assert_array_equal(columns[name].astype(array.dtype), array.reshape(-1), err_msg=name)


def test_a_row_names_its_place_and_its_token():
    report = report_of()
    table = tables(report)["layer_pos"]
    n_tokens = len(report.numbers["tokens"])
    row = table.slice(2 * n_tokens + 3, 1).to_pylist()[0]
    assert (row["layer"], row["pos"], row["token"]) == (2, 3, report.numbers["tokens"][3])
    assert row["max_abs"] == report.arrays["max_abs"][2, 3]


def test_tables_are_named_by_axes_and_a_set_has_no_positions():
    assert {"layer_pos", "layer_pos_dim", "layer_head", "layer", FINDINGS} <= set(tables(report_of()))
    assert not [name for name in tables(report_of(True)) if "pos" in name]


def test_a_table_says_what_it_is_and_where_it_comes_from():
    report = report_of()
    table = parquet.read_table(io.BytesIO(parquet_bytes(tables(report)["layer_pos"])))
    said = json.loads(table.schema.metadata[METADATA])
    assert said == {"spec": report.spec.to_json(), "facts": FACTS, "digest": report.digest()}
    words = table.schema.field("max_over_median").metadata
    assert (words[b"label"], words[b"unit"]) == (b"largest over median magnitude", "×".encode())


def test_findings_are_a_table():
    found = Finding("Block 1 is loud.", 3.5, "×", 2.0, {"layer": 1})
    rows = tables(replace(report_of(), findings=(found,)))[FINDINGS].to_pylist()
    expected = {"sentence": found.sentence, "magnitude": 3.5, "unit": "×", "score": 2.0, "place": '{"layer":1}'}
    assert rows == [expected]


def test_arrays_that_no_lens_knows_any_more_are_kept_by_number_of_axis():
    report = replace(report_of(), arrays={"older": np.array([[1.0, 2.0]]), "none": np.zeros((0, 3))})
    table = tables(report)["axis0_axis1"]
    assert table.to_pydict() == {"axis0": [0, 0], "axis1": [0, 1], "older": [1.0, 2.0]}
    assert "none" not in str([one.column_names for one in tables(report).values()])


def test_equal_views_give_equal_archives():
    assert data_zip(view_of(report_of())) == data_zip(view_of(read_report(report_of().to_json())))


def test_an_archive_has_the_reports_the_view_and_their_provenance():
    one, other = report_of(), replace(report_of(), spec=Spec("../../etc"))
    files = opened(data_zip(view_of(one, other)))
    assert read_report(files["1-outliers/report.json"].decode()).digest() == one.digest()
    assert read_view_file(files["view.steerscope"]).id == view_of(one, other).id
    about = json.loads(files["provenance.json"])
    assert [entry["digest"] for entry in about["reports"]] == [one.digest(), other.digest()]
    assert about["made"] == {"at": "2026-01-02 03:04:05"}
    assert about["reports"][0]["tables"]["layer_pos"]["columns"]["kurtosis"]["label"] == "kurtosis"
    assert [name for name in files if ".." in name or name.startswith("/")] == []


def test_a_very_large_table_is_in_parquet_alone(monkeypatch):
    monkeypatch.setattr("analysis.tables.MAX_CSV_ROWS", 100)
    files = opened(data_zip(view_of(report_of())))
    assert "outliers/layer_pos_dim.parquet" in files
    assert "outliers/layer_pos_dim.csv" not in files
    assert not json.loads(files["provenance.json"])["reports"][0]["tables"]["layer_pos_dim"]["has_csv"]


def test_texts_that_look_like_csv_survive_it():
    hostile = ['a,"b', "x\ny", "", "=1+1"]
    report = replace(report_of(), numbers={"tokens": hostile}, arrays={"kurtosis": np.zeros((1, 4), np.float32)})
    table = csv.read_csv(
        io.BytesIO(csv_bytes(tables(report)["layer_pos"])),
        parse_options=csv.ParseOptions(newlines_in_values=True),
        convert_options=csv.ConvertOptions(column_types={"token": pa.string()}, strings_can_be_null=False),
    )
    assert table["token"].to_pylist() == hostile
