"""A run in a bucket: what is replaced, what is refused, and what a killed deletion leaves."""

from __future__ import annotations

import importlib

import pytest

from jamba_ray.checkpoints import RemoteFolder, Snapshot
from jamba_ray.config.run import TrainConfig
from jamba_ray.config.store_uri import StoreUri
from jamba_ray.driver import bucket_store
from jamba_ray.errors import ExitCode, RunExistsError


def config(endpoint, run, **changes):
    """A training of that name in the bucket."""
    import jamba_ray.models  # noqa: F401  (registers the families)

    store = {"store": changes.pop("store", "s3://bucket/jobs"), "store_endpoint": endpoint}
    tree = {"data": {"name": "synthetic"}, "model": {"name": "mlp"}}
    return TrainConfig.model_validate({**tree, **store, "run": run, **changes})


def a_run(endpoint, run):
    """What lies in the bucket of a run."""
    place = StoreUri("s3", f"bucket/jobs/{run}")
    remote = RemoteFolder(place, endpoint)
    folder = bucket_store.folder_of(config(endpoint, run))
    folder.checkpoint_store().save(0, 1, Snapshot(documents={"state": {"step": 1}}))
    for name in (
        "config.yaml",
        "study/000000000000.jsonl",
        "rows.jsonl.gz",
        "rows/part-000001.jsonl.gz",
    ):
        remote.write(name, b"x")
    for name in ("logs/runner-a-1.log", "best/manifest.json", "best/model.safetensors"):
        remote.write(name, b"x")
    return folder, remote


def test_a_run_in_a_bucket_is_replaced_whole(s3):
    endpoint, _ = s3
    folder, remote = a_run(endpoint, "whole")
    bucket_store.create(folder, config(endpoint, "whole", overwrite=True))
    assert remote.names() == []


@pytest.mark.parametrize("stranger", ["thesis.tex", "checkpoints/last.ckpt", "best/thesis.doc"])
def test_what_is_not_wholly_a_run_in_a_bucket_is_never_replaced(s3, stranger):
    endpoint, _ = s3
    folder, remote = a_run(endpoint, "mixed")
    remote.write(stranger, b"mine")
    before = remote.names()
    for refuse in (bucket_store.refuse_if_used, bucket_store.create):
        with pytest.raises(RunExistsError, match="not wholly a run: it holds"):
            refuse(folder, config(endpoint, "mixed", overwrite=True))
    assert remote.names() == before
    remote.delete(stranger)


def test_a_prefix_that_only_looks_like_a_run_is_never_replaced(s3):
    endpoint, _ = s3
    remote = RemoteFolder(StoreUri("s3", "bucket/jobs/docs"), endpoint)
    remote.write("report.md", b"mine")
    wanted = config(endpoint, "docs", overwrite=True)
    with pytest.raises(RunExistsError, match=r"it has no 'config\.yaml'"):
        bucket_store.create(bucket_store.folder_of(wanted), wanted)
    assert remote.names() == ["report.md"]


def test_what_a_killed_deletion_leaves_in_a_bucket_is_no_run_to_go_on_with(s3):
    endpoint, faults = s3
    folder, remote = a_run(endpoint, "half")
    deleted = []

    def killed(method, path):
        if method == "DELETE":
            deleted.append(path)
        return (403, "AccessDenied") if len(deleted) > 2 else None

    faults.plan = killed
    with pytest.raises(Exception, match="ACCESS_DENIED"):
        bucket_store.create(folder, config(endpoint, "half", overwrite=True))
    faults.plan = lambda method, path: None
    assert 0 < len(remote.names()) < 10
    assert "study/000000000000.jsonl" in remote.names()
    bucket_store.create(folder, config(endpoint, "half", resume=True))
    assert remote.names() == []
    assert not folder.study.exists()


BUCKET, FOLDER = "s3://missing/jobs", "/proc/self"


@pytest.mark.parametrize(
    ("name", "store", "more"),
    [
        *((name, store, None) for name in ("train", "sweep") for store in (BUCKET, FOLDER)),
        *(
            (name, store, "dry_run=true")
            for name in ("train", "sweep")
            for store in (BUCKET, FOLDER)
        ),
        ("sweep", BUCKET, "resume=true"),
        ("evaluate", FOLDER, "checkpoint=/nonexistent"),
    ],
)
def test_a_store_that_takes_nothing_is_said_before_the_data_are_read(s3, capfd, name, store, more):
    settings = [f"store={store}", "run=x", "data=table", "data.path=/nonexistent.csv"]
    settings += [more] if more else []
    settings += {
        "train": ["model=mlp", f"store_endpoint={s3[0]}"],
        "sweep": ["+sweep=learning_rate", f"store_endpoint={s3[0]}"],
        "evaluate": [],
    }[name]
    command = importlib.import_module(f"jamba_ray.{name}").COMMAND
    assert command.main(settings) == ExitCode.STORAGE
    said = capfd.readouterr()
    assert all(line.startswith("loading ") for line in said.out.splitlines()), "nothing was read"
    (line,) = [one for one in said.err.splitlines() if "HTTP/1.1" not in one]
    assert line.startswith("error: ")
    assert ("NO_SUCH_BUCKET" if store == BUCKET else "must be writable") in line
