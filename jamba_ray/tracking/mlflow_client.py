"""Sends runs to MLflow; no other file of this package logs to it.

MLflow gives runs ids of its own, so each has a tag with ours. A batch of rows and the tag that says
how far they go are one transaction of MLflow's store, and a point of a curve that is sent again
with the same time is kept once: what a crash or an outage interrupts is sent exactly once.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jamba_ray.config.params import flatten
from jamba_ray.data import Preprocessor
from jamba_ray.errors import one_line
from jamba_ray.tracking.follower import OutageError
from jamba_ray.tracking.tracked_run import Artifact, Row, TrackedRun

_ID, _NEXT = "jamba_ray.id", "jamba_ray.next_step"
_MOST_VALUES, _MOST_PARAMS, _LONGEST_PARAM = 900, 90, 6000
"""Below what MLflow takes in one request (1000, 100), and of one parameter."""
_NO_NAME = re.compile(r"[^\w\-. :/]")
_PASSWORD = re.compile(r"://[^@/\s]*@")


class Mlflow:
    """Sends runs to a server or a database of MLflow: a run for the sweep, its trials nested in it.

    MLflow's own client finds the address in ``MLFLOW_TRACKING_URI`` where none is given, and the
    key in ``MLFLOW_TRACKING_TOKEN`` and the like; nothing here reads or passes it.
    """

    how = "mlflow"
    live = True

    def __init__(self, *, uri: str, experiment: str, patience_s: float) -> None:
        """Raises OutageError where MLflow's client is not installed."""
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(max(1, round(patience_s))))
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
        os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
        try:
            from mlflow.tracking import MlflowClient
        except ImportError:
            raise OutageError(
                "MLflow's client is not installed: `pip install 'jamba-ray[mlflow]'`"
            ) from None
        self._uri = uri or os.environ.get("MLFLOW_TRACKING_URI", "")
        self._name = experiment
        self._experiment: str | None = None
        self._sweeps: dict[str, str] = {}
        try:
            self._client: Any = MlflowClient(self._uri or None)
        except Exception as error:
            raise OutageError(_sentence(error)) from None

    def open(self, run: TrackedRun) -> _Channel:
        """Begins or continues a run; raises OutageError."""
        try:
            parent = None
            if run.sweep is not None:
                parent = self._sweeps.get(run.sweep) or self._run(run.sweep, run.group, None, run)
                self._sweeps[run.sweep] = parent
            own = self._run(run.id, run.name, parent, run)
            return _Channel(self._client, run, own, self._shown_at(parent or own))
        except Exception as error:
            raise OutageError(_sentence(error)) from None

    def close(self) -> None:
        """Leaves nothing behind: each upload deletes its own temporary folder."""

    def _run(self, ours: str, name: str, parent: str | None, of: TrackedRun) -> str:
        """Returns MLflow's id of our run, which is begun where MLflow does not have it."""
        experiment = self._experiment_id()
        asked = f"tags.`{_ID}` = '{ours}'"
        found = self._client.search_runs([experiment], asked, order_by=["start_time ASC"])
        if not found:
            tags = {_ID: ours, "mlflow.source.name": f"jamba_ray {of.group}"}
            tags |= {} if parent is None else {"mlflow.parentRunId": parent}
            at = _ms(of.rows[0]) if of.rows and ours == of.id else None
            self._client.create_run(experiment, start_time=at, tags=tags, run_name=name)
            # Two followers may have begun it at once: both take the same one of the two.
            found = self._client.search_runs([experiment], asked, order_by=["start_time ASC"])
        first, *others = sorted(found, key=lambda one: str(one.info.run_id))
        for one in others:
            self._client.delete_run(one.info.run_id)
        return str(first.info.run_id)

    def _experiment_id(self) -> str:
        if self._experiment is None:
            found = self._client.get_experiment_by_name(self._name)
            if found is None:
                place = _beside(self._uri)
                self._experiment = str(self._client.create_experiment(self._name, place))
            else:
                self._experiment = str(found.experiment_id)
        return self._experiment

    def _shown_at(self, run: str) -> str | None:
        if self._uri.startswith(("http://", "https://")):
            place = _PASSWORD.sub("://", self._uri).rstrip("/")
            return f"{place}/#/experiments/{self._experiment}/runs/{run}"
        return None


