"""The job finds the run wherever the sweep's own configuration puts it."""

import json

import pytest

from jamba_ray.cli import gate
from jamba_ray.cli.job import _run_folder
from jamba_ray.cluster import job_result
from jamba_ray.errors import UnavailableError


@pytest.mark.parametrize(
    ("overrides", "place"),
    [
        (["run=x"], "runs/x"),
        (["+sweep=mine", "run=x", "resume=true"], "results_here/x"),
        (["+sweep=mine", "store='with space'", "run=x"], "with space/x"),
        (["+sweep=mine", "++store=last", "store=very/last", "run=x"], "very/last/x"),
        (["store=s3://bucket/sweeps", "run=x"], "runs/x"),
        (["store=file:///{here}/abs", "run=x"], "abs/x"),
        (["+sweep=named"], "runs/of-the-file"),
    ],
)
def test_the_run_folder_is_that_of_the_composed_configuration(
    tmp_path, monkeypatch, overrides, place
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sweeps").mkdir()
    head = "# @package _global_\n"
    (tmp_path / "sweeps" / "mine.yaml").write_text(f"{head}store: results_here\n")
    (tmp_path / "sweeps" / "named.yaml").write_text(f"{head}run: of-the-file\n")
    (tmp_path / place).mkdir(parents=True)
    (tmp_path / place / "summary.json").write_text("{}")
    found = _run_folder([text.format(here=tmp_path) for text in overrides])
    assert found is not None
    assert found.resolve() == (tmp_path / place).resolve()
    home = job_result.unpack("\n".join(job_result.pack(0, found)))
    assert list(home.files) == ["summary.json"]


def test_a_configuration_that_does_not_compose_has_no_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert _run_folder(["+sweep=nothing", "run=x"]) is None
    assert _run_folder(["run=x"]) is None


@pytest.mark.parametrize(
    "files",
    [
        *(None, {}, {"summary.json": b"{}"}, {"summary.json": b"[]"}, {"summary.json": b"\xff"}),
        {"summary.json": json.dumps({"best": None, "objective": "log_loss"}).encode()},
        {"summary.json": json.dumps({"best": {"val": {}}, "objective": "x"}).encode()},
    ],
)
def test_a_gate_without_a_winner_to_judge_is_no_pass(files):
    found = None if files is None else job_result.JobResult(0, "r", files)
    with pytest.raises(UnavailableError, match=r"job ci-1 sent none that can be judged"):
        gate.read_winner(found, "ci-1")
