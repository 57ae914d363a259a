"""The local rows: whole lines, each step once, never a trial's fault, never a folder made anew."""

import json
import math
import shutil
import sys
from types import SimpleNamespace

import pytest

from jamba_ray.errors import StorageError
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


def lines(folder):
    return [json.loads(line)["step"] for line in row_file(folder, 0).read_text().splitlines()]


def test_a_step_is_written_once_whoever_reports_it_again(tmp_path):
    first, later = RowLog(tmp_path), RowLog(tmp_path)  # as two processes
    for step in (1, 2, 3):
        first.write(0, step, {"a": float(step)})
    for step in (2, 3, 4, 5):  # the trial goes on from the checkpoint of step 1 elsewhere
        later.write(0, step, {"a": -1.0})
    for step in (4, 5, 6):  # and comes back
        first.write(0, step, {"a": -2.0})
    assert lines(tmp_path) == [1, 2, 3, 4, 5, 6]
    values = [row["metrics"]["a"] for row in read_rows(tmp_path)]
    assert values == [1.0, 2.0, 3.0, -1.0, -1.0, -2.0], "a row that is there is kept"


def test_of_rows_that_an_earlier_version_repeated_the_last_counts(tmp_path):
    log = RowLog(tmp_path)
    log.write(0, 1, {"a": 1.0})
    file = row_file(tmp_path, 0)
    file.write_text(file.read_text() * 2 + file.read_text().replace("1.0", "2.0"))
    (row,) = read_rows(tmp_path)
    assert row["metrics"]["a"] == 2.0


def test_a_run_folder_that_is_gone_is_a_lost_store_and_not_made_anew(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    log = RowLog(run)
    log.write(0, 1, {})
    shutil.move(run, tmp_path / "elsewhere")
    for trial in (0, 1):
        with pytest.raises(StorageError, match=r"is gone\. Mount it again"):
            log.write(trial, 2, {})
    assert not run.exists()


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
