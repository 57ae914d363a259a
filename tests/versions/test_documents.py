"""The passport is a CycloneDX 1.6 document and the provenance an in-toto statement, of the files
that the version holds."""

import hashlib
import json

import pytest

from jamba_ray.versions.opening import open_version
from jamba_ray.versions.passport import passport_of
from jamba_ray.versions.place import FolderPlace
from jamba_ray.versions.provenance import PREDICATE, STATEMENT
from jamba_ray.versions.reference import parse_reference
from tests.versions.conftest import register

SUMMARY = {
    "command": "sweep",
    "best": {
        "test": {
            "roc_auc": {"value": 0.9, "low": 0.85, "high": 0.94},
            "robustness": {"value": 0.5, "low": None, "high": None},
        },
        "expected": {"low": 0.8, "high": 0.9, "sentence": "It was to be expected."},
    },
    "data": {
        "parts": {"train": {"rows": 500}},
        "shift": {"findings": [{"sentence": "'a' leaks"}]},
        "duplicates": 3,
    },
    "notes": ["'a' may leak the label."],
    "versions": {"python": "3.11", "numpy": "2.4.6", "nowhere": "1"},
}


def mistakes(raw):
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    return JsonStrictValidator(SchemaVersion.V1_6).validate_str(raw.decode())


@pytest.fixture(scope="module")
def version(runs, tmp_path_factory):
    place = FolderPlace(tmp_path_factory.mktemp("documents"))
    register(place, runs / "a")
    return open_version(place, parse_reference("threats@1"))


def test_a_passport_is_valid(version):
    raw = (version.folder.parent / "passport.json").read_bytes()
    assert mistakes(raw) is None
    assert json.loads(raw) == version.passport
    bad = raw.replace(b'"machine-learning-model"', b'"machine"')
    assert mistakes(bad) is not None, "the schema is looked at"


def test_a_passport_says_what_the_run_found(runs):
    from jamba_ray.inference.predictor import read_model

    predictor = read_model(runs / "a").predictor()
    files = {"model/manifest.json": b"x", "exports/t.onnx": b"y", "evidence/summary.json": b"z"}
    raw = passport_of(
        "threats",
        3,
        "2026-03-01T10:00:00+00:00",
        predictor,
        SUMMARY,
        files,
        {"onnx": "900 rows"},
        "MIT",
    )
    assert mistakes(raw) is None
    tree = json.loads(raw)
    model = tree["metadata"]["component"]
    (auc,) = [
        one
        for one in model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
        if one["type"] == "roc_auc"
    ]
    assert auc == {
        "type": "roc_auc",
        "value": "0.9",
        "slice": "test",
        "confidenceInterval": {"lowerBound": "0.85", "upperBound": "0.94"},
    }
    properties = {
        one["name"].removeprefix("jamba_ray:"): one["value"] for one in model["properties"]
    }
    assert "'a' leaks" in properties["shift"]
    assert properties["data:duplicates"] == "3"
    assert properties["parity:onnx"] == "900 rows"
    assert set(predictor.fingerprints) == {
        name.partition(":")[2] for name in properties if name.startswith("fingerprint:")
    }
    assert model["modelCard"]["considerations"]["technicalLimitations"] == SUMMARY["notes"]
    assert model["licenses"] == [{"license": {"name": "MIT"}}]
    parts = {one["name"]: one for one in tree["components"]}
    assert parts["exports/t.onnx"]["hashes"][0]["content"] == hashlib.sha256(b"y").hexdigest()
    assert parts["numpy"]["licenses"]
    assert "licenses" not in parts["nowhere"]


def test_the_provenance_is_of_the_files_that_are_there(version):
    folder = version.folder.parent
    tree = json.loads((folder / "provenance.json").read_text())
    assert (tree["_type"], tree["predicateType"]) == (STATEMENT, PREDICATE)
    for subject in tree["subject"]:
        raw = (folder / subject["name"]).read_bytes()
        assert subject["digest"]["sha256"] == hashlib.sha256(raw).hexdigest()
    names = {one["name"] for one in tree["subject"]}
    there = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert there - names == {"provenance.json", "version.json"}
    definition = tree["predicate"]["buildDefinition"]
    assert definition["externalParameters"]["config"]["model"]["name"] == "lightgbm"
