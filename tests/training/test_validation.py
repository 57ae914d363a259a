from __future__ import annotations

import numpy as np
import pytest
import torch

from jamba_ray.data.prepared import Rows
from jamba_ray.evaluation import choose_threshold, score
from jamba_ray.training.device_rows import ResidentRows
from jamba_ray.training.validation import (
    CHUNK_ROWS,
    final_metrics,
    is_better,
    judged_rows,
    objective_value,
    predict,
    sample,
)
from tests.training.trials import make_rows


@pytest.mark.parametrize("share", [0.001, 0.3, 0.5, 0.999])
def test_sample_is_fixed_stratified_and_of_the_size_asked_for(share):
    rows = make_rows(5000, 3)
    y = (np.arange(5000) < share * 5000).astype(np.float32)
    rows = Rows(x_num=rows.x_num, x_cat=rows.x_cat, y=y)
    a, b = sample(rows, 400), sample(rows, 400)
    assert np.array_equal(a.x_num, b.x_num)
    assert len(a) == 400
    assert 0 < a.y.sum() < 400
    assert a.y.mean() == pytest.approx(share, abs=1 / 400)


def _labels(n: int, n_threats: int):
    return (np.arange(n) < n_threats).astype(np.float32)


@pytest.mark.parametrize(
    ("limit", "report_rows", "n_threats", "expected"),
    [
        (None, 300, 5000, 2048),  # short intervals: never fewer
        (None, 9000, 5000, 3000),  # a third of what was trained
        (None, 10**6, 5000, 8192),  # never more
        (None, 300, 500, 5000),  # one in twenty: 250 of them
        (None, 300, 9500, 5000),  # the same where the benign are rare
        (None, 300, 10, 8192),
        (None, 300, 0, 8192),  # one class only: nothing is rare
        (700, 10**6, 10, 700),  # what was asked for
    ],
)
def test_a_report_judges_no_more_than_pays(limit, report_rows, n_threats, expected):
    y = _labels(10_000, n_threats)
    found = judged_rows(limit, report_rows, y, ("average_precision",))
    assert found == pytest.approx(expected, abs=1)


def test_an_objective_of_few_rows_judges_enough_of_them():
    y = _labels(100_000, 5000)
    assert judged_rows(None, 300, y, ("precision_at_alerts_1e-3",)) == 50_000
    assert judged_rows(None, 300, y, ("recall_at_fpr_1e-3",)) == 20_000
    assert judged_rows(3000, 300, y, ("precision_at_alerts_1e-3",)) == 3000


def test_all_rows_are_taken_where_they_fit():
    rows = make_rows(100, 3)
    assert sample(rows, 100) is rows


def test_one_pass_in_chunks_equals_one_batch():
    rows = ResidentRows.of(make_rows(2 * CHUNK_ROWS["cpu"] + 7, 4), "cpu")
    (got,) = predict(lambda x_num, x_cat: x_num.sum(1) + x_cat.sum(1), rows, 1)
    expected = rows.x_num.sum(1) + rows.x_cat.sum(1)
    np.testing.assert_allclose(got, expected.numpy(), rtol=1e-6)


def test_read_only_rows_are_used_without_a_copy_or_a_warning():
    rows = make_rows(10, 5)
    rows.x_num.flags.writeable = False
    resident = ResidentRows.of(rows, "cpu")
    assert resident.x_num.data_ptr() == rows.x_num.ctypes.data


def test_gather_gives_each_member_its_rows():
    resident = ResidentRows.of(make_rows(10, 5), "cpu")
    index = torch.tensor([[1, 2], [7, 0]], dtype=torch.int32)
    x_num, x_cat, y = resident.gather(index)
    for k, b in np.ndindex(2, 2):
        row = int(index[k, b])
        assert torch.equal(x_num[k, b], resident.x_num[row])
        assert torch.equal(x_cat[k, b], resident.x_cat[row])
        assert y[k, b] == resident.y[row]


def test_f1_is_judged_at_its_best_threshold():
    generator = np.random.default_rng(0)
    p = generator.random(500) * 0.2  # nothing reaches 0.5
    y = (generator.random(500) < 3 * p).astype(np.float32)
    threshold, metrics = final_metrics(y, p)
    assert threshold == choose_threshold(y, p)
    assert metrics["val/f1"] == objective_value("f1", y, p) > score(y, p, 0.5)["f1"]


def test_log_loss_gets_better_downwards():
    assert is_better("log_loss", 0.1, 0.2)
    assert is_better("roc_auc", 0.2, 0.1)
    assert not is_better("roc_auc", 0.2, 0.2)
    assert is_better("roc_auc", 0.0, None)
