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


@pytest.fixture
def judged(run):
    """The run with scores of 3,000 validation, 3,000 calibration and 3,000 test rows of two hosts,
    as in a run that is split by time with ``data.split.calibration``."""
    rng = np.random.default_rng(0)
    frames = []
    for i, part in enumerate(("val", "calibration", "test")):
        y = rng.random(3000) < 0.2
        p = 1 / (1 + np.exp(-rng.normal(3.0 * y, 1)))
        time = np.datetime64("2026-03-01", "ns") + (
            30 * i + np.arange(3000) // 100
        ) * np.timedelta64(1, "D")
        columns = {"part": part, "label": y.astype(int), "probability": p, "time": time}
        frames.append(pd.DataFrame({**columns, "group": rng.choice(["host-1", "host-2"], 3000)}))
    pd.concat(frames).to_parquet(run / "scores.parquet", index=False)
    return run


def saved(run, name="default"):
    return json.loads((run / "best" / "thresholds.json").read_text())["thresholds"][name]


def test_a_promise_rests_on_rows_that_chose_nothing_and_goes_with_the_threshold(judged, tmp_path):
    code, said = command(tmp_path, "threshold", "run", "max_fpr=0.01")
    assert code == 0, said
    promise = saved(judged)["promise"]
    assert promise["holds"] is True
    assert "like the 3,000 calibration rows (2026-03-31 to 2026-04-29)" in promise["sentence"]
    assert promise["sentence"] in " ".join(said.split())
    scores = pd.read_parquet(judged / "scores.parquet").query("label == 0")
    flagged = scores.probability >= saved(judged)["threshold"]
    assert flagged[scores.part == "calibration"].mean() < 0.008  # what 2,400 rows prove
    make_frame(500, seed=9).drop(columns="is_threat").to_csv(tmp_path / "new.csv", index=False)
    code, said = command(tmp_path, "predict", "run", "new.csv", "-o", "scored.csv")
    assert code == 0, said
    assert promise["sentence"] in " ".join(said.split())
    from jamba_ray.reports.operating_points import promises
    from jamba_ray.reports.run import Run

    (judged / "config.yaml").write_text("{}\n")
    (judged / "summary.json").write_text(json.dumps({"best": {"threshold": 0.5, "test": {}}}))
    assert promises(Run(judged)) == [f"default: {promise['sentence']}"]


def test_a_promise_is_asked_for_each_group_or_period_or_not_at_all(judged):
    from jamba_ray.threshold import COMMAND

    cuts = {}
    for more in ([], ["guarantee_by=group"], ["guarantee_by=time"], ["guarantee=0"]):
        assert COMMAND.main([str(judged), "max_fpr=0.02", *more]) == 0
        cuts["".join(more)] = saved(judged)["threshold"]
        if more == ["guarantee_by=group"]:
            assert [b["name"] for b in saved(judged)["promise"]["bounds"]] == ["host-1", "host-2"]
        if more == ["guarantee_by=time"]:
            assert len(saved(judged)["promise"]["bounds"]) == 2
    assert saved(judged)["promise"] is None
    assert (
        cuts["guarantee=0"] < cuts[""] < min(cuts["guarantee_by=group"], cuts["guarantee_by=time"])
    )


def test_a_promise_is_taken_back_where_rows_to_come_are_other_rows(judged, capsys):
    from jamba_ray.threshold import COMMAND

    for words, why in (
        (["shift=0.85"], "AUC 0.85"),
        (["shift=0.51"], None),
    ):
        assert COMMAND.main([str(judged), "max_fpr=0.01", *words]) == 0
        promise = saved(judged)["promise"]
        assert promise["holds"] is (why is None)
        assert why is None or why in promise["sentence"]
    auc = {"value": 0.9, "low": 0.88, "high": 0.92}
    summary = {"data": {"shift": {"to_come": {"part": "newest", "roc_auc": auc}}}}
    (judged / "summary.json").write_text(json.dumps(summary))
    assert COMMAND.main([str(judged), "max_fpr=0.01"]) == 0
    assert "AUC 0.90" in saved(judged)["promise"]["sentence"]
    (judged / "summary.json").unlink()
    scores = pd.read_parquet(judged / "scores.parquet")
    later = (scores.part == "test") & (scores.label == 0)
    scores.loc[later, "probability"] **= 0.5
    scores.to_parquet(judged / "scores.parquet", index=False)
    assert COMMAND.main([str(judged), "max_fpr=0.01"]) == 0
    assert "on the test rows" in saved(judged)["promise"]["sentence"]
    assert saved(judged)["promise"]["holds"] is False


