"""A run whose store was a bucket is loaded from there, and just as wary of what it reads."""

from __future__ import annotations

import numpy as np
import pytest

from jamba_ray.checkpoints import RemoteFolder
from jamba_ray.config.store_uri import parse_store
from jamba_ray.errors import CheckpointError
from jamba_ray.inference import load
from tests.checkpoints.s3_server import s3_server

RUN = "s3://bucket/sweeps/night-1"


@pytest.fixture
def bucket(monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with s3_server() as (endpoint, _):
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        yield RemoteFolder(parse_store(RUN))


def test_a_run_and_its_best_are_loaded_and_damage_is_told(model, bucket):
    with pytest.raises(CheckpointError, match=r"s3://bucket/sweeps/night-1 must be a run"):
        load(RUN)
    files = sorted((model.run / "best").iterdir())
    for file in files:
        bucket.write(f"best/{file.name}", file.read_bytes())
    expected = load(model.run).predict_proba(model.test)
    for uri in (RUN, f"{RUN}/best", f"{RUN}/"):
        np.testing.assert_array_equal(load(uri).predict_proba(model.test), expected)
    weights = max(files, key=lambda file: file.stat().st_size)
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    bucket.write(f"best/{weights.name}", bytes(content))
    with pytest.raises(CheckpointError, match=weights.name.replace(".", r"\.")):
        load(RUN)
    bucket.delete(f"best/{weights.name}")
    with pytest.raises(CheckpointError, match="is missing"):
        load(RUN)


@pytest.mark.parametrize("uri", ["http://bucket/run", "s3://key:secret@bucket/run"])
def test_other_uris_are_one_sentence_without_the_secret(uri):
    with pytest.raises(CheckpointError) as caught:
        load(uri)
    assert "\n" not in caught.value.message
    assert "secret" not in caught.value.message
