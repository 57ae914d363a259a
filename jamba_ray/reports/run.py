"""Reads a run folder as tables and figures (``jamba_ray.open_run``)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from jamba_ray.config.direction import Direction, badness, direction_of, least_first
from jamba_ray.config.names import nearest
from jamba_ray.errors import DataError, NoRunError
from jamba_ray.reports.words import LABELS, trial_in_words
from jamba_ray.runs.row_log import read_rows
from jamba_ray.runs.run_folder import RunFolder
from jamba_ray.study.reading import StudyReading, has_study, read_study
from jamba_ray.study.records import TrialRecord

if TYPE_CHECKING:
    from jamba_ray.inference import Predictor
    from jamba_ray.reports.svg import Figure

FINAL = ("ok", "some_failed", "none_succeeded")
"""The values of ``status`` in ``summary.json`` for a run that ended normally."""


class Run:
    """Reads a run in its present state on disk: running, finished, interrupted or crashed.

    Each property is read once, at its first use; open the run again for newer trials.
    """

    def __init__(self, path: str | Path, *, copy_of: str | None = None) -> None:
        """Opens a run; raises NoRunError if no run is at ``path``.

        ``copy_of``: the URI of the run of which ``path`` is a temporary copy.
        """
        self.folder = RunFolder(Path(path))
        self.copy_of = copy_of
        if not self.folder.config.exists():
            what = "is no run" if self.folder.path.is_dir() else "does not exist"
            asked = self.folder.path.resolve()
            runs = [config.parent.name for config in asked.parent.glob("*/config.yaml")]
            close = nearest(asked.name, runs)
            raise NoRunError(
                f"{str(self.folder.path)!r} must be a run folder (one with `config.yaml`), but "
                f"{what}{close or '. Give `run=<name>` with its `store=`, or the folder itself.'}"
            )

    @property
    def name(self) -> str:
        """Returns the run's name."""
        return self.folder.path.resolve().name

    @property
    def place(self) -> str:
        """Returns the run's folder or URI, as commands take it for ``run=``."""
        return self.copy_of or str(self.folder.path)

    @cached_property
    def config(self) -> dict[str, Any]:
        """Returns the resolved configuration."""
        return self.folder.read_config()

    @cached_property
    def summary(self) -> dict[str, Any]:
        """Returns ``summary.json``; empty while the run continues, and after a kill."""
        return self.folder.read_summary()

    @cached_property
    def study(self) -> StudyReading | None:
        """Returns the study; None for runs without one (``train``, ``evaluate``)."""
        return read_study(self.folder.study) if has_study(self.folder.study) else None

    @property
    def objective(self) -> str:
        """Returns the name of the metric that decides."""
        return str(self.summary.get("objective") or self.config.get("objective"))

    @property
    def direction(self) -> Direction:
        """Says whether more or less of the objective is better."""
        # A metric of a plug-in, which need not be imported here, has the study's.
        return direction_of(self.objective) if self.study is None else self.study.direction

    @cached_property
    def records(self) -> tuple[TrialRecord, ...]:
        """Returns every trial, by number."""
        if self.study is not None:
            return self.study.trials
        return _single(self)

    @property
    def best(self) -> TrialRecord | None:
        """Returns the best complete trial so far; at the end the winner, which may be another that
        is surely as good and cheaper."""
        done = [t for t in self.records if t.state == "complete" and t.value is not None]
        taken = (self.summary.get("certification") or {}).get("taken")
        if (winner := next((t for t in done if t.number == taken), None)) is not None:
            return winner
        if not done:
            return None
        return min(done, key=lambda t: (badness(t.value or 0.0, self.direction), t.number))

    @cached_property
    def trials(self) -> pd.DataFrame:
        """Returns one row a trial: number, state, value, origin, params.*, val/*, epochs ..."""
        return pd.DataFrame(
            [
                {
                    "number": t.number,
                    "state": t.state,
                    "value": t.value,
                    "origin": t.origin,
                    **{f"params.{k}": v for k, v in t.params.items()},
                    **t.metrics,
                    "best_step": t.best_step,
                    "epochs": t.epochs,
                    "rows_seen": t.rows_seen,
                    "seconds": t.seconds,
                    "goodput_s": t.goodput_s,
                    "reason": t.reason,
                    "checkpoint": t.checkpoint,
                }
                for t in self.records
            ]
        )

    @cached_property
    def curves(self) -> pd.DataFrame:
        """Returns one row per report: trial, step, epoch, value and all that was measured then.

        ``value`` is the objective on the validation sample; the measurements are ``train/loss``,
        ``rows_seen``, ``seconds`` and others.
        """
        logged = {(r["trial"], r["step"]): r for r in read_rows(self.folder.path)}
        every = self.epochs_per_report
        rows: list[dict[str, Any]] = []
        for trial in self.records:
            for step, value in trial.curve:
                more = logged.get((trial.number, step), {})
                known: dict[str, Any] = {
                    k: more[k] for k in ("rows_seen", "seconds", "goodput_s") if k in more
                }
                rows.append(
                    {
                        "trial": trial.number,
                        "step": step,
                        "epoch": more.get("epoch", step * every if every else None),
                        "value": value,
                        **known,
                        **more.get("metrics", {}),
                    }
                )
        columns = ["trial", "step", "epoch", "value"]
        return pd.DataFrame(rows) if rows else pd.DataFrame(columns=columns)

    @property
    def epochs_per_report(self) -> float | None:
        """Returns the epochs between two reports, from the trials with reports; None: there are
        none yet."""
        known = [t for t in self.records if t.curve and t.epochs > 0]
        # A report waits for the end of its batch, so that long curves give the best estimate.
        longest = max(known, key=lambda t: t.curve[-1][0], default=None)
        return None if longest is None else longest.epochs / longest.curve[-1][0]

    @cached_property
    def scores(self) -> pd.DataFrame | None:
        """Returns the winner's probabilities on the rows that evaluated it; None before the
        evaluation.

        Columns: part, label, probability, baseline, group.
        """
        if not self.folder.scores.exists():
            return None
        # "rival": the name in version 0.1.
        return pd.read_parquet(self.folder.scores).rename(columns={"rival": "baseline"})

    def load(self, *, plugins: Sequence[str] = ()) -> Predictor:
        """Returns the best model, ready to predict, with the ``plugins`` that it needs imported
        first; raises CheckpointError if there is none yet."""
        from jamba_ray.inference import load

        return load(self.folder.path, plugins=plugins)

    def feature_importance(self) -> pd.DataFrame:
        """Returns how much worse the best model's objective is without each group of columns.

        Columns: ``columns`` (those exchanged together), ``drop``, ``low`` and ``high`` (its 95 %
        interval). It is computed at the end of a run, on test rows if they have both classes, else
        on validation rows; for runs of earlier versions now, from the data. Empty where the metric
        is not defined.

        Raises:
            CheckpointError: There is no model yet.
            DataError: The data are gone or have changed.
        """
        found = self.found_importance()
        names = ["columns", "drop", "low", "high"]
        groups = [] if found is None else found["groups"]
        rows = [[tuple(one["columns"]), *(one[name] for name in names[1:])] for one in groups]
        return pd.DataFrame(rows, columns=names)

    def found_importance(self) -> dict[str, Any] | None:
        """Returns ``feature_importance`` of ``summary.json``, computed now if it is not there."""
        if "feature_importance" in self.summary:
            stored: dict[str, Any] | None = self.summary["feature_importance"]
            return stored
        from jamba_ray.config.run import DATA_SECTIONS
        from jamba_ray.data import prepare
        from jamba_ray.driver.verdict import of_features

        predictor = self.load()
        section = self.config["data"]
        # Runs of 0.1 do not know the setting, and divided their rows so.
        split = {"repeats": "anywhere", **section.get("split", {})}
        section = {**section, "split": split}
        data = prepare(DATA_SECTIONS[section["name"]].model_validate(section))
        if data.fingerprint != self.summary.get("data_fingerprint", data.fingerprint):
            raise DataError(
                f"the data of {self.name} must be those that it was trained on, but have changed; "
                "put them back, or train again."
            )
        return of_features(predictor, float(self.summary["best"]["threshold"]), data)

    def figures(self) -> dict[str, Figure]:
        """Returns every figure for which this run has data, by name."""
        from jamba_ray.reports.feature_table import feature_figure
        from jamba_ray.reports.figures import study_figures
        from jamba_ray.reports.quality import quality_figures

        features = feature_figure(self.summary.get("feature_importance"))
        found = {**study_figures(self), **quality_figures(self)}
        return found if features is None else {**found, "features": features}

    def __repr__(self) -> str:
        return f"Run({str(self.place)!r}: {self._in_words()})"

    def _in_words(self) -> str:
        """Returns ``20 trials, ok, best: trial 3 with avg precision 0.9876``."""
        n, best = len(self.records), self.best
        words = [f"{n} trial{'s'[: n != 1]}"] if self.study is not None else ["one configuration"]
        words.append(str(self.summary.get("status") or "not ended"))
        if best is not None:
            label = LABELS.get(self.objective, self.objective)
            who = f"trial {trial_in_words(best.number, best.origin)} with " if self.study else ""
            words.append(f"best: {who}{label} {best.value:.4f}")
        return ", ".join(words)

    def _repr_html_(self) -> str:
        columns = ["number", "state", "value", "origin", "epochs", "seconds"]
        table = self.trials
        if not table.empty:
            shown = [c for c in map(str, table) if c in columns or c.startswith("params.")]
            least = least_first(self.direction)
            table = table[shown].sort_values("value", ascending=least).head(10)
        rows: str = table.to_html(index=False, na_rep="")
        return f"<b>{escape(self.name)}</b>: {escape(self._in_words())}{rows}"


