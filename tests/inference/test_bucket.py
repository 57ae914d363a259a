"""A run whose store was a bucket is loaded from there, and just as wary of what it reads."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from jamba_ray.checkpoints import RemoteFolder
from jamba_ray.config.store_uri import parse_store
from jamba_ray.errors import CheckpointError
from jamba_ray.inference import load
from tests.checkpoints.s3_server import s3_server
from tests.commands import run_here

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


def test_rows_are_scored_by_a_run_in_a_bucket_at_the_threshold_kept_there(model, bucket, tmp_path):
    for file in (model.run / "best").iterdir():
        bucket.write(f"best/{file.name}", file.read_bytes())
    label = model.test["is_threat"].astype(int)
    scores = load(model.run).predict_proba(model.test)
    part = pd.DataFrame({"part": "val", "label": label, "probability": scores})
    bucket.write("scores.parquet", part.to_parquet())
    rows = model.test.drop(columns="is_threat")
    rows.to_csv(tmp_path / "new.csv", index=False)
    said = run_here("threshold", RUN, "max_fpr=0.1", cwd=tmp_path)
    assert said.returncode == 0, said.stderr
    assert f"jamba-ray predict {RUN} new.csv -o scored.csv" in said.stdout
    said = run_here("predict", RUN, "new.csv", "-o", "scored.csv", cwd=tmp_path)
    assert said.returncode == 0, said.stderr
    assert "the saved threshold 'default'" in said.stdout
    scored = pd.read_csv(tmp_path / "scored.csv")
    np.testing.assert_allclose(scored["score"], scores, rtol=1e-6)
    assert 0 < scored["alert"][label == 0].mean() <= 0.1
    again = run_here("predict", RUN, "new.csv", "-o", "scored.csv", cwd=tmp_path)
    assert again.returncode == 73
    assert "overwrite=true" in again.stderr
    said = run_here("explain", RUN, "new.csv", "row=3", cwd=tmp_path)
    assert said.returncode == 0, said.stderr
    assert f"Row 3 of new.csv scores {scores[2]:.6g}" in said.stdout
    assert "the saved threshold 'default'" in said.stdout
    assert f"jamba-ray report run={RUN}" in said.stdout
    said = run_here("predict", "s3://bucket/none", "new.csv", "-o", "other.csv", cwd=tmp_path)
    assert said.returncode in {66, 74}
    assert "s3://bucket/none must be a run" in said.stderr


@pytest.mark.parametrize("uri", ["http://bucket/run", "s3://key:secret@bucket/run"])
def test_other_uris_are_one_sentence_without_the_secret(uri):
    with pytest.raises(CheckpointError) as caught:
        load(uri)
    assert "\n" not in caught.value.message
    assert "secret" not in caught.value.message
