from __future__ import annotations

import os
import random
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import jamba_ray.checkpoints.store as store_module
from jamba_ray.checkpoints import CheckpointStore, Entry, Snapshot, read_checkpoint
from jamba_ray.errors import CheckpointError, StorageError


def _equal(a: Snapshot, b: Snapshot) -> bool:
    return (
        a.documents == b.documents
        and a.blobs == b.blobs
        and a.tensors.keys() == b.tensors.keys()
        and all(np.array_equal(a.tensors[n], b.tensors[n]) for n in a.tensors)
    )


def _files(store: CheckpointStore, path: str) -> list[Path]:
    return sorted((store.root / path).iterdir())


def test_what_is_saved_is_loaded(store, snapshot):
    path = store.save(7, 12, snapshot)
    assert path == "trial-0007/step-000012"
    assert _equal(store.load(path), snapshot)
    assert [f.name for f in _files(store, path)] == [
        "manifest.json", "metrics.json", "model.safetensors", "model.txt", "state.json",
    ]  # fmt: skip


def test_an_empty_snapshot_is_a_checkpoint_too(store):
    assert _equal(store.load(store.save(0, 0, Snapshot())), Snapshot())


def test_entries_are_sorted_and_hold_no_strangers(store, snapshot):
    for trial, step, kind in [(10_001, 1, "step"), (2, 10, "step"), (2, 9, "step"), (2, 9, "best")]:
        store.save(trial, step, snapshot, kind)
    (store.root / "notes").mkdir()
    (store.root / "trial-0002" / "step-x").mkdir()
    (store.root / "trial-0003").write_text("a file")
    (store.root / "trial-0004").symlink_to(store.root / "trial-0002")
    (store.root / "trial-0002" / "step-000099").symlink_to(store.root / "trial-0002/step-000009")
    assert store.entries() == [
        Entry(2, 9, "best", "trial-0002/best-000009"),
        Entry(2, 9, "step", "trial-0002/step-000009"),
        Entry(2, 10, "step", "trial-0002/step-000010"),
        Entry(10_001, 1, "step", "trial-10001/step-000001"),
    ]
    assert store.entries(trial=3) == []


def test_saving_again_replaces_the_checkpoint_and_leaves_nothing_else(store, snapshot):
    store.save(1, 1, snapshot)
    path = store.save(1, 1, Snapshot(documents={"state": {"second": True}}))
    assert _equal(store.load(path), Snapshot(documents={"state": {"second": True}}))
    assert sorted(os.listdir(store.root / "trial-0001")) == ["step-000001"]


def test_replacing_works_without_the_kernels_exchange(store, snapshot, monkeypatch):
    monkeypatch.setattr("jamba_ray.checkpoints.folder._exchange", lambda a, b: False)
    test_saving_again_replaces_the_checkpoint_and_leaves_nothing_else(store, snapshot)


def _damage_everywhere(store: CheckpointStore, path: str) -> list[str]:
    """Flip bits at random positions of every file; the names of files where one went unseen."""
    rng, unseen = random.Random(0), []
    for file in _files(store, path):
        good = file.read_bytes()
        for _ in range(40):
            bad = bytearray(good)
            bad[rng.randrange(len(bad))] ^= 1 << rng.randrange(8)
            file.write_bytes(bad)
            try:
                store.load(path)
                unseen.append(file.name)
            except CheckpointError as error:
                assert file.name in str(error)  # noqa: PT017 - other errors must propagate
        file.write_bytes(good)
    return unseen


def test_any_flipped_bit_is_seen_and_its_file_named(store, snapshot):
    path = store.save(1, 1, snapshot)
    assert _damage_everywhere(store, path) == []
    assert _equal(store.load(path), snapshot)  # the damage was undone: load did not merely refuse


def test_sabotage_without_the_verification_flipped_bits_go_unseen(store, snapshot, monkeypatch):
    path = store.save(1, 1, snapshot)
    monkeypatch.setattr(store_module, "verify", lambda *_: None)
    assert "model.safetensors" in _damage_everywhere(store, path)


