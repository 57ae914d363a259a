"""Every trial in the report."""

import re

from jamba_ray.reports import page
from jamba_ray.reports.run import Run
from jamba_ray.reports.trials_table import trials_table
from tests.tracking.folders import make_run


def test_all_trials_are_listed_and_stopped_ones_name_their_last_value_and_rung(tmp_path):
    run = Run(make_run(tmp_path / "night-1", n_trials=30)[0].path)
    head, *rows = trials_table(run)
    assert head[:3] == ["trial", "avg precision", "ended"]
    assert sorted(int(row[0]) for row in rows) == list(range(30))
    by_number = {int(row[0]): row for row in rows}
    pruned = [t for t in run.records if t.state == "pruned"]
    for trial in pruned:
        step, value = trial.curve[-1]
        assert by_number[trial.number][1] == f"{value:.5f}"
        assert re.fullmatch(rf"pruned at rung \d+ \(report {step}\)", by_number[trial.number][2])
    assert pruned
    assert rows[-1][:3] == ["1", by_number[1][1], "failed at report 2"]
    values = [float(row[1]) for row in rows[:-1]]
    assert values == sorted(values, reverse=True)


def test_long_lists_are_behind_a_click(tmp_path):
    run = Run(make_run(tmp_path / "night-1", n_trials=30)[0].path)
    html = page.render(run)
    assert "<summary>All 30 trials</summary>" in html
    assert "The trials" in html


def test_a_run_without_trials_has_no_table(tmp_path):
    folder, study = make_run(tmp_path / "run", n_trials=0, ended=False)
    study.close()
    assert trials_table(Run(folder.path)) == []
