"""``jamba-ray``: every command by one name, none of them imported before it is asked for."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

import jamba_ray
from jamba_ray.__main__ import COMMANDS, main
from jamba_ray.errors import ExitCode


def test_every_command_is_there_and_no_other():
    package = Path(jamba_ray.__file__).parent
    runnable = {
        path.stem
        for path in package.glob("*.py")
        if 'if __name__ == "__main__":' in path.read_text() and path.stem != "__main__"
    }
    assert set(COMMANDS) == runnable | {"chaos", "completion"}


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_says_what_it_takes(name, capsys):
    try:
        code = main([name, "--help"])
    except SystemExit as left:  # argparse
        code = int(left.code or 0)
    assert code == ExitCode.OK
    assert name in capsys.readouterr().out


@pytest.mark.parametrize("given", [None, "ACTIVE"])
def test_threads_that_wait_sleep_unless_the_environment_says_otherwise(given, monkeypatch, capsys):
    monkeypatch.setenv("OMP_WAIT_POLICY", given or "")
    if given is None:
        monkeypatch.delenv("OMP_WAIT_POLICY")
    main(["train", "--help"])
    assert os.environ["OMP_WAIT_POLICY"] == (given or "PASSIVE")


def test_it_lists_its_commands_on_one_screen_without_importing_one():
    script = (
        "import sys; from jamba_ray.__main__ import main; code = main(['--help']);"
        "assert not {'torch', 'ray', 'pandas', 'hydra'} & set(sys.modules); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert len(lines) <= 32
    assert max(map(len, lines)) <= 90
    assert all(any(line.split()[:1] == [name] for line in lines) for name in COMMANDS)


def test_a_mistyped_command_is_told_the_nearest(capsys):
    assert main(["sweeep"]) == ExitCode.CONFIG
    assert capsys.readouterr().err == (
        "error: `sweeep` is no command of jamba-ray. Did you mean `sweep`?\n"
    )
    assert main(["fly"]) == ExitCode.CONFIG
    assert "Choose one of sweep, train" in capsys.readouterr().err


def test_a_setting_reaches_the_command(capsys):
    assert main(["train", "training.epochs=-3"]) == ExitCode.CONFIG
    assert "`training.epochs` must be" in capsys.readouterr().err
    assert main(["--version"]) == 0
    assert importlib.import_module("jamba_ray").__version__ in capsys.readouterr().out
