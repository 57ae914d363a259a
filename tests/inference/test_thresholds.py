"""The analyst's way through the commands: a threshold, then scored rows."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pandas as pd
import pytest

import jamba_ray
from jamba_ray.errors import CheckpointError, ConfigError
from jamba_ray.inference import score_rows
from tests.commands import run_here
from tests.inference.conftest import make_frame


@pytest.fixture
def run(trained, tmp_path):
    """A run folder with a winner and the scores that it was judged by."""
    one = trained["lightgbm"]
    shutil.copytree(one.run, tmp_path / "run")
    predictor = jamba_ray.load(one.run)
    parts = {"val": one.data.val, **one.data.tests}
    frames = [
        pd.DataFrame({"part": part, "label": rows.y, "probability": score_rows(predictor, rows)})
        for part, rows in parts.items()
    ]
    pd.concat(frames).to_parquet(tmp_path / "run" / "scores.parquet", index=False)
    return tmp_path / "run"


def command(cwd, *words):
    done = run_here(*words, cwd=cwd)
    return done.returncode, done.stdout + done.stderr


def test_a_threshold_is_chosen_saved_and_used_by_predict(run, tmp_path):
    new = make_frame(500, seed=9).drop(columns="is_threat")
    new.to_csv(tmp_path / "new.csv", index=False)
    code, said = command(tmp_path, "threshold", "run", "max_fpr=0.05", "name=soc")
    assert code == 0, said
    assert "new.csv: jamba-ray predict run new.csv -o scored.csv threshold=soc" in said
    words = said.rsplit("new.csv: jamba-ray ", 1)[1].split()
    code, said = command(tmp_path, *words)
    assert code == 0, said
    assert "the saved threshold 'soc'" in said
    scored = pd.read_csv(tmp_path / "scored.csv")
    scores = pd.read_parquet(run / "scores.parquet").query("part == 'val'")
    cut = scored["threshold"].iloc[0]
    assert ((scores.probability >= cut) & (scores.label == 0)).sum() / (
        scores.label == 0
    ).sum() <= 0.05
    assert (scored["alert"] == (scored["score"] >= cut)).all()
    np.testing.assert_allclose(scored["score"], jamba_ray.load(run).predict_proba(new), rtol=1e-6)
    code, said = command(tmp_path, *words)
    assert code == 73
    assert said.count("\n") == 1


def test_named_thresholds_lie_beside_the_checkpoint_and_go_with_a_copy_of_it(run, tmp_path):
    from jamba_ray.config.predict import ThresholdConfig
    from jamba_ray.threshold import COMMAND

    before = jamba_ray.load(run)
    assert before.threshold == before.threshold_of(None)[0]
    assert COMMAND.main([str(run), "min_recall=0.9"]) == 0
    assert COMMAND.main([str(run), "max_fpr=0.01", "name=strict"]) == 0
    shutil.copytree(run / "best", tmp_path / "copy")
    after = jamba_ray.load(tmp_path / "copy")  # the manifest is as valid as ever
    assert set(after.thresholds) == {"default", "strict"}
    assert after.threshold == after.thresholds["default"]["threshold"]
    assert after.threshold_of("strict")[0] > after.threshold
    assert after.threshold_of("0.25")[0] == 0.25
    with pytest.raises(ConfigError, match="Did you mean `strict`"):
        after.threshold_of("strickt")
    assert ThresholdConfig(run="x", max_fpr=0.01).name == "default"


def test_thresholds_of_another_checkpoint_or_damaged_ones_are_refused(run, trained):
    from jamba_ray.threshold import COMMAND

    assert COMMAND.main([str(run), "max_fpr=0.05"]) == 0
    other = run.parent / "other"
    shutil.copytree(trained["mlp"].run, other)
    shutil.copy(run / "best" / "thresholds.json", other / "best")
    with pytest.raises(CheckpointError, match="chosen for another"):
        jamba_ray.load(other)
    for damage in (
        b"",
        b"{}",
        b'{"format": 1, "checkpoint": "x", "thresholds": {"a": {}}}',
        b"[" * 9,
    ):
        (run / "best" / "thresholds.json").write_bytes(damage)
        with pytest.raises(CheckpointError, match="damaged"):
            jamba_ray.load(run)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ((), 64),
        (("max_fpr=0.1", "min_recall=0.5"), 64),
        (("alerts_per_day=5",), 64),
        (("cost_missed=5",), 64),
        (("max_fpr=2",), 64),
        (("alerts_per_day=0.001", "rows_per_day=1000"), 65),
    ],
)
def test_what_cannot_be_chosen_is_a_sentence(run, words, code, capsys):
    from jamba_ray.threshold import COMMAND

    assert COMMAND.main([str(run), *words]) == code
    assert not (run / "best" / "thresholds.json").exists()
    assert "Traceback" not in capsys.readouterr().err


def test_evaluate_uses_the_saved_threshold_or_the_one_asked_for(run, tmp_path, monkeypatch):
    from jamba_ray import evaluate
    from jamba_ray.threshold import COMMAND

    monkeypatch.chdir(tmp_path)
    make_frame(400, seed=4).to_csv("new.csv", index=False)
    assert COMMAND.main([str(run), "max_fpr=0.05"]) == 0
    saved = jamba_ray.load(run).threshold
    words = [f"checkpoint={run}", "data.path=new.csv"]
    for more, cut in ([], saved), (["threshold=0.25"], 0.25):
        assert evaluate.COMMAND.main([*words, *more, f"run=e{len(more)}"]) == 0
        summary = json.loads((tmp_path / "runs" / f"e{len(more)}" / "summary.json").read_text())
        assert summary["best"]["threshold"] == cut
    assert evaluate.COMMAND.main([*words, "threshold=none"]) == 64
    assert evaluate.COMMAND.main([*words, "threshold=sok"]) == 64


def test_the_report_tells_each_threshold_in_alerts(run):
    from jamba_ray.reports.operating_points import operating_table
    from jamba_ray.reports.run import Run
    from jamba_ray.threshold import COMMAND

    (run / "config.yaml").write_text("{}\n")
    (run / "summary.json").write_text(json.dumps({"best": {"threshold": 0.5, "test": {}}}))
    rows = {row[0]: row for row in operating_table(Run(run))}
    assert "per 10,000 rows" in rows["best F1"][2]
    words = ["name=soc", "alerts_per_day=300", "rows_per_day=1000"]
    assert COMMAND.main([str(run), *words]) == 0
    head, first, *_ = operating_table(Run(run))
    assert head[0] == "on test rows"
    assert first[0] == "saved as soc"
    test = pd.read_parquet(run / "scores.parquet").query("part == 'test'")
    flagged = test.probability >= jamba_ray.load(run).threshold_of("soc")[0]
    assert first[2] == f"{1000 * flagged.mean():,.0f} a day"
    assert first[3].startswith(f"{(flagged & (test.label == 1)).sum()} (")
    assert first[4] == str((~flagged & (test.label == 1)).sum())
