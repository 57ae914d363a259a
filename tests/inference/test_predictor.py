from __future__ import annotations

import shutil
import subprocess
import sys
import textwrap
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

import jamba_ray
from jamba_ray.errors import CheckpointError, DataError, NoRunError, TrialError
from jamba_ray.evaluation import score
from jamba_ray.inference import Predictor, find_checkpoint, load, score_rows
from jamba_ray.versions import loading


def test_a_checkpoint_best_and_a_run_folder_give_the_same_predictor(model):
    a, b, c = (
        jamba_ray.load(p).predict_proba(model.test)
        for p in (model.path, model.run / "best", str(model.run))
    )
    np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(a, c)


def test_the_loaded_model_scores_the_validation_rows_exactly_as_training_did(model):
    predictor = load(model.run)
    p = score_rows(predictor, model.data.val)
    values = score(model.data.val.y, p, predictor.threshold)
    assert predictor.metrics == pytest.approx({f"val/{k}": v for k, v in values.items()}, rel=1e-9)
    assert values["roc_auc"] > 0.75  # it has learnt something that a wrong order of columns loses


def test_raw_rows_of_a_file_give_what_its_prepared_rows_give(model):
    predictor = load(model.run)
    p = predictor.predict_proba(model.test)
    assert p.dtype == np.float64
    assert p.shape == (len(model.test),)
    assert ((p >= 0) & (p <= 1)).all()
    np.testing.assert_allclose(p, score_rows(predictor, model.data.tests["test"]), rtol=1e-6)
    np.testing.assert_array_equal(score_rows(model.snapshot, model.data.val), 
                                  score_rows(predictor, model.data.val))  # fmt: skip


def test_order_of_columns_extra_columns_index_and_target_do_not_matter(model):
    predictor = load(model.run)
    expected = predictor.predict_proba(model.test)
    other = model.test[["service", "rate", "is_threat", "bytes"]].assign(note="x", extra=np.nan)
    other.index = pd.Index(range(10**6, 10**6 + len(other)))[::-1]
    np.testing.assert_array_equal(predictor.predict_proba(other), expected)
    np.testing.assert_array_equal(
        predictor.predict_proba(model.test.drop(columns="is_threat")), expected
    )
    # Sabotage: columns that were swapped do matter, so the equality above is not for free.
    swapped = model.test.rename(columns={"rate": "bytes", "bytes": "rate"})
    assert np.abs(predictor.predict_proba(swapped) - expected).max() > 0.01


def test_missing_columns_are_named(model):
    with pytest.raises(DataError, match=r"lacks .*'rate'"):
        load(model.run).predict_proba(model.test.drop(columns="rate"))


@pytest.mark.parametrize("name", ["rate", "bytes"])
def test_text_where_training_had_numbers_is_refused(model, name):
    predictor = load(model.run)
    text = model.test.assign(**{name: "fast"})
    match = f"column '{name}' of the rows must hold numbers, as in training, .* such as 'fast'"
    for frame in (text, text.iloc[:1], text.astype({name: "category"})):
        with pytest.raises(DataError, match=match):
            predictor.predict_proba(frame)
    # Sabotage: one number, or no value at all, is a column with odd cells.
    text.loc[text.index[-1], name] = "7.0"
    assert np.isfinite(predictor.predict_proba(text)).all()
    for unset in ("", "-", None, np.nan):
        assert np.isfinite(predictor.predict_proba(model.test.assign(**{name: unset}))).all()


def test_numbers_where_training_had_names_are_refused(model):
    predictor = load(model.run)
    with pytest.raises(DataError, match="column 'service' of the rows must hold names such as"):
        predictor.predict_proba(model.test.assign(service=range(len(model.test))))
    swapped = model.test.rename(columns={"service": "rate", "rate": "service"})
    with pytest.raises(DataError, match=r"'rate' .* must hold numbers"):
        predictor.predict_proba(swapped)


def test_spaces_around_names_do_not_matter(model):
    predictor = load(model.run)
    spaced = model.test.rename(columns=lambda name: f" {name} ")
    expected = predictor.predict_proba(model.test)
    np.testing.assert_array_equal(predictor.predict_proba(spaced), expected)
    assert next(iter(spaced.columns)) == " bytes "


@pytest.mark.parametrize("rows", [[[1.0, 2.0, "dns"]], np.zeros((2, 3)), {"rate": [1.0]}, None])
def test_what_is_no_frame_is_refused_with_the_way_out(trained, rows):
    predictor = load(trained["mlp"].run)
    with pytest.raises(DataError, match=r"of the type (list|ndarray|dict|NoneType); give pandas."):
        predictor.predict_proba(rows)


