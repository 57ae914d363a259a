"""The local rows: whole lines, the last of repeats, and never a trial's fault."""

import json
import math
import sys
from types import SimpleNamespace

import pytest

from jamba_ray.runs.row_log import RowLog, read_rows, row_file


def steps(folder):
    return [(r["trial"], r["step"]) for r in read_rows(folder)]


def test_rows_come_back_in_full_precision(tmp_path):
    log = RowLog(tmp_path)
    log.write(3, 1, {"val/average_precision": 0.1 + 0.2}, rows_seen=100, epoch=0.25)
    (row,) = read_rows(tmp_path)
    assert row["metrics"]["val/average_precision"] == 0.1 + 0.2
    assert (row["trial"], row["rows_seen"], row["epoch"]) == (3, 100, 0.25)
    assert row["system"]["peak_rss_mb"] > 1


def test_nan_is_null_and_the_file_strict_json(tmp_path):
    RowLog(tmp_path).write(0, 1, {"train/loss": math.nan})
    text = row_file(tmp_path, 0).read_text()
    assert json.loads(text, parse_constant=None)["metrics"]["train/loss"] is None
    assert "NaN" not in text


def test_a_torn_line_costs_itself_only(tmp_path):
    RowLog(tmp_path).write(0, 1, {})
    with open(row_file(tmp_path, 0), "a") as file:
        file.write('{"trial": 0, "step": 2, "met')
    log = RowLog(tmp_path)  # the runner that continues the trial
    log.write(0, 2, {"a": 1.0})
    log.write(0, 3, {})
    assert steps(tmp_path) == [(0, 1), (0, 2), (0, 3)]


def test_of_repeated_reports_the_last_counts(tmp_path):
    log = RowLog(tmp_path)
    for value in (1.0, 2.0):
        log.write(0, 1, {"a": value})
    (row,) = read_rows(tmp_path)
    assert row["metrics"]["a"] == 2.0


def test_a_folder_that_takes_nothing_costs_no_trial(tmp_path):
    (tmp_path / "rows").write_text("a file where the folder should be")
    RowLog(tmp_path).write(0, 1, {})
    assert steps(tmp_path) == []


class Cuda:
    """Stands for ``torch.cuda`` of a process that uses a GPU."""

    def __init__(self, *, pynvml):
        self._pynvml = pynvml

    def is_initialized(self):
        return True

    def max_memory_allocated(self):
        return 3 * 2**20

    def utilization(self):
        if not self._pynvml:
            raise ModuleNotFoundError("pynvml is not installed")
        return 87


@pytest.mark.parametrize(
    ("pynvml", "load"), [(False, {}), (True, {"gpu_percent": 87.0})], ids=["without", "with"]
)
def test_a_process_on_a_gpu_says_what_it_takes_of_it(tmp_path, monkeypatch, pynvml, load):
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=Cuda(pynvml=pynvml)))
    RowLog(tmp_path).write(0, 1, {})
    (row,) = read_rows(tmp_path)
    assert set(row["system"]) == {"peak_rss_mb", "cpu", "gpu_peak_mb", *load}
    assert row["system"]["gpu_peak_mb"] == 3.0
    assert load.items() <= row["system"].items()


def test_a_process_without_a_gpu_says_nothing_of_one(tmp_path, monkeypatch):
    for torch in (None, SimpleNamespace(cuda=SimpleNamespace(is_initialized=lambda: False))):
        monkeypatch.setitem(sys.modules, "torch", torch)
        RowLog(tmp_path).write(0, 1, {})
        (row,) = read_rows(tmp_path)
        assert set(row["system"]) == {"peak_rss_mb", "cpu"}


@pytest.mark.gpu
def test_what_torch_took_of_a_real_gpu(tmp_path):
    torch = pytest.importorskip("torch")
    taken = torch.zeros(2**20, dtype=torch.float32, device="cuda")
    RowLog(tmp_path).write(0, 1, {})
    (row,) = read_rows(tmp_path)
    assert row["system"]["gpu_peak_mb"] >= taken.nbytes / 2**20
