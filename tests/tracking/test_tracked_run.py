"""Which runs a run folder stands for, and when each of them is another one."""

import json

import yaml

from jamba_ray.reports.files import write_report
from jamba_ray.reports.run import Run
from jamba_ray.runs.file_writes import write_bytes, write_json
from jamba_ray.runs.row_log import RowLog
from jamba_ray.runs.run_folder import RunFolder
from jamba_ray.tracking.run_reader import tracked_runs
from tests.study.studies import open_study, train
from tests.tracking.folders import CONFIG, make_run


def ids(folder, kind="trial"):
    return [r.id for r in tracked_runs(folder.path, birth="") if r.job_type == kind]


def test_a_continued_trial_is_the_same_run_and_an_overwritten_sweep_another(tmp_path):
    folder, study = make_run(tmp_path / "night-1", n_trials=2, ended=False)
    before = ids(folder)
    study.close()
    again = open_study(folder.path, n_trials=2, session="t")  # resume=true
    spec = again.ask("t/0").spec
    assert spec.number == 1
    train(again, spec, start=3)
    assert ids(folder) == before
    again.close()
    other, study = make_run(tmp_path / "elsewhere" / "night-1", n_trials=2, ended=False)
    study.close()
    assert not set(ids(other)) & set(before)  # a run of the same name that is begun anew


def test_a_report_made_while_the_sweep_runs_does_not_end_the_sweeps_run(tmp_path):
    folder, _ = make_run(tmp_path / "night-1", n_trials=2)
    final = json.loads(folder.summary.read_text())
    for status, ended in (("running", False), ("storage_lost", False), (final["status"], True)):
        write_json(folder.summary, {**final, "status": status})
        write_report(Run(folder.path))  # newer than the summary, as `report run=` leaves it
        (sweep,) = (r for r in tracked_runs(folder.path, birth="") if r.job_type == "sweep")
        assert sweep.ended == ended, status


def test_the_report_and_the_followers_read_the_same_trial_of_a_train(tmp_path):
    """From its first report to its end; failed before any report it is a failed trial too."""
    config = {k: v for k, v in CONFIG.items() if k != "search_space"}

    def stands(folder):
        """What the report's record and the tracked run say of the one trial."""
        records = Run(folder.path).records
        sent = tracked_runs(folder.path, birth="")
        assert [r.summary["state"] for r in sent] == [r.state for r in records]
        return [
            (r.state, t.summary.get("reason"), t.ended) for r, t in zip(records, sent, strict=True)
        ]

    def begun(name):
        folder = RunFolder(tmp_path / name).create()
        write_bytes(folder.config, yaml.safe_dump(config).encode())
        return folder

    failed = begun("failed")
    assert stands(failed) == []
    why = [{"reason": "out of memory", "count": 1, "trials": [0]}]
    write_json(failed.summary, {"status": "none_succeeded", "best": None, "failures": why})
    assert stands(failed) == [("failed", "out of memory", True)]

    good = begun("good")
    RowLog(good.path).write(0, 1, {"val/average_precision": 0.5}, epoch=1.0, rows_seen=9)
    assert stands(good) == [("running", None, False)]
    best = {"step": 1, "epochs": 1.0, "rows_seen": 9, "val": {"average_precision": {"value": 0.5}}}
    best["test"] = {"roc_auc": {"value": 0.7}}
    write_json(good.summary, {"status": "ok", "best": best, "failures": []})
    assert stands(good) == [("complete", None, True)]
    (sent,) = tracked_runs(good.path, birth="")
    assert (sent.summary["best/test/roc_auc"], sent.summary["objective"]) == (0.7, 0.5)