def test_dirty_rows_still_get_a_probability(model):
    dirty = pd.DataFrame(
        {
            "service": ["never seen", None, 3, "http", ""],
            "rate": [np.inf, -np.inf, "abc", 1e308, None],
            "bytes": [None, "", 2**70, -1e308, np.nan],
        }
    )
    p = load(model.run).predict_proba(dirty)
    assert np.isfinite(p).all()
    assert ((p >= 0) & (p <= 1)).all()


def test_no_rows_give_no_probabilities(model):
    predictor = load(model.run)
    assert predictor.predict_proba(model.test.iloc[:0]).shape == (0,)
    assert predictor.predict(model.test.iloc[:0]).shape == (0,)


def test_rows_do_not_see_their_neighbours(model, monkeypatch):
    """One by one, in small chunks and all at once: equal but for the last bits of float32 sums."""
    predictor = load(model.run)
    together = predictor.predict_proba(model.test)
    monkeypatch.setattr("jamba_ray.inference.predictor._CHUNK_ROWS", 7)
    monkeypatch.setattr("jamba_ray.inference.scorer._BATCH_ROWS", {"cpu": 3})
    np.testing.assert_allclose(predictor.predict_proba(model.test), together, rtol=1e-4)
    alone = predictor.predict_proba(model.test.iloc[[5]])
    np.testing.assert_allclose(alone, together[[5]], rtol=1e-4)


def test_predict_cuts_at_the_threshold_of_the_checkpoint(model):
    predictor = load(model.run)
    p = predictor.predict_proba(model.test)
    np.testing.assert_array_equal(predictor.predict(model.test), p >= predictor.threshold)
    assert predictor.threshold == model.snapshot.documents["metrics"]["threshold"] != 0.5
    assert 0 < predictor.predict(model.test).mean() < 1


def test_a_predictor_tells_what_it_is(model):
    predictor = load(model.run)
    assert predictor.config.model_dump(mode="json") == model.snapshot.documents["config"]
    assert set(predictor.preprocessing.columns) == {"bytes", "rate", "service"}
    assert predictor.fingerprints["data"] == model.data.fingerprint


def test_an_unfinished_trial_has_no_threshold_yet(trained):
    snapshot = trained["mlp"].snapshot
    metrics = {**snapshot.documents["metrics"], "threshold": None}
    unfinished = replace(snapshot, documents={**snapshot.documents, "metrics": metrics})
    assert Predictor(unfinished).threshold == 0.5


def test_loading_leaves_the_random_state_alone(trained):
    before = torch.random.get_rng_state()
    load(trained["mlp"].run)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_path_without_a_checkpoint_is_told_with_the_way_out(tmp_path):
    for path, what in ((tmp_path / "none", "does not exist"), (tmp_path, "lacks that")):
        with pytest.raises(NoRunError, match=rf"must be a run.*{what}.*runs/<run>"):
            find_checkpoint(path)
    (tmp_path / "night-1" / "best").mkdir(parents=True)
    with pytest.raises(NoRunError, match="Did you mean `night-1`"):
        find_checkpoint(tmp_path / "nigth-1")
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="is no folder"):
        load(tmp_path / "file")


def test_damage_is_told_before_anything_is_used(model, tmp_path):
    shutil.copytree(model.path, tmp_path / "copy")
    name = "model.txt" if "model.txt" in model.snapshot.blobs else "model.safetensors"
    data = bytearray((tmp_path / "copy" / name).read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "copy" / name).write_bytes(data)
    with pytest.raises(CheckpointError, match=f"`{name}` does not match its SHA-256"):
        load(tmp_path / "copy")


def _without(snapshot, name):
    return replace(
        snapshot, documents={k: v for k, v in snapshot.documents.items() if k != name}
    )  # fmt: skip


def test_a_notebook_gets_a_table(model):
    predictor = load(model.run)
    found = predictor._repr_html_()
    assert f"<td>{predictor.config.model.name}</td>" in found
    assert "<td>3: bytes, rate, service</td>" in found
    assert "the threshold with the best F1 on validation rows" in found
    assert found.count("<tr>") == found.count("</tr>") == 3 + len(predictor.metrics)


