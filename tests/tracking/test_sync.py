"""``jamba_ray.sync`` claims no more than W&B has: what was sent, what was not, the exit code."""

import io
import os

import pytest
from rich.console import Console

import jamba_ray
from jamba_ray.config.tracking import SyncConfig
from jamba_ray.errors import InterruptedRunError, UnavailableError
from jamba_ray.sync import Delivery, run, sentence
from tests.tracking.folders import make_run
from tests.tracking.stub_server import KEY, Stub

pytest.importorskip("wandb", reason="pip install 'jamba-ray[wandb]'")

NOBODY = {"WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_API_KEY": KEY}


@pytest.fixture(autouse=True)
def run_of_a_user(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name, value in NOBODY.items():
        monkeypatch.setenv(name, value)
    jamba_ray.log_run(params={"a": 1}, metrics={"roc_auc": 0.98}, name="x1")
    return tmp_path / "runs" / "x1"


def sync(run_name="x1", **settings):
    out = io.StringIO()
    run(SyncConfig(run=run_name, **settings), Console(file=out, width=300))
    return out.getvalue()


def test_what_the_time_did_not_suffice_for_is_not_claimed():
    with pytest.raises(InterruptedRunError, match=r"`timeout_s=0.5` was over.* 0 of the 1 runs"):
        sync(timeout_s=0.5)


def test_a_folder_that_wandb_cannot_write_is_named(run_of_a_user):
    (run_of_a_user / "wandb").write_text("x")
    with pytest.raises(UnavailableError, match=r"x1/wandb' must be a folder .* 0 of the 1 runs"):
        sync()


@pytest.mark.parametrize("end", ["os.kill(os.getpid(), 11)", "raise ValueError", "os._exit(0)"])
def test_a_sender_that_crashes_sent_nothing(run_of_a_user, tmp_path, monkeypatch, end):
    (tmp_path / "wandb.py").write_text(f"import os\n{end}\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (run_of_a_user / "tracking.json").write_text('{"pending": 0, "complete": true}')
    with pytest.raises(UnavailableError, match=r"exit code .*tracking.log\). W&B has 0 of the 1"):
        sync()


def test_what_arrived_is_counted_and_sent_once(tmp_path, monkeypatch):
    stub = Stub()
    try:
        for name, value in stub.environment().items():
            monkeypatch.setenv(name, value)
        _, study = make_run(tmp_path / "night-1", n_trials=2, ended=False)
        study.close()
        store = os.fspath(tmp_path)
        first = sync("night-1", store=store)
        assert "has 1 of the 3 runs of night-1 (1 sent now); 2 have not ended yet." in first
        assert "has all of x1 (1 of its runs; 1 sent now)" in sync()
        assert "has all of x1 (1 of its runs; 0 sent now)" in sync()
    finally:
        stub.close()


def test_the_sentence_names_both_kinds_of_what_is_missing():
    said = sentence("n", Delivery(1, 5, 0), Delivery(3, 2, 1))
    assert said == (
        "W&B has 3 of the 6 runs of n (2 sent now); 2 were not sent whole and 1 have not ended yet."
    )