def open_run(path: str | Path) -> Run:
    """Returns the run at ``path``, for a notebook: ``.trials``, ``.curves``, ``.figures()``,
    ``.load()``.

    Raises:
        NoRunError: No run is there.
    """
    return Run(path)


def find_run(name: str, store: str) -> Path:
    """Returns the folder of a run given by its name in ``store``, or by its folder.

    Raises:
        NoRunError: It is looked for in a bucket, which only ``reports.bucket`` can open.
    """
    if "://" in name or "://" in store:
        raise NoRunError(
            f"the run must be a folder on this machine, but {name!r} is looked for in a bucket. "
            "Give the command on the machine that drove the run, with its folder there; "
            "`jamba-ray report` reads runs in buckets."
        )
    inside = Path(store) / name
    is_path = Path(name).exists() or len(Path(name).parts) > 1
    return Path(name) if is_path and not inside.exists() else inside


def _single(run: Run) -> tuple[TrialRecord, ...]:
    """Returns the one trial of a ``train`` run, from its ``summary.json`` and reports; none before
    them."""
    summary = run.summary
    rows = list(read_rows(run.folder.path))
    objective = f"val/{run.objective}"
    curve = tuple((r["step"], r["metrics"][objective]) for r in rows if objective in r["metrics"])
    best = summary.get("best")
    failed = summary.get("status") == "none_succeeded"
    if not (best or rows or failed):
        return ()
    last = rows[-1] if rows else {}
    metrics = {f"val/{k}": v["value"] for k, v in (best or {}).get("val", {}).items()}
    trial = TrialRecord(
        number=0,
        state="failed" if failed else "complete" if best else "running",
        params={},
        value=metrics.get(objective),
        metrics=metrics,
        best_step=(best or {}).get("step", 0),
        rows_seen=(best or last).get("rows_seen", 0),
        epochs=(best or {}).get("epochs", last.get("epoch", 0.0)),
        seconds=last.get("seconds", 0.0),
        goodput_s=last.get("goodput_s", 0.0),
        reason=next((f["reason"] for f in summary.get("failures") or []), None),
        checkpoint=(best or {}).get("checkpoint"),
        curve=curve or tuple((int(s), float(v)) for s, v in summary.get("curve", [])),
    )
    return (trial,)
