"""The file of keys: private, read by the process that sends to a tracker, and said by nobody."""

import os

import pytest

from jamba_ray.config.tracking import TrackingSection
from jamba_ray.errors import ConfigError
from jamba_ray.tracking.follower_process import check_tracking
from jamba_ray.tracking.tracker_keys import KEYS, add_keys, keys

SECRET = "local-" + "5ecre7" * 7


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / KEYS.parent).mkdir()
    return tmp_path


def write(home, text, mode=0o600):
    path = home / KEYS
    path.unlink(missing_ok=True)
    path.touch(mode=mode)
    path.chmod(mode)
    path.write_text(text)
    return path


def test_names_and_values_are_read(home):
    write(home, f"# mine\n\nWANDB_API_KEY={SECRET}\nMLFLOW_TRACKING_URI='http://h:5000'\n")
    assert keys() == {"WANDB_API_KEY": SECRET, "MLFLOW_TRACKING_URI": "http://h:5000"}
    environment = {"WANDB_API_KEY": "given"}
    add_keys(environment)
    assert environment == {"WANDB_API_KEY": "given", "MLFLOW_TRACKING_URI": "http://h:5000"}


def test_no_file_is_no_key(home):
    assert keys() == {}
    (home / KEYS.parent).rmdir()
    assert keys() == {}


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o622, 0o660, 0o777])
def test_one_that_others_may_read_is_refused_before_anything_starts(home, mode):
    path = write(home, f"WANDB_API_KEY={SECRET}\n", mode)
    with pytest.raises(ConfigError, match=rf"mode {mode:04o}\): `chmod 600 {path}`"):
        check_tracking(TrackingSection(mlflow=True))
    check_tracking(TrackingSection())  # no tracker: nothing is read


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, who gives the file")
@pytest.mark.parametrize(("mode", "is_read"), [(0o440, True), (0o444, False), (0o460, False)])
def test_the_group_may_read_what_root_gives(home, monkeypatch, mode, is_read):
    """A Secret of Kubernetes in a Pod that is not root: root's, and 0440 by ``fsGroup``."""
    write(home, f"WANDB_API_KEY={SECRET}\n", mode)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    if is_read:
        assert keys() == {"WANDB_API_KEY": SECRET}
    else:
        with pytest.raises(ConfigError, match="others may read or change it"):
            keys()


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (f"WANDB_API_KEY {SECRET}", "line 2 is none"),
        (SECRET, "line 2 is none"),
        (f"LD_PRELOAD={SECRET}", "line 2 sets LD_PRELOAD, which is none of them"),
        (f"PYTHONPATH={SECRET}", "line 2 sets PYTHONPATH, which is none of them"),
        ("x" * 70_000, "it has more than 65536 bytes"),
    ],
)
def test_a_wrong_line_is_a_sentence_without_its_value(home, line, why):
    write(home, f"# mine\n{line}\n")
    with pytest.raises(ConfigError) as caught:
        keys()
    assert why in str(caught.value)
    assert SECRET not in str(caught.value)


def test_a_folder_is_no_file(home):
    (home / KEYS).mkdir()
    with pytest.raises(ConfigError, match=r"it cannot be read|it is no file"):
        keys()
