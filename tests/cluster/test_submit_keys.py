"""A submitted sweep that W&B follows: the key is in one file of the head, and nowhere else."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

import pytest

from tests.cluster import jobs
from tests.cluster.heads import Head, head
from tests.cluster.jobs import SMALL, Submitted
from tests.tracking.stub_server import KEY, Stub

pytest.importorskip("wandb", reason="pip install 'jamba-ray[wandb]'")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def test_no_log_file_or_upload_holds_the_key(tmp_path: Path) -> None:
    checkout = jobs.copy_checkout(tmp_path / "checkout")
    stub = Stub()
    try:
        with head(tmp_path) as cluster:
            home = Path(cluster.environment["HOME"])
            file = home / ".jamba_ray" / "trackers.env"
            file.parent.mkdir(mode=0o700)
            file.touch(mode=0o600)
            file.write_text(
                "".join(
                    f"{k}={v}\n"
                    for k, v in stub.environment().items()
                    if k.endswith(("_KEY", "_URL"))
                )
            )
            # Where the command is given: were it uploaded, it would lie in Ray's temporary folder.
            (checkout / ".jamba_ray").mkdir()
            (checkout / ".jamba_ray" / "trackers.env").write_text(file.read_text())
            words = [word for word in SMALL if not word.startswith("tracking")]
            done = Submitted(
                cluster, checkout, *words, "tracking=wandb", "tracking.mode=online", "run=keyed"
            )
            code = done.end()
            assert code == 0, done.log
            assert all(run["finished"] for run in stub.runs.values())
            assert len(stub.runs) >= 3, "two trials and the sweep"
            assert KEY not in done.log
            assert KEY not in json.dumps(_all_of(cluster))
            assert "not uploaded, a secret: .jamba_ray/trackers.env" in done.log
            # The job's copy of the folder, every log of Ray, the results that were sent home.
            assert _holding(KEY, cluster.temporary, tmp_path) == sorted(
                [str(file), str(checkout / ".jamba_ray" / "trackers.env")]
            )
            (cluster.temporary / "leak").write_text(f"WANDB_API_KEY={KEY}")
            assert str(cluster.temporary / "leak") in _holding(KEY, cluster.temporary)
    finally:
        stub.close()
        jobs.end_all()


def _all_of(cluster: Head) -> list[object]:
    """What the job API says of the jobs: their settings, environments and logs."""
    found: list[object] = []
    for path in ["", *(f"{name}/logs" for name in jobs.names(cluster))]:
        request = urllib.request.Request(
            f"{cluster.address}/api/jobs/{path}",
            headers={"Authorization": f"Bearer {cluster.token}"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            found.append(json.load(answer))
    return found


def _holding(secret: str, *folders: Path) -> list[str]:
    paths = {path for folder in folders for path in folder.rglob("*") if path.is_file()}
    assert len(paths) > 50
    return sorted(str(path) for path in paths if secret.encode() in path.read_bytes())
