"""Our own tracker of MLflow passes the contract that plug-ins must pass."""

from __future__ import annotations

import contextlib
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from jamba_ray.testing import TrackerContract
from jamba_ray.tracking.mlflow_client import Mlflow

pytest.importorskip("mlflow", reason="pip install 'jamba-ray[mlflow]'")
pytestmark = pytest.mark.slow


class OfMlflow(TrackerContract):
    """Over a database on disk; it is away while a folder lies in its place."""

    tracker = "mlflow"

    def service(self, folder: Path) -> Mlflow:
        return Mlflow(uri=_uri(folder), experiment="contract", patience_s=4)

    def held(self, folder, run):
        from mlflow.tracking import MlflowClient

        client = MlflowClient(_uri(folder))
        experiment = client.get_experiment_by_name("contract").experiment_id
        asked = f"tags.`jamba_ray.id` = '{run.id}'"
        (there,) = client.search_runs([experiment], asked)
        ours = {key for row in run.rows for key in row.values}
        rows: dict[int, dict[str, float]] = {}
        times: Counter[tuple[int, str]] = Counter()
        for key in ours & set(there.data.metrics):
            for point in client.get_metric_history(there.info.run_id, key):
                rows.setdefault(point.step, {})[key] = point.value
                times[point.step, key] += 1
        assert set(times.values()) <= {1}, "a point is there twice"
        return sorted(rows.items())

    @contextlib.contextmanager
    def outage(self, folder: Path) -> Iterator[None]:
        place = folder.parent / "m.db"
        place.mkdir()
        yield
        place.rmdir()


def _uri(folder: Path) -> str:
    return f"sqlite:///{folder.parent / 'm.db'}"


@pytest.mark.parametrize("check", [n for n in dir(TrackerContract) if n.startswith("test_")])
def test_mlflow_passes(check: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's own use of SQLAlchemy
        OfMlflow.setup_class()
        getattr(OfMlflow(), check)()
