from __future__ import annotations

import os
import stat

import pytest

from jamba_ray import doctor
from jamba_ray.errors import ExitCode


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in [n for n in os.environ if n.startswith(("RAY_AUTH", "WANDB_"))]:
        monkeypatch.delenv(name)


def test_a_healthy_laptop(capsys):
    assert doctor.COMMAND.main(["doctor.free_gb=0.001"]) == ExitCode.OK
    assert "fix" not in capsys.readouterr().out


def test_what_a_sweep_would_fail_on(capsys):
    arguments = ["data=table", "data.path=none.csv", "tracking=wandb", "tracking.mode=online"]
    assert doctor.COMMAND.main(arguments) == ExitCode.UNAVAILABLE
    out = capsys.readouterr().out
    assert "none.csv does not exist" in out
    assert "wandb login" in out


def test_a_cluster_that_is_not_there(capsys):
    assert doctor.COMMAND.main(["doctor.address=http://127.0.0.1:9"]) == ExitCode.UNAVAILABLE
    assert "must answer" in capsys.readouterr().out


def test_the_token_file_is_private_and_made_once(tmp_path, capsys):
    path = tmp_path / ".ray" / "auth_token"
    assert doctor.COMMAND.main(["doctor.make_token=true"]) == ExitCode.OK
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    first = path.read_text()
    assert len(first) == 64
    assert doctor.COMMAND.main(["doctor.make_token=true"]) == ExitCode.OK
    assert "is kept" in capsys.readouterr().out
    assert path.read_text() == first


@pytest.mark.parametrize("how", [0o644, 0o620, "link", "empty"])
def test_a_token_that_others_could_read_is_replaced(how, tmp_path, capsys):
    path = tmp_path / ".ray" / "auth_token"
    path.parent.mkdir()
    path.write_text("" if how == "empty" else "known")
    path.chmod(0o600)
    if how == "link":
        path.rename(tmp_path / "elsewhere")
        path.symlink_to(tmp_path / "elsewhere")
    elif how != "empty":
        path.chmod(how)
    assert doctor.COMMAND.main(["doctor.make_token=true"]) == ExitCode.OK
    assert ("was empty" if how == "empty" else "others could read") in capsys.readouterr().out
    assert not path.is_symlink()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(path.read_text()) == 64
    assert [one.name for one in path.parent.iterdir()] == ["auth_token"]


def test_a_cluster_in_the_environment_that_is_gone(capsys, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    assert doctor.COMMAND.main(["doctor.free_gb=0.001"]) == ExitCode.UNAVAILABLE
    assert "Ray must answer at 127.0.0.1:9" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("doctor.adress=x", "doctor.adress"),
        ("doctor.address=127.0.0.1:8265", "http://"),
        ("doctor.address=http://u:p@host", "no user or password"),
        ("doctor.nodes=0", "doctor.nodes"),
    ],
)
def test_mistakes(setting, said, capsys):
    assert doctor.COMMAND.main([setting]) == ExitCode.CONFIG
    assert said in capsys.readouterr().err
