"""Which runs a run folder stands for, and when each of them is another one."""

import json

from jamba_ray.reports.files import write_report
from jamba_ray.reports.run import Run
from jamba_ray.runs.run_folder import write_json
from jamba_ray.tracking.run_reader import tracked_runs
from tests.study.studies import open_study, train
from tests.tracking.folders import make_run


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
