"""The default models that a winner is held against."""

from __future__ import annotations

import numpy as np

from jamba_ray.checkpoints import Snapshot, read_checkpoint
from jamba_ray.driver.rivals import kept_rivals, rivals_of, strongest, train_rivals
from jamba_ray.estimators.estimator import ESTIMATORS
from jamba_ray.runs.run_contents import why_no_run
from jamba_ray.runs.run_folder import RunFolder
from tests.training.trials import make_config, make_data


def test_a_family_is_no_rival_of_itself():
    assert rivals_of(["lightgbm", "logistic"], "mlp") == ["lightgbm", "logistic"]
    assert rivals_of(["lightgbm", "logistic"], "lightgbm") == ["logistic"]
    assert rivals_of([], "mlp") == []


def test_the_strongest_on_validation_is_the_baseline():
    def reached(**values):
        return {name: {"value": value} for name, value in values.items()}

    judged = {
        "a": reached(average_precision=0.8, log_loss=0.4),
        "b": reached(average_precision=0.9, log_loss=0.5),
        "c": reached(average_precision=0.9, log_loss=0.3),
    }
    assert strongest(judged, "average_precision") == "b"  # of equal ones the first
    assert strongest(judged, "log_loss") == "c"
    del judged["b"]["log_loss"]
    assert strongest({k: judged[k] for k in "ab"}, "log_loss") == "b"  # by average precision


def test_each_is_trained_with_its_defaults_and_kept(tmp_path, monkeypatch):
    data, folder = make_data(200, 200), RunFolder(tmp_path)
    config = make_config(epochs=1, objective="roc_auc", seed=3)
    monkeypatch.setattr(ESTIMATORS["xgboost"], "requires", "no_such_package")
    families = ["lightgbm", "logistic", "xgboost"]
    found = dict(train_rivals(families, config, data, folder))
    assert list(found) == families
    for family in ("lightgbm", "logistic"):
        model = found[family]
        assert isinstance(model, Snapshot)
        wrote = model.documents["config"]
        assert wrote == {**config.model_dump(mode="json"), "model": wrote["model"]}
        assert wrote["model"]["name"] == family
        kept = read_checkpoint(tmp_path / "rivals" / family)[1]
        assert kept.documents == model.documents
        assert kept.blobs == model.blobs
        for name, array in model.tensors.items():
            np.testing.assert_array_equal(kept.tensors[name], array)
    assert "pip install 'jamba-ray[xgboost]'" in found["xgboost"]
    again = dict(train_rivals(["logistic"], config, data, folder))  # replaced, as after a kill
    assert again["logistic"].documents["metrics"] == found["logistic"].documents["metrics"]
    names = [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")]
    folders = [name for name in names if (tmp_path / name).is_dir()]
    files = [name for name in names if name not in folders]
    assert why_no_run(files, [*folders, "checkpoints", "logs"]) is None


def test_a_run_of_earlier_versions_keeps_none(tmp_path):
    (tmp_path / "rivals" / ".scratch.1").mkdir(parents=True)
    assert kept_rivals(str(tmp_path)) == kept_rivals(str(tmp_path / "best")) == {}
    assert kept_rivals("s3://bucket/run") == {}
