from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from scipy.special import logit

from jamba_ray.data import row_batches
from jamba_ray.inference import contributions as module
from jamba_ray.inference import load
from jamba_ray.inference.contributions import sampled
from tests.inference.conftest import make_frame

NO_CODES = np.zeros((1, 0), dtype=np.int64)


def interacting(x, _codes):
    """A score whose columns act together; column 4 does nothing."""
    return 2.0 * x[:, 0] - 1.5 * x[:, 1] * x[:, 2] + np.tanh(x[:, 3] + x[:, 0]) + 0.0 * x[:, 4]


def exact(score, row, typical):
    """The Shapley values by their definition, over all subsets."""
    c, values = len(row), np.zeros(len(row))
    for j, size in itertools.product(range(c), range(c)):
        weight = math.factorial(size) * math.factorial(c - size - 1) / math.factorial(c)
        for some in itertools.combinations([i for i in range(c) if i != j], size):
            without = typical.copy()
            without[list(some)] = row[list(some)]
            with_it = without.copy()
            with_it[j] = row[j]
            change = score(np.stack([with_it, without]), None)
            values[j] += weight * (change[0] - change[1])
    return values


def estimated(rows, pairs):
    n, c = rows.shape
    typical = (np.full((1, c), 0.1, dtype=np.float32), NO_CODES)
    codes = np.zeros((n, 0), dtype=np.int64)
    return sampled(interacting, (rows, codes), typical, [([j], []) for j in range(c)], pairs)


def test_sampled_values_add_up_whatever_the_number_of_orders_and_converge_to_the_exact_ones():
    rows = np.random.default_rng(0).normal(size=(12, 6)).astype(np.float32)
    true = np.stack([exact(interacting, row, np.full(6, 0.1, np.float32)) for row in rows])
    errors = []
    for pairs in (1, 16, 256):
        values, base = estimated(rows, pairs)
        np.testing.assert_allclose(values.sum(axis=1) + base, interacting(rows, None), atol=1e-5)
        errors.append(np.sqrt(np.mean((values - true) ** 2)))
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.03 * np.abs(true).max(axis=1).mean()
    assert not values[:, 4:].any()  # columns that do nothing get exactly nothing


def test_few_columns_take_every_order_and_are_exact():
    rows = np.random.default_rng(1).normal(size=(5, 5)).astype(np.float32)
    true = np.stack([exact(interacting, row, np.full(5, 0.1, np.float32)) for row in rows])
    np.testing.assert_allclose(estimated(rows, 60)[0], true, atol=1e-5)


def test_one_column_gets_everything():
    rows = np.array([[1.0], [2.0]], dtype=np.float32)
    typical = (np.zeros((1, 1), dtype=np.float32), NO_CODES)
    values, base = sampled(
        lambda x, _: 3.0 * x[:, 0] + 1.0,
        (rows, np.zeros((2, 0), dtype=np.int64)),
        typical,
        [([0], [])],
        8,
    )
    assert base == 1.0
    assert values.tolist() == [[3.0], [6.0]]


def agree(predictor, rows):
    found = predictor.contributions(rows)
    np.testing.assert_allclose(
        found.values.sum(axis=1) + found.base,
        logit(predictor.predict_proba(rows)),
        rtol=1e-4,
        atol=1e-4,
    )
    return found


def test_contributions_add_up_and_find_what_made_the_labels(model):
    predictor = load(model.run)
    rows = make_frame(200, seed=5).drop(columns="is_threat")
    rows.index = rows.index + 1000
    found = agree(predictor, rows)
    mean = dict(zip(found.columns, np.abs(found.values).mean(axis=0), strict=True))
    assert max(mean, key=mean.__getitem__) == "rate"  # 1.5 x rate + 2 x (service is ftp)
    assert mean["bytes"] < mean["service"]
    rates = found.values[:, found.columns.index("rate")]
    assert np.corrcoef(rates, rows["rate"])[0, 1] > 0.8
    told = predictor.explain(rows, k=2)
    assert told.groupby("row").size().max() == 2
    one = told[told["row"] == 1000].iloc[0]
    assert one["value"] == rows.loc[1000, one["column"]]
    # A row's reasons do not depend on the rows beside it.
    alone = predictor.contributions(rows.iloc[[7]])
    np.testing.assert_allclose(alone.values[0], found.values[7], atol=1e-5)


def test_the_check_of_sums_fails_where_one_column_is_lost(model, monkeypatch):
    """The sabotage twin of the test above."""
    owners = module.owners_of
    monkeypatch.setattr(module, "owners_of", lambda p: [([], []), *owners(p)[1:]])
    rows = make_frame(50, seed=5).drop(columns="is_threat")
    predictor = load(model.run)
    whole = predictor.predict_proba(rows)
    if model.run.name == "lightgbm":
        with pytest.raises(AssertionError):
            agree(predictor, rows)
        return
    # Orders always add up: what is lost of a network is given to the last column of each order.
    broken = predictor.contributions(rows)
    monkeypatch.undo()
    assert np.abs(broken.values - predictor.contributions(rows).values).max() > 0.01
    assert len(whole) == 50


def test_no_rows_have_no_reasons(model):
    predictor = load(model.run)
    assert predictor.explain(make_frame(3, seed=1).head(0)).empty


@pytest.mark.parametrize("line_end", ["", '\n"odd"'])
def test_alerts_of_a_file_get_reasons_and_other_rows_none(model, tmp_path, monkeypatch, line_end):
    monkeypatch.setattr(row_batches, "_CSV_BYTES", 4096)
    predictor = load(model.run)
    rows = make_frame(400, seed=7).drop(columns="is_threat")
    rows["service"] = rows["service"].replace("ssh", "s,sh" + line_end)
    rows.to_csv(tmp_path / "new.csv", index=False)
    for name in ("out.csv", "out.parquet"):
        said = predictor.predict_file(
            tmp_path / "new.csv", tmp_path / name, threshold=0.4, explain=5
        )
        scored = (pd.read_csv if name.endswith("csv") else pd.read_parquet)(tmp_path / name)
        added = ["score", "alert", "threshold", *(f"reason_{i}" for i in range(1, 6))]
        assert list(scored.columns) == [*rows.columns, *added]
        assert 0 < said.alerts < 400
        assert (scored["reason_1"].notna() == (scored["alert"] == 1)).all()
        assert scored["reason_4"].isna().all()  # there are three columns
        np.testing.assert_allclose(scored["score"], predictor.predict_proba(rows), rtol=1e-6)
        at = int(np.flatnonzero(scored["alert"] == 1)[3])
        told = predictor.explain(rows.iloc[[at]], k=1).iloc[0]
        reason = scored["reason_1"][at]
        if name == "out.parquet":
            assert reason["column"] == told["column"]
            assert reason["log_odds"] == pytest.approx(told["log_odds"], abs=1e-4)
        else:
            assert reason.startswith(f"{told['column']}=")
            assert reason.endswith(f"({told['log_odds']:+.2f})")
    services = pd.read_csv(tmp_path / "out.csv")["service"]
    assert (services.fillna("") == rows["service"].to_numpy()).all()
