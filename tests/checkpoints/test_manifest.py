from __future__ import annotations

import dataclasses
import json
import random

import pytest

from jamba_ray.checkpoints.manifest import FileRecord, Manifest, _digest, _spell, parse, record
from jamba_ray.errors import CheckpointError

MANIFEST = Manifest(
    trial=7,
    step=12,
    kind="step",
    created="2026-01-02T03:04:05+00:00",
    files={"model.safetensors": record(b"weights"), "state.json": record(b"{}")},
)


def _sealed(**changes: object) -> bytes:
    """A manifest whose own checksum is right, whatever it says."""
    body = {**json.loads(MANIFEST.to_bytes()), **changes}
    body.pop("sha256")
    return _spell({**body, "sha256": _digest(_spell(body))})


def test_a_manifest_comes_back_as_it_was():
    assert parse(MANIFEST.to_bytes(), "here") == MANIFEST


def test_every_single_bit_of_the_manifest_is_vouched_for():
    raw = MANIFEST.to_bytes()
    for bit in range(8 * len(raw)):
        flipped = bytearray(raw)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CheckpointError):
            parse(bytes(flipped), "here")


def test_truncation_anywhere_and_any_addition_is_seen():
    raw = MANIFEST.to_bytes()
    for n in range(len(raw)):
        with pytest.raises(CheckpointError):
            parse(raw[:n], "here")
    with pytest.raises(CheckpointError):
        parse(raw + b"\n", "here")


@pytest.mark.parametrize(
    "name",
    ["../../etc/passwd", "/etc/passwd", "a/b", "..", ".", "", "manifest.json", "a\x00", "a\\b/"],
)
def test_a_name_that_leaves_the_folder_is_refused_even_if_sealed(name):
    raw = _sealed(files={name: {"size": 1, "sha256": "0" * 64}})
    with pytest.raises(CheckpointError, match="not the name of a file"):
        parse(raw, "here")


@pytest.mark.parametrize(
    "changes",
    [
        {"trial": -1},
        {"trial": "7"},
        {"step": True},
        {"step": 1.5},
        {"kind": "pickle"},
        {"files": None},
        {"files": []},
        {"files": {"a": {"size": -1, "sha256": "0" * 64}}},
        {"files": {"a": {"size": 1, "sha256": "0" * 63}}},
        {"files": {"a": {"size": 1, "sha256": None}}},
        {"files": {"a": {"sha256": "0" * 64}}},
        {"files": {"a": 3}},
    ],
)
def test_a_sealed_manifest_with_wrong_fields_is_an_error_not_a_crash(changes):
    with pytest.raises(CheckpointError, match="was not written by jamba_ray"):
        parse(_sealed(**changes), "here")


@pytest.mark.parametrize("raw", [b"", b"[]", b"null", b"\xff", b"[" * 100_000])
def test_what_is_no_json_object_is_an_error_not_a_crash(raw):
    with pytest.raises(CheckpointError, match=r"`manifest.json` is damaged"):
        parse(raw, "here")


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_another_format_is_named_with_the_way_out(version):
    with pytest.raises(CheckpointError, match=r"format must be 1, but is .* version of jamba_ray"):
        parse(_sealed(format=version), "here")


def test_manifests_with_equal_content_have_one_spelling():
    files = dict(reversed(list(MANIFEST.files.items())))
    assert dataclasses.replace(MANIFEST, files=files).to_bytes() == MANIFEST.to_bytes()


def test_random_garbage_never_crashes_the_parser():
    rng = random.Random(0)
    raw = MANIFEST.to_bytes()
    for _ in range(300):
        data = bytearray(raw)
        for _ in range(rng.randint(1, 5)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        if data != raw:
            with pytest.raises(CheckpointError):
                parse(bytes(data), "here")


def test_file_records_tell_size_and_content():
    assert record(b"") == FileRecord(
        0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    )
