"""TensorBoard files, read back with TensorBoard's own reader and compared with the rows."""

import pytest

from jamba_ray.config.tracking import TrackingSection
from jamba_ray.errors import ConfigError
from jamba_ray.runs.row_log import RowLog, read_rows
from jamba_ray.study.reading import read_study
from jamba_ray.tracking.follower_process import Following, check_tracking
from jamba_ray.tracking.run_reader import tracked_runs
from jamba_ray.tracking.tensorboard_client import EventFiles
from tests.tracking.folders import make_run

ON = TrackingSection(tensorboard=True)


@pytest.fixture
def reader():
    """Event files of one folder, as TensorBoard reads them."""
    library = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator",
        reason="pip install 'jamba-ray[tensorboard]'",
    )

    def read(path):
        events = library.EventAccumulator(str(path))
        events.Reload()
        return events

    return read


@pytest.fixture
def folder(tmp_path):
    return make_run(tmp_path / "night-1", n_trials=4)[0]


def scalars(reader, folder, tag):
    """Trial -> [(step, value)]."""
    paths = sorted((folder.path / "tensorboard").glob("trial-*"))
    return {p.name: [(e.step, e.value) for e in reader(p).Scalars(tag)] for p in paths}


def rows(folder, tag):
    """The same from the local rows; TensorBoard keeps 32 bits."""
    found = {}
    for row in read_rows(folder.path):
        value = pytest.approx(row["metrics"][tag], rel=1e-6)
        found.setdefault(f"trial-{row['trial']:04d}", []).append((row["step"], value))
    return found


def test_each_trial_has_its_curves_and_its_parameters(reader, folder):
    from tensorboard.plugins.hparams.metadata import parse_session_start_info_plugin_data

    follower = Following(folder, ON)
    follower.end(60.0)
    assert follower.verdict() == []
    for tag in ("val/average_precision", "train/loss"):
        assert scalars(reader, folder, tag) == rows(folder, tag)
    study = read_study(folder.study)
    assert len(reader(folder.path / "tensorboard" / "sweep").Scalars("value")) == 3  # one failed
    for trial in study.trials:
        events = reader(folder.path / "tensorboard" / f"trial-{trial.number:04d}")
        metadata = events.SummaryMetadata("_hparams_/session_start_info")
        told = parse_session_start_info_plugin_data(metadata.plugin_data.content).hparams
        assert told["training.rate"].number_value == trial.params["training.rate"]
        assert told["model.width"].number_value == trial.params["model.width"]


def test_rows_that_come_later_are_added_and_a_continued_run_has_each_once(reader, tmp_path):
    folder, study = make_run(tmp_path / "night-1", n_trials=2, ended=False)
    files = EventFiles(folder.path)
    files.write(tracked_runs(folder.path, birth=""))
    before = scalars(reader, folder, "train/loss")["trial-0001"]
    assert [step for step, _ in before] == [1, 2]
    RowLog(folder.path).write(1, 3, {"train/loss": 0.25, "val/average_precision": 0.5})
    files.write(tracked_runs(folder.path, birth=""))
    assert scalars(reader, folder, "train/loss")["trial-0001"] == [*before, (3, 0.25)]
    # The process that wrote it is killed; the next one tells the same, once.
    again = EventFiles(folder.path)
    again.write(tracked_runs(folder.path, birth=""))
    assert scalars(reader, folder, "train/loss") == rows(folder, "train/loss")
    again.close()
    files.close()
    study.close()


def test_a_disk_that_refuses_costs_the_files_only_and_is_said(reader, tmp_path):
    folder, study = make_run(tmp_path / "night-1", n_trials=1, ended=False)
    (folder.path / "tensorboard").write_text("a file where the folder should be")
    follower = Following(folder, ON)
    follower.end(60.0)
    (sentence,) = follower.verdict()
    assert sentence.startswith("not everything was written for TensorBoard")
    assert "could not be written" in (folder.logs / "tracking.log").read_text()
    study.close()


def test_tensorboard_that_is_not_installed_is_said_before_anything_starts(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'jamba-ray\[tensorboard\]'"):
        check_tracking(ON)


def test_without_rows_there_is_nothing_to_show():
    with pytest.raises(ValueError, match="Drop `tracking=none`"):
        TrackingSection(name="none", tensorboard=True)