class _Channel:
    """Implements ``Channel`` with a run of MLflow's client."""

    def __init__(self, client: Any, run: TrackedRun, own: str, url: str | None) -> None:
        self._client, self._own, self.url = client, own, url
        held = client.get_run(own).data
        self.next_step = int(held.tags.get(_NEXT, 0))
        self._log_config(run.config, held.params)

    def log(self, rows: Sequence[Row]) -> None:
        from mlflow.entities import Metric, RunTag

        for some in _batches(rows):
            points = [
                Metric(_name(key), float(value), _ms(row), row.step)
                for row in some
                for key, value in row.values.items()
                if not key.startswith("_")
            ]
            upto = some[-1].step + 1
            try:
                self._client.log_batch(self._own, points, tags=[RunTag(_NEXT, str(upto))])
            except Exception as error:
                raise OutageError(_sentence(error)) from None
            self.next_step = upto

    def close(self, run: TrackedRun | None) -> None:
        if run is None:
            return  # it will be continued
        try:
            self._complete(run)
        except Exception as error:
            raise OutageError(_sentence(error)) from None

    def _log_config(self, config: Mapping[str, Any], held: Mapping[str, str]) -> None:
        from mlflow.entities import Param

        # A parameter keeps its first value: MLflow refuses another one.
        new = [
            Param(_name(key), _text(value))
            for key, value in flatten(config).items()
            if _name(key) not in held
        ]
        for i in range(0, len(new), _MOST_PARAMS):
            self._client.log_batch(self._own, params=new[i : i + _MOST_PARAMS])

    def _complete(self, run: TrackedRun) -> None:
        from mlflow.entities import Metric, RunTag

        at = _ms(run.rows[-1]) if run.rows else 0
        curves = {key for row in run.rows for key in row.values}
        summary = {f"summary/{k}" if k in curves else k: v for k, v in run.summary.items()}
        is_number = {k: isinstance(v, (int, float)) for k, v in summary.items()}
        numbers = [Metric(_name(k), float(v), at, 0) for k, v in summary.items() if is_number[k]]
        words = {k: str(v) for k, v in summary.items() if not is_number[k] and v is not None}
        words |= {"job_type": run.job_type, "tags": ", ".join(run.tags)}
        tags = [RunTag(f"jamba_ray.{_name(k)}", _text(v)) for k, v in words.items()]
        for i in range(0, max(1, len(numbers)), _MOST_VALUES):
            self._client.log_batch(self._own, numbers[i : i + _MOST_VALUES], tags=tags)
        if run.page is not None and run.page.exists():
            self._client.log_artifact(self._own, str(run.page))
        if run.table:
            head, *rows = run.table
            table = {"columns": list(head), "data": [list(row) for row in rows]}
            self._client.log_text(self._own, json.dumps(table, default=str), "leaderboard.json")
        for artifact in run.artifacts:
            self._add(artifact)
        status = "FAILED" if run.failed else "FINISHED"
        self._client.set_terminated(self._own, status, end_time=at or None)

    def _add(self, artifact: Artifact) -> None:
        if artifact.folder is not None:
            with tempfile.TemporaryDirectory(prefix="jamba-ray-") as scratch:
                saved = Path(scratch) / "model"
                save_model(artifact.folder, saved)
                self._client.log_artifacts(self._own, str(saved), "model")
        if artifact.references:
            self._client.log_dict(self._own, dict(artifact.references), f"{artifact.kind}.json")


def save_model(best: Path, to: Path) -> None:
    """Saves a checkpoint as a model of MLflow with the signature of its columns.

    Raises:
        OSError: A file cannot be read or written.
    """
    import mlflow
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema, TensorSpec
    from mlflow.types.schema import AnyType

    known = Preprocessor.from_json(json.loads((best / "preprocessing.json").read_text("utf-8")))
    # Cells may be anything, as for `predict`; as double MLflow would refuse whole numbers.
    columns: list[ColSpec | TensorSpec] = [ColSpec(AnyType(), name) for name in known.columns]  # type: ignore[no-untyped-call]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # advice for those who write their model in a notebook
        mlflow.pyfunc.save_model(
            to,
            python_model=str(Path(__file__).with_name("mlflow_model.py")),
            artifacts={"model": str(best)},
            signature=ModelSignature(
                Schema(columns), Schema([ColSpec("double", "score"), ColSpec("boolean", "alert")])
            ),
            pip_requirements=[f"jamba-ray=={version('jamba-ray')}"],
        )


def _batches(rows: Sequence[Row]) -> Iterator[list[Row]]:
    """Yields rows, as many as one request takes."""
    some: list[Row] = []
    size = 0
    for row in rows:
        if some and size + len(row.values) > _MOST_VALUES:
            yield some
            some, size = [], 0
        some.append(row)
        size += len(row.values)
    if some:
        yield some


def _ms(row: Row) -> int:
    """Returns when a row was made, the same each time it is sent."""
    return int(1000 * row.values.get("_timestamp", 0)) or row.step


def _name(key: str) -> str:
    """Returns a name that MLflow takes."""
    return _NO_NAME.sub("_", key)[:250]


def _text(value: Any) -> str:
    return str(value)[:_LONGEST_PARAM]


def _beside(uri: str) -> str | None:
    """Returns where the files of a local database go; None: its server knows."""
    path = uri.removeprefix("sqlite:///")
    if path == uri:
        return None
    return (Path(path).resolve().parent / "mlartifacts").as_uri()


def _sentence(error: BaseException) -> str:
    """Returns the reason in one line, without a user or password in an address."""
    said = _PASSWORD.sub("://***@", one_line(error))
    if "401" in said or "403" in said or "UNAUTHENTICATED" in said or "PERMISSION" in said:
        return (
            "MLflow does not accept the user or token, or there is none: set "
            f"MLFLOW_TRACKING_TOKEN ({said})"
        )
    return f"MLflow did not answer as it should ({said})"