def test_truncation_missing_files_and_additions_are_seen_and_named(store, snapshot):
    path = store.save(1, 1, snapshot)
    for file in _files(store, path):
        good = file.read_bytes()
        for data in (b"", good[:-1], good[: len(good) // 2], good + b"x"):
            file.write_bytes(data)
            with pytest.raises(CheckpointError, match=file.name):
                store.load(path)
        file.unlink()
        with pytest.raises(CheckpointError, match=f"`{file.name}` is missing"):
            store.load(path)
        file.write_bytes(good)
    store.load(path)


def test_links_pipes_and_folders_in_place_of_files_are_never_followed(store, snapshot, tmp_path):
    path = store.save(1, 1, snapshot)
    file = store.root / path / "state.json"
    outside = tmp_path / "outside.json"
    file.rename(outside)
    file.symlink_to(outside)
    with pytest.raises(CheckpointError, match=r"`state.json` is a symbolic link"):
        store.load(path)
    file.unlink()
    os.mkfifo(file)  # must not wait for a writer
    with pytest.raises(CheckpointError, match="not a regular file"):
        store.load(path)
    file.unlink()
    file.mkdir()
    with pytest.raises(CheckpointError, match=r"`state.json` cannot be read"):
        store.load(path)


@pytest.mark.parametrize(
    "path",
    ["", ".", "..", "trial-0001", "../checkpoints/trial-0001/step-000001", "/etc/passwd",
     "trial-0001/../trial-0001/step-000001", "trial-0001/manifest.json", "trial-0001/step-000002"],
)  # fmt: skip
def test_paths_that_leave_the_store_or_do_not_exist_are_refused(store, snapshot, path):
    store.save(1, 1, snapshot)
    with pytest.raises(CheckpointError):
        store.load(path)


def test_latest_walks_back_over_damage_and_says_so(store, snapshot):
    for step in (1, 2, 3, 4):
        store.save(5, step, Snapshot(documents={"state": {"step": step}}))
    store.save(5, 9, snapshot, "best")
    store.save(6, 8, snapshot)
    (store.root / "trial-0005/step-000004/manifest.json").unlink()
    (store.root / "trial-0005/step-000003/state.json").write_text("{}")
    found, warnings = store.latest(5)
    assert found is not None
    assert found.entry.step == 2
    assert found.snapshot.documents["state"] == {"step": 2}
    assert len(warnings) == 2
    assert "manifest.json` is missing" in warnings[0]
    assert "`state.json`" in warnings[1]


def test_latest_of_a_trial_without_any_good_checkpoint_is_none(store, snapshot):
    assert store.latest(1) == (None, [])
    path = store.save(1, 1, snapshot)
    (store.root / path / "model.txt").unlink()
    found, warnings = store.latest(1)
    assert found is None
    assert len(warnings) == 1


def test_a_checkpoint_of_another_trial_copied_into_place_is_passed_over(store, snapshot):
    store.save(1, 1, snapshot)
    (store.root / store.save(2, 5, snapshot)).rename(store.root / "trial-0001/step-000005")
    found, warnings = store.latest(1)
    assert found is not None
    assert found.entry.step == 1
    assert "says trial 2" in warnings[0]


def test_retain_deletes_what_the_policy_says_and_nothing_else(store, snapshot):
    for trial in (1, 2, 3):
        for step in (1, 2, 3):
            store.save(trial, step, snapshot)
    for trial in (1, 2):
        store.save(trial, 2, snapshot, "best")
    store.retain(best=[1], finished=[1, 2])
    assert [e.path for e in store.entries()] == [
        "trial-0001/best-000002",
        "trial-0003/step-000002",
        "trial-0003/step-000003",
    ]
    assert list(store.root.rglob(".*")) == []
    for entry in store.entries():
        store.load(entry.path)


def test_publish_makes_and_replaces_best(store, snapshot, tmp_path):
    best = tmp_path / "best"
    store.publish(store.save(1, 1, snapshot, "best"), best)
    manifest, loaded = read_checkpoint(best)
    assert _equal(loaded, snapshot)
    assert (manifest.trial, manifest.step, manifest.kind) == (1, 1, "best")
    second = Snapshot(documents={"state": {}})
    store.publish(store.save(2, 3, second, "best"), best)
    assert _equal(read_checkpoint(best)[1], second)
    assert sorted(os.listdir(best)) == ["manifest.json", "state.json"]
    assert sorted(os.listdir(tmp_path)) == ["best", "checkpoints"]


def test_publish_refuses_damage_and_keeps_the_old_best(store, snapshot, tmp_path):
    store.publish(store.save(1, 1, snapshot, "best"), tmp_path / "best")
    path = store.save(1, 2, Snapshot(documents={"state": {}}), "best")
    (store.root / path / "state.json").write_text("[]")
    with pytest.raises(CheckpointError, match=r"state.json"):
        store.publish(path, tmp_path / "best")
    assert _equal(read_checkpoint(tmp_path / "best")[1], snapshot)


def test_publish_never_replaces_what_is_no_checkpoint(store, snapshot, tmp_path):
    path = store.save(1, 1, snapshot, "best")
    (tmp_path / "theses").mkdir()
    (tmp_path / "theses" / "mine.txt").write_text("precious")
    (tmp_path / "link").symlink_to(tmp_path / "theses")
    (tmp_path / "file").write_text("precious")
    for name in ("theses", "link", "file"):
        with pytest.raises(StorageError, match="must be a checkpoint to be replaced"):
            store.publish(path, tmp_path / name)
    assert (tmp_path / "theses" / "mine.txt").read_text() == "precious"


def test_readers_of_best_never_see_a_mixture_while_it_is_replaced(store, tmp_path):
    """Two checkpoints swap places as fast as they can; every read is wholly one of them."""
    paths = [
        store.save(i, 1, Snapshot({"a": np.full(1000, i)}, {"state": {"i": i}}), "best")
        for i in (0, 1)
    ]
    store.publish(paths[0], tmp_path / "best")
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            for path in paths:
                store.publish(path, tmp_path / "best")

    writer = threading.Thread(target=swap)
    writer.start()
    seen, n_reads, deadline = set(), 0, time.monotonic() + 20.0
    try:
        while (n_reads < 200 or len(seen) < 2) and time.monotonic() < deadline:
            n_reads += 1
            _, loaded = read_checkpoint(tmp_path / "best")
            i = loaded.documents["state"]["i"]
            assert (loaded.tensors["a"] == i).all()
            seen.add(i)
    finally:
        stop.set()
        writer.join()
    assert seen == {0, 1}


def test_loading_never_unpickles_even_a_hostile_checkpoint(tmp_path):
    """In a fresh process with an audit hook that ends it at the first un-pickling."""
    code = textwrap.dedent("""
        import os, pickle, sys
        from pathlib import Path
        import numpy as np
        from jamba_ray.checkpoints import CheckpointStore, Snapshot, read_checkpoint
        store = CheckpointStore(Path(sys.argv[1]))
        class Evil:
            def __reduce__(self):
                return (print, ("owned",))
        evil = pickle.dumps(Evil())
        snapshot = Snapshot({"a": np.ones(3)}, {"state": {}}, {"model.pt": evil, "model.pkl": evil})
        path = store.save(1, 1, snapshot)
        def hook(event, args):
            if event == "pickle.find_class":
                print("unpickled", flush=True)
                os._exit(3)
        sys.addaudithook(hook)
        store.load(path)
        assert store.latest(1)[0] is not None
        store.publish(path, Path(sys.argv[1]) / "best")
        read_checkpoint(Path(sys.argv[1]) / "best")
        print("clean", flush=True)
        if sys.argv[2] == "sabotage":
            pickle.loads(evil)
    """)
    run = [sys.executable, "-c", code]
    clean = subprocess.run([*run, str(tmp_path / "a"), ""], capture_output=True, text=True)
    assert (clean.returncode, clean.stdout) == (0, "clean\n"), clean.stderr
    sabotaged = subprocess.run([*run, str(tmp_path / "b"), "sabotage"], capture_output=True)
    assert sabotaged.returncode == 3