def test_what_cannot_be_promised_by_is_a_sentence(run, capsys):
    from jamba_ray.threshold import COMMAND

    assert COMMAND.main([str(run), "max_fpr=0.05", "guarantee_by=group"]) == 65
    assert "data.group" in capsys.readouterr().err
    assert COMMAND.main([str(run), "max_fpr=0.05", "guarantee_by=time"]) == 65
    assert "data.split.kind=time" in capsys.readouterr().err
    assert COMMAND.main([str(run), "min_precision=0.5", "guarantee=0.9"]) == 64
    assert "`max_fpr` or `min_recall`" in capsys.readouterr().err
    assert COMMAND.main([str(run), "max_fpr=0.05", "guarantee=1"]) == 64


def test_evaluate_says_that_labelled_rows_break_a_promise(run, tmp_path, monkeypatch):
    from jamba_ray import evaluate
    from jamba_ray.threshold import COMMAND

    monkeypatch.chdir(tmp_path)
    assert COMMAND.main([str(run), "min_recall=0.5"]) == 0
    frame = make_frame(600, seed=4)
    frame.to_csv("same.csv", index=False)
    # Another day: the threats do not look like threats any more.
    frame.assign(rate=-3.0, service="dns").to_csv("other.csv", index=False)
    notes = {}
    for name in ("same", "other"):
        words = [f"checkpoint={run}", f"data.path={name}.csv", f"run={name}"]
        assert evaluate.COMMAND.main(words) == 0
        summary = json.loads((tmp_path / "runs" / name / "summary.json").read_text())
        assert summary["best"]["promise"]["holds"] is True
        notes[name] = [n for n in summary["notes"] if n.startswith("The promise is broken")]
    assert notes["same"] == []
    assert "on these rows 0 % of the threats are found" in notes["other"][0]


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_predict_adds_calibrated_probabilities_where_asked_and_leaves_the_score(
    judged, tmp_path, ending
):
    from jamba_ray.threshold import COMMAND

    new = make_frame(300, seed=9).drop(columns="is_threat").assign(note="a\nb")
    new.to_parquet(tmp_path / "new.parquet")
    with pytest.raises(ConfigError, match="a probability needs the calibration"):
        jamba_ray.load(judged).predict_file(tmp_path / "new.parquet", "x", probability=True)
    assert COMMAND.main([str(judged), "max_fpr=0.05", "calibration=isotonic"]) == 0
    predictor = jamba_ray.load(judged)
    read = {
        "csv": pd.read_csv,
        "parquet": pd.read_parquet,
        "jsonl": lambda path: pd.read_json(path, lines=True),
    }[ending]
    plain, more = tmp_path / f"plain.{ending}", tmp_path / f"more.{ending}"
    predictor.predict_file(tmp_path / "new.parquet", plain)
    words = ["new.parquet", "-o", more.name, "prior=0.001", "explain=1"]
    code, said = command(tmp_path, "predict", "run", *words)
    assert code == 0, said
    before, after = read(plain), read(more)
    assert list(after.columns) == [*before.columns, "probability", "reason_1"]
    pd.testing.assert_frame_equal(after[list(before.columns)], before)
    expected = predictor.probabilities(predictor.predict_proba(new), 0.001)
    np.testing.assert_allclose(after["probability"], expected, rtol=1e-6)
    assert expected.mean() < 0.1 * predictor.probabilities(predictor.predict_proba(new)).mean()


def test_the_calibration_goes_with_the_thresholds_and_a_bad_one_is_refused(judged):
    from jamba_ray.threshold import COMMAND

    assert COMMAND.main([str(judged), "max_fpr=0.05", "name=a"]) == 0
    file = judged / "best" / "thresholds.json"
    tree = json.loads(file.read_text())
    assert tree["calibration"]["fitted_on"] == "calibration"
    told = tree["calibration"]["metrics"]
    for part in ("calibration", "test"):
        assert told[part]["after"]["log_loss"] < told[part]["before"]["log_loss"]
        assert set(told[part]["after"]) == {"log_loss", "ece", "brier"}
    assert COMMAND.main([str(judged), "max_fpr=0.05", "name=b", "calibration=none"]) == 0
    predictor = jamba_ray.load(judged)
    assert set(predictor.thresholds) == {"a", "b"}
    assert predictor.probabilities([0.25]) == [0.25]
    tree["calibration"]["method"] = "magic"
    file.write_text(json.dumps(tree))
    with pytest.raises(CheckpointError, match=r"calibration in .* must be sound"):
        jamba_ray.load(judged)
