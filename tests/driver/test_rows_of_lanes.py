"""Rows and logs of runners whose machines do not have the run folder: the server writes them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jamba_ray.driver.server import StudyServer
from jamba_ray.errors import StorageError
from jamba_ray.runners.runner import Runner
from jamba_ray.runs.row_log import RowLog, fill_rows, read_rows, row_file, rows_of
from jamba_ray.runs.run_folder import RunFolder
from jamba_ray.study.records import ReportLine, TrialSpec
from jamba_ray.study.settings import base_config
from tests.study import trials
from tests.study.studies import settings


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path / "run").create()


@pytest.fixture
def server(folder):
    made = StudyServer(str(folder.study), settings(), "s", None)
    yield made
    made.close()


def told(number, step, value, **metrics):
    """A report as a runner elsewhere sends it."""
    row = RowLog(Path()).row(number, step, {"val/average_precision": value, **metrics}, epoch=1.0)
    return ReportLine(number, step, value, row=row)


def test_a_row_goes_with_its_report_once_for_readers(server, folder):
    spec = server.ask("s/0").spec
    first = told(spec.number, 1, 0.5, **{"train/loss": 0.25})
    assert server.report([first]) == ["continue"]
    assert server.report([first]) == ["continue"], "as after a reply that was lost"
    server.report([told(spec.number, 2, 0.6)])
    found = rows_of(row_file(folder.path, spec.number))
    assert [row["step"] for row in found] == [1, 2]
    assert found[0]["metrics"] == {"val/average_precision": 0.5, "train/loss": 0.25}
    assert found[0]["system"]["peak_rss_mb"] > 0, "the runner's memory, not the server's"


def test_no_report_is_acknowledged_without_its_row(server, folder, monkeypatch):
    spec = server.ask("s/0").spec

    def fails(reports):
        raise StorageError("the disk is full")

    monkeypatch.setattr(server._study_writer, "note_reports", fails)
    with pytest.raises(StorageError):
        server.report([told(spec.number, 1, 0.5)])
    assert [row["step"] for row in read_rows(folder.path)] == [1]


def test_a_runner_here_writes_its_rows_itself(server, folder):
    spec = server.ask("s/0").spec
    server.report([ReportLine(spec.number, 1, 0.5)])
    assert list(read_rows(folder.path)) == []


def test_the_log_of_a_runner_elsewhere_is_told(tmp_path, folder, server):
    """A trial that fails on a machine without the run folder: its traceback is in the run's."""
    away = RunFolder(tmp_path / "scratch").create()
    runner = Runner(away, trials.data(), fit=trials.at_fault, rows=False, tell_log=server.log)
    base = base_config(trials.config(), 800)
    (outcome,) = runner.train([TrialSpec(0, {"training.learning_rate": 0.01})], base, _go_on)
    assert outcome.state == "failed"
    (log,) = folder.logs.glob("runner-*.log")
    assert "ValueError: bad batch" in log.read_text()
    assert log.read_text() == (away.logs / log.name).read_text()


def test_a_log_cannot_be_written_elsewhere(server, folder):
    server.log("../../stray.log", "text\n")
    assert (folder.logs / "stray.log").read_text() == "text\n"
    assert not (folder.path.parent / "stray.log").exists()


def test_what_was_lost_is_made_again_from_the_study(folder):
    log = RowLog(folder.path)
    log.write(7, 2, {"val/average_precision": 0.2, "train/loss": 1.0})
    curve = [(1, 0.1), (2, 0.2), (3, 0.3)]
    assert fill_rows(folder.path, 7, curve, "val/average_precision") == 2
    assert fill_rows(folder.path, 7, curve, "val/average_precision") == 0
    found = rows_of(row_file(folder.path, 7))
    assert [(r["step"], r["metrics"]["val/average_precision"]) for r in found] == curve
    assert found[1]["metrics"]["train/loss"] == 1.0, "a row that was there was replaced"
    lines = row_file(folder.path, 7).read_text().splitlines()
    assert len({json.loads(line)["step"] for line in lines}) == len(lines) == 3


def _go_on(reports):
    return ["continue"] * len(reports)
