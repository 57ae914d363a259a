"""A tracker of a user's module: the contract, a sweep that is sent to it, and what it may break."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from jamba_ray.cli.composition import compose_section
from jamba_ray.config import plugin_modules
from jamba_ray.config.plugins import TRACKERS
from jamba_ray.config.run import SweepConfig
from jamba_ray.config.tracking import TrackingSection
from jamba_ray.errors import ConfigError
from jamba_ray.plugins import OutageError, PluginError, tracker
from jamba_ray.testing import TrackerContract
from jamba_ray.tracking.cursor import Cursor
from jamba_ray.tracking.follower_process import check_tracking
from jamba_ray.tracking.plugin_tracker import PluginTracker
from jamba_ray.tracking.run_reader import tracked_runs
from jamba_ray.tracking.tracked_run import TrackedRun
from tests.tracking.folders import make_run

MODULE = '''
import json
from pathlib import Path

from jamba_ray import plugins


@plugins.tracker("lines", title="Lines")
class Lines:
    """Keeps each run as a file of JSON lines."""

    def __init__(self, folder, project):
        self.home = Path(folder).parent / f"lines-{project}"
        self.home.mkdir(exist_ok=True)

    def open(self, run):
        if (self.home / "down").exists():
            raise plugins.OutageError("the folder of lines is closed")
        return Open(self.home / f"{run.id}.jsonl")


class Open:
    def __init__(self, path):
        self.path = path
        rows = path.read_text().splitlines() if path.exists() else []
        self.next_step = 1 + json.loads(rows[-1])["step"] if rows else 0
        self.url = path.parent.as_uri()

    def log(self, rows):
        with self.path.open("a") as file:
            for row in rows:
                file.write(json.dumps({"step": row.step, "values": dict(row.values)}) + "\\n")

    def close(self, run):
        if run is not None:
            text = json.dumps(dict(run.summary), default=str)
            self.path.with_suffix(".json").write_text(text)
'''
BROKEN = MODULE.replace(
    'self.next_step = 1 + json.loads(rows[-1])["step"] if rows else 0', ("self.next_step = 0")
)


@pytest.fixture
def module(tmp_path, monkeypatch):
    """The module in a working folder of its own, forgotten afterwards."""
    (tmp_path / "liner.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for registry, name in ((TRACKERS, "lines"), (plugin_modules.LOADED, "liner")):
        registry.pop(name, None)
    sys.modules.pop("liner", None)


class Lines(TrackerContract):
    tracker, plugins = "lines", ("liner",)

    def held(self, folder, run):
        path = folder.parent / "lines-contract" / f"{run.id}.jsonl"
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        return [(row["step"], row["values"]) for row in rows]

    @contextlib.contextmanager
    def outage(self, folder):
        home = folder.parent / "lines-contract"
        home.mkdir(exist_ok=True)
        (home / "down").touch()
        yield
        (home / "down").unlink()


CHECKS = [name for name in dir(TrackerContract) if name.startswith("test_")]


@pytest.mark.parametrize("check", CHECKS)
def test_a_tracker_of_thirty_lines_passes(module, check):
    Lines.setup_class()
    getattr(Lines(), check)()


@pytest.mark.parametrize("check", CHECKS)
def test_one_that_does_not_ask_what_is_there_fails(module, check):
    (module / "liner.py").write_text(BROKEN)
    Lines.setup_class()
    noticed = {"test_a_lost_cursor_doubles_no_row", "test_a_run_that_goes_on_is_continued"}
    with pytest.raises(AssertionError) if check in noticed else contextlib.nullcontext():
        getattr(Lines(), check)()


def test_one_that_swallows_an_outage_fails(module):
    text = MODULE.replace("            raise plugins.OutageError", "            str")
    (module / "liner.py").write_text(text)
    Lines.setup_class()
    with pytest.raises(AssertionError, match="it took 3 runs in an outage"):
        Lines().test_an_outage_costs_no_row()


def test_it_is_named_beside_ours(module):
    for words, trackers in (("[wandb,lines]", ("wandb", "lines")), ("lines", ("lines",))):
        given = ["+sweep=learning_rate", f"tracking={words}", "plugins=[liner]"]
        config = compose_section(SweepConfig, "config", given)
        assert config.tracking.trackers == trackers
        assert config.plugins[0].startswith("liner#")
    with pytest.raises(ConfigError, match=r"one is 'linse'\. Did you mean .lines.\?"):
        compose_section(SweepConfig, "config", ["tracking=[wandb,linse]", "plugins=[liner]"])


def test_its_module_left_out_is_one_sentence():
    with pytest.raises(ConfigError, match=r"`tracking=lines` must be one of local, mlflow, none"):
        compose_section(SweepConfig, "config", ["tracking=lines"])
    with pytest.raises(ConfigError, match=r"has 'lines'\. Name its module too"):
        check_tracking(TrackingSection(also=("lines",)))
    with pytest.raises(ValueError, match=r"`tracking\.also` must be empty with `tracking=none`"):
        TrackingSection(name="none", also=("lines",))


def test_a_name_that_is_ours_or_no_name_is_refused():
    for name in ("wandb", "My Tracker", "../x", ""):
        with pytest.raises(PluginError, match="the name of a tracker must be"):
            tracker(name)
    with pytest.raises(PluginError, match=r"must be a function of \(folder, project\)"):
        tracker("short")(lambda folder: None)


def follow(folder, module):
    line = [sys.executable, "-m", "jamba_ray.tracking.follow", str(folder.path), "--once"]
    line += ["--tracker=lines", "--project=p", "--plugin=liner"]
    return subprocess.run(line, cwd=module, capture_output=True, text=True, timeout=200)


def test_what_it_raises_is_an_outage(module):
    (module / "liner.py").write_text(MODULE.replace("if path.exists()", "if pth.exists()"))
    Lines.setup_class()
    run = TrackedRun("a", "night-1/0", "night-1", "trial", {})
    (module / "lines-p").mkdir()
    (module / "lines-p" / "a.jsonl").touch()
    with pytest.raises(OutageError, match="the tracker Lines raised NameError"):
        PluginTracker("lines", module / "night-1", "p").open(run)


@pytest.mark.slow
def test_its_process_sends_a_run_folder(module):
    folder, _ = make_run(module / "runs" / "night-1", n_trials=3)
    home = module / "runs" / "lines-p"
    home.mkdir()
    (home / "down").touch()
    assert follow(folder, module).returncode == 75
    assert Cursor(folder.path, "lines").problem == "the folder of lines is closed"
    (home / "down").unlink()
    done = follow(folder, module)
    assert done.returncode == 0, done.stdout + done.stderr
    cursor = Cursor(folder.path, "lines")
    assert (cursor.problem, cursor.complete, cursor.url) == (None, True, home.as_uri())
    runs = tracked_runs(folder.path, cursor.birth)
    for run in runs:
        lines = (home / f"{run.id}.jsonl").read_text().splitlines()
        assert [json.loads(line)["step"] for line in lines] == [row.step for row in run.rows]
    assert (folder.path / "tracking-lines.json").exists()


@pytest.mark.slow
def test_a_whole_sweep_is_sent_and_sync_finishes_it(module):
    line = [sys.executable, "-m", "jamba_ray.sweep", "+sweep=attention_heads", "n_trials=2"]
    line += ["data.n_samples=1000", "training.epochs=0.5", "model.hidden_dim=8", "run=night-1"]
    line += ["tracking=lines", "plugins=[liner]", "rival=false", "tracking.close_s=30"]
    home = module / "runs" / "lines-jamba_ray"
    home.mkdir(parents=True)
    (home / "down").touch()
    done = subprocess.run(line, cwd=module, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    said = " ".join(done.stdout.split())
    assert "not everything was sent to Lines (the folder of lines is closed)" in said
    assert f"jamba-ray sync run={module}/runs/night-1 'plugins=[liner]'" in said
    (home / "down").unlink()
    sync = [sys.executable, "-m", "jamba_ray.sync", "run=night-1", "plugins=[liner]"]
    for _ in range(2):
        done = subprocess.run(sync, cwd=module, capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "Lines has all of night-1 (3 of its runs" in done.stdout
    for run in tracked_runs(Path("runs/night-1"), Cursor(Path("runs/night-1"), "lines").birth):
        lines = (home / f"{run.id}.jsonl").read_text().splitlines()
        assert [json.loads(one)["step"] for one in lines] == [row.step for row in run.rows]
    without = [*sync[:-1]]
    done = subprocess.run(without, cwd=module, capture_output=True, text=True, timeout=200)
    assert done.returncode == 64, done.stdout + done.stderr
    assert "Name its module too" in " ".join((done.stdout + done.stderr).split())
