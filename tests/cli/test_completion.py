"""Completion, asked as the shells ask: a real bash, zsh and fish at a terminal, and TAB."""

import os
import pty
import select
import shutil
import subprocess
import sys
import time

import pytest

from jamba_ray.cli.completion import SCRIPTS, candidates, main, split
from jamba_ray.errors import ExitCode

SHELLS = [
    pytest.param(
        name, marks=pytest.mark.skipif(shutil.which(name) is None, reason=f"there is no {name}")
    )
    for name in SCRIPTS
]
TYPED = {
    "jamba-ray thr": "jamba-ray threshold",
    "jamba-ray sweep training.ep": "jamba-ray sweep training.epochs=",
    "jamba-ray sweep objective=roc": "jamba-ray sweep objective=roc_auc",
    "jamba-ray sweep resume=t": "jamba-ray sweep resume=true",
    "jamba-ray sweep +sweep=min": "jamba-ray sweep +sweep=mine",
    "jamba-ray train n_trials=2 model=ml": "jamba-ray train n_trials=2 model=mlp",
    "jamba-ray evaluate data.path=flo": "jamba-ray evaluate data.path=flows.csv",
    "jamba-ray sweep --help sea": "jamba-ray sweep --help search",
}


@pytest.fixture
def place(tmp_path):
    """A folder with a sweep, a file of rows, and the program first on the path."""
    (tmp_path / "sweeps").mkdir()
    (tmp_path / "sweeps" / "mine.yaml").write_text("n_trials: 2\n")
    (tmp_path / "flows.csv").write_text("a\n")
    program = tmp_path / "bin" / "jamba-ray"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m jamba_ray "$@"\n')
    program.chmod(0o755)
    return tmp_path


def at_a_terminal(shell, place, lines):
    """What each line has become after a TAB: it is then made the argument of ``echo``."""
    home = place / "home"
    home.mkdir(exist_ok=True)
    how = {
        "bash": ["--norc", "--noprofile", "-i"],
        "zsh": ["-f", "-i"],
        "fish": ["--no-config", "-i"],
    }
    load = {
        "bash": 'eval "$(jamba-ray completion bash)"; PS1=; bind "set enable-bracketed-paste off"',
        "zsh": 'eval "$(jamba-ray completion zsh)"; PS1=; unset zle_bracketed_paste',
        "fish": "jamba-ray completion fish | source",
    }
    environment = {
        "HOME": str(home),
        "PATH": f"{place / 'bin'}:/usr/bin:/bin",
        "TERM": "xterm",
        "LC_ALL": "C.UTF-8",
    }
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(place)
        os.execvpe(shell, [shell, *how[shell]], environment)
    shown = b""

    def until(mark):
        nonlocal shown
        end = time.monotonic() + 60
        while time.monotonic() < end:
            if select.select([terminal], [], [], 0.2)[0]:
                try:
                    shown += os.read(terminal, 65536)
                except OSError:
                    break
            if mark in shown:
                return
        raise AssertionError(f"no {mark!r} in {shown.decode(errors='replace')}")

    def send(text):
        os.write(terminal, text.encode())

    try:
        send(f"{load[shell]}; echo re''ady\n")
        until(b"ready")
        for n, line in enumerate(lines):
            out = place / f"line{n}"
            # Home, and the line is an argument; End, and where it goes.
            send(f"{line}\t\x01printf %s '\x05' > {out}; echo do''ne{n}\n")
            until(f"done{n}".encode())
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        os.close(terminal)
    return [(place / f"line{n}").read_text().rstrip() for n in range(len(lines))]


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_completes(shell, place):
    assert at_a_terminal(shell, place, list(TYPED)) == list(TYPED.values())


def test_the_words_come_without_anything_heavy(place):
    script = (
        "import sys; from jamba_ray.__main__ import main; code = main(sys.argv[1:]);"
        "assert not {'torch', 'ray', 'pandas', 'hydra'} & set(sys.modules); sys.exit(code)"
    )
    words = ["completion", "bash", "jamba-ray sweep model=", "=:"]
    done = subprocess.run(
        [sys.executable, "-c", script, *words], capture_output=True, text=True, cwd=place
    )
    families = "attention catboost extra_trees lightgbm logistic mlp random_forest tabm xgboost"
    assert (done.returncode, done.stdout.split()) == (0, families.split())


@pytest.mark.parametrize(
    ("line", "words", "current"),
    [
        ("jamba-ray ", ["jamba-ray"], ""),
        ("jamba-ray sw", ["jamba-ray"], "sw"),
        ("jamba-ray sweep 'data.path=my fl", ["jamba-ray", "sweep"], "data.path=my fl"),
        ('jamba-ray sweep "a b" r', ["jamba-ray", "sweep", "a b"], "r"),
        ("", [], ""),
    ],
)
def test_a_line_is_cut_as_a_shell_cuts_it(line, words, current):
    assert split(line) == (words, current)


def test_what_may_follow(tmp_path, monkeypatch):
    (tmp_path / "runs" / "night-1").mkdir(parents=True)
    (tmp_path / "conf" / "model").mkdir(parents=True)
    (tmp_path / "conf" / "model" / "big.yaml").write_text("name: mlp\n")
    monkeypatch.chdir(tmp_path)
    assert {"sweep", "chaos", "help"} <= set(candidates([], ""))
    assert candidates(["help"], "thr") == ["threshold"]
    assert candidates(["help", "train"], "") == ["data", "model", "training", "all"]
    assert candidates(["sweep"], "tra") == ["training.", "tracking.", "tracking="]
    assert "training.epochs=" in candidates(["sweep"], "training.")
    assert "search_space.model.n_heads=" in candidates(["sweep"], "search_space.model.")
    assert candidates(["train"], "model=b") == ["model=big"]
    assert candidates(["train"], "+sweep=") == []
    assert candidates(["report"], "run=") == ["run=night-1"]
    assert candidates(["submit"], "submit.dry_run=") == [
        "submit.dry_run=true",
        "submit.dry_run=false",
    ]
    assert candidates(["submit"], "--in") == ["--insecure-local"]
    assert candidates(["predict", "runs/x"], "-") == [
        "--help",
        "--cfg",
        "--config-dir=",
        "--package",
        "-o",
    ]
    assert candidates(["fly"], "") == []
    assert candidates(["sweep", "--cfg"], "") == ["job"]


def test_a_shell_that_is_unknown_is_told_the_nearest(capsys):
    assert main(["bahs"]) == ExitCode.CONFIG
    assert "Did you mean `bash`?" in capsys.readouterr().err
    assert main([]) == ExitCode.OK
    said = capsys.readouterr().out
    assert all(name in said for name in SCRIPTS)


def test_every_script_is_what_its_shell_can_read(capsys):
    for shell in SCRIPTS:
        assert main([shell]) == ExitCode.OK
        text = capsys.readouterr().out
        if shutil.which(shell):
            checked = subprocess.run([shell, "-n"], input=text, capture_output=True, text=True)
            assert (checked.returncode, checked.stderr) == (0, "")
