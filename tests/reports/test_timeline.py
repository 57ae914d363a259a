"""Which trial ran when on which runner."""

import time
from dataclasses import replace
from datetime import timedelta

from jamba_ray.reports import timeline
from jamba_ray.reports.run import Run
from jamba_ray.study.records import ReportLine, TrialOutcome
from tests.study.studies import open_study
from tests.tracking.folders import make_run


class Clock:
    def __init__(self):
        self.now = time.time() + 3600.0

    def __call__(self):
        self.now += 1.0
        return self.now


def told(study, number, steps, runner):
    for step in steps:
        study.report([ReportLine(number, step, 0.1 * step, rows_seen=100 * step, runner=runner)])


def test_the_study_notes_who_trained_what_and_from_where_on(tmp_path):
    folder, study = make_run(tmp_path / "run", n_trials=1, ended=False)
    study.close()
    (trial,) = Run(folder.path).study.trials
    study = open_study(folder.path, n_trials=1, session="again", clock=Clock())
    (spec,) = [study.ask("again/0").spec]
    assert spec.step == trial.curve[-1][0] == 2
    told(study, 0, [2, 3, 4], "far 77")  # its newest checkpoint is of the first report
    study.lost("again/0", "the runner's process died")
    assert study.ask("again/1").spec.number == 0
    told(study, 0, [5, 6], "near 78")
    study.finish(TrialOutcome(0, "complete", value=0.9, seconds=3.0))
    study.close()
    stays = Run(folder.path).study.stays[0]
    assert [(stay.runner, stay.step, stay.known) for stay in stays] == [
        ("host 1", 0, 0),
        ("far 77", 1, 2),
        ("near 78", 4, 4),
    ]
    assert stays[1].begun < stays[2].begun
    bars = timeline.bars_of(Run(folder.path), Run(folder.path).study)
    assert [bar.mark for bar in bars] == ["", "the sweep was resumed", "far 77 was lost"]
    assert [bar.again for bar in bars] == [0, 1, 0]
    drawn = timeline.timeline(Run(folder.path))
    assert "↶" in drawn.inner
    assert "×" in drawn.inner
    for words in ("×: its runner was lost", "↶: it went back", "resumed"):
        assert words in drawn.note


def test_every_trial_is_drawn_on_its_runner(tmp_path):
    run = Run(make_run(tmp_path / "run", n_trials=12)[0].path)
    bars = timeline.bars_of(run, run.study)
    assert [bar.trial.number for bar in bars] == list(range(12))
    assert {bar.runner for bar in bars} == {"host 1", "host 2"}
    drawn = run.figures()["timeline"]
    assert "runner 1<" in drawn.inner
    assert "runner 2<" in drawn.inner


def test_a_run_of_an_earlier_version_has_rows_for_what_ran_at_a_time(tmp_path):
    run = Run(make_run(tmp_path / "run", n_trials=12)[0].path)
    run.study = replace(run.study, stays={})
    assert "did not note its runners" in timeline.timeline(run).note


def test_local_times_of_another_zone_fit_those_of_the_runners(tmp_path):
    run = Run(make_run(tmp_path / "run", n_trials=4)[0].path)
    here = [(bar.begun, bar.ended) for bar in timeline.bars_of(run, run.study)]
    for times in (run.study.begun, run.study.ended):
        times.update({number: time + timedelta(hours=5.5) for number, time in times.items()})
    there = [(bar.begun, bar.ended) for bar in timeline.bars_of(run, run.study)]
    assert there == here


def test_only_long_pauses_are_cut_out():
    assert timeline.idle([(0, 10), (10.5, 20), (90, 100), (95, 99)]) == [(20, 90)]
    assert timeline.idle([]) == []
