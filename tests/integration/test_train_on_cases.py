"""``train`` and ``evaluate`` on tables as people have them, as a user runs them."""

from __future__ import annotations

import pytest

from tests.data import test_cases as cases
from tests.integration.conftest import summary_of

FAST = ["model=lightgbm", "data=table", "model.n_estimators=20", "rival=false", "tracking=none"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["02 names of attacks", "15 odd names", "11 folders of Hive"])
def test_a_table_trains_and_its_model_judges_it(command, workplace, tmp_path, name):
    section = cases.made(cases.CASES[name], tmp_path)
    data = [f"data.path={section.path}", f"data.target={section.target}"]
    run = f"case-{name[:2]}"
    command("train", *FAST, *data, f"run={run}")
    assert (workplace / "runs" / run / "report.html").exists()
    done = command("evaluate", f"checkpoint=runs/{run}", *data, f"run={run}-again")
    rule = cases.CASES[name].says if name.startswith("02") else ""
    assert rule in done.stdout
    assert summary_of(workplace / "runs" / f"{run}-again")["best"]["test"]["roc_auc"]["value"] > 0.7


@pytest.mark.slow
def test_a_day_without_threats_has_a_false_positive_rate(command, workplace, tmp_path):
    """As a test beside training it decides nothing; judged alone it is the whole answer."""
    for name, rows in (("days", cases.rows()), ("monday", cases.rows(200, seed=5, share=0.0))):
        (tmp_path / f"{name}.csv").write_text(cases.text(rows))
    monday = tmp_path / "monday.csv"
    data = [f"data.path={tmp_path}/days.csv", f"data.test={monday}", "data.target=label"]
    trained = [*FAST, *data, "run=monday"]
    trained.remove("rival=false")
    assert "false positives" in command("train", *trained).stdout
    best = summary_of(workplace / "runs" / "monday")["best"]
    assert "test" not in best
    rate = best["extra_tests"]["test"]["fpr"]
    assert rate["low"] < rate["value"] < rate["high"]
    judged = [f"data.path={monday}", "data.target=label", "run=monday-again"]
    command("evaluate", "checkpoint=runs/monday", *judged)
    assert summary_of(workplace / "runs" / "monday-again")["best"]["test"]["fpr"] == rate
    assert "of the benign rows" in command("report", "run=monday-again").stdout