@pytest.mark.parametrize("name", ["config", "preprocessing", "metrics"])
def test_a_checkpoint_without_one_of_its_documents_is_refused_by_name(trained, name):
    with pytest.raises(CheckpointError, match=f"must hold `{name}.json`"):
        Predictor(_without(trained["mlp"].snapshot, name))


def _with(snapshot, name, **changes):
    documents = {**snapshot.documents, name: {**snapshot.documents[name], **changes}}
    return replace(snapshot, documents=documents)


def test_what_another_version_wrote_is_refused_with_the_way_out(trained):
    good = trained["mlp"].snapshot
    for bad in (
        _with(good, "config", model={"name": "a family of tomorrow"}),
        _with(good, "config", setting_of_tomorrow=1),
        _with(good, "preprocessing", version=99),
        _with(good, "preprocessing", numeric=[{}]),
    ):
        with pytest.raises(CheckpointError, match="with the version of jamba_ray that wrote it"):
            Predictor(bad)


@pytest.mark.parametrize("dtype", ["int32", "float64", "float16", "bool"])
def test_weights_of_another_type_are_refused(trained, dtype):
    """torch would convert them without a word: whole numbers are another model."""
    snapshot = trained["mlp"].snapshot
    name = next(n for n in snapshot.tensors if n.startswith("model/") and n.endswith("weight"))
    tensors = {**snapshot.tensors, name: snapshot.tensors[name].astype(dtype)}
    with pytest.raises(CheckpointError, match=f"`{name}` must be float32 .*, but is {dtype}"):
        Predictor(replace(snapshot, tensors=tensors))


def test_weights_that_do_not_fit_the_configuration_are_refused(trained):
    good = trained["mlp"].snapshot
    wider = {**good.documents["config"]["model"], "hidden_dim": 32}
    fewer = replace(good, tensors=dict(list(good.tensors.items())[1:]))
    for bad in (_with(good, "config", model=wider), fewer, replace(good, tensors={})):
        with pytest.raises(CheckpointError, match="weights must fit its configuration"):
            Predictor(bad)


@pytest.mark.parametrize("blobs", [{}, {"model.txt": b"no tree"}, {"model.txt": b"\xff\x00"}])
def test_trees_that_are_missing_or_garbage_are_refused(trained, blobs):
    with pytest.raises(CheckpointError, match=r"`model.txt`"):
        Predictor(replace(trained["lightgbm"].snapshot, blobs=blobs))


def test_a_diverged_model_is_an_error_never_nan(trained):
    good = trained["mlp"].snapshot
    tensors = {
        name: np.full_like(a, np.nan) if name.startswith("model/") and a.dtype.kind == "f" else a
        for name, a in good.tensors.items()
    }
    with pytest.raises(TrialError, match="300 of 300 are not: it diverged"):
        Predictor(replace(good, tensors=tensors)).predict_proba(trained["mlp"].test)


def test_read_only_rows_are_scored_without_a_warning(model):
    rows = model.data.val
    frozen = replace(rows, x_num=rows.x_num.copy(), x_cat=rows.x_cat.copy())
    frozen.x_num.setflags(write=False)
    frozen.x_cat.setflags(write=False)
    np.testing.assert_array_equal(
        score_rows(model.snapshot, frozen), score_rows(model.snapshot, rows)
    )


def test_importing_the_package_is_light_and_load_is_there():
    code = "import sys, jamba_ray; assert not {'torch', 'pandas', 'ray'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert jamba_ray.load is loading.load
    with pytest.raises(AttributeError, match="no attribute 'laod'"):
        jamba_ray.laod  # noqa: B018


def test_loading_and_predicting_never_unpickle(trained):
    code = textwrap.dedent("""
        import os, pickle, sys
        import lightgbm, numpy as np, pandas as pd
        import jamba_ray, jamba_ray.inference
        def hook(event, args):
            if event == "pickle.find_class":
                print("unpickled", args, flush=True)
                os._exit(3)
        sys.addaudithook(hook)
        frame = pd.DataFrame({"bytes": [1.0], "rate": [0.5], "service": ["dns"]})
        for run in sys.argv[1:]:
            jamba_ray.load(run).predict_proba(frame)
        print("clean", flush=True)
        pickle.loads(pickle.dumps(pd.DataFrame))  # sabotage: shows that the hook bites
    """)
    runs = [str(t.run) for t in trained.values()]
    done = subprocess.run([sys.executable, "-c", code, *runs], capture_output=True, text=True)
    assert done.stdout.startswith("clean\nunpickled"), done.stdout + done.stderr
    assert done.returncode == 3
