"""`jamba-ray registry` as its users run it, each command a process of its own."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.checkpoints.s3_server import s3_server
from tests.inference.conftest import make_frame

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]
PROGRAM = Path(sys.executable).with_name("jamba-ray")


class Shell:
    """Runs commands in one folder."""

    def __init__(self, folder, **env):
        self.folder = folder
        self.env = {**os.environ, "COLUMNS": "200", "XDG_CACHE_HOME": str(folder / "cache"), **env}

    def start(self, *words):
        return subprocess.Popen(
            [PROGRAM, *words],
            cwd=self.folder,
            env=self.env,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def __call__(self, *words, code=0):
        process = self.start(*words)
        out, _ = process.communicate(timeout=300)
        assert process.returncode == code, out
        return out


@pytest.fixture
def shell(tmp_path):
    make_frame(900, seed=1).to_csv(tmp_path / "flows.csv", index=False)
    make_frame(400, seed=2).to_csv(tmp_path / "march.csv", index=False)
    make_frame(60, seed=3).drop(columns="is_threat").to_csv(tmp_path / "new.csv", index=False)
    shell = Shell(tmp_path)
    for run, trees in (("a", 40), ("b", 30), ("c", 1)):
        words = ("model=lightgbm", f"model.n_estimators={trees}", "data=table")
        shell("train", *words, "data.path=flows.csv", f"run={run}")
    shell("threshold", "runs/a", "max_fpr=0.2")
    return shell


def test_from_a_run_to_a_champion_and_back(shell):
    """Registers, promotes under roles, predicts, and is refused what was changed."""
    keys_of(shell.folder)
    first = shell("registry", "register", "run=runs/a", "name=threats", "licence=MIT")
    assert "onnx: proven on" in first
    (shell.folder / "models/registry").joinpath("roles.json").write_text(
        (shell.folder / "roles.json").read_text()
    )
    assert "no entry is" in shell("predict", "threats@1", "new.csv", "-o", "x.csv", code=74)
    shell("registry", "roles", "name=threats", "key=ann.pem")
    gate = ("data.path=march.csv", "key=ann.pem")
    shell("registry", "promote", "name=threats", *gate)
    shell("predict", "threats@champion", "new.csv", "-o", "one.csv")
    shell("predict", "runs/a", "new.csv", "-o", "own.csv")
    one = (shell.folder / "one.csv").read_bytes()
    assert one == (shell.folder / "own.csv").read_bytes()

    shell("registry", "register", "run=runs/b", "name=threats", "key=bob.pem")
    shell("registry", "register", "run=runs/c", "name=threats", "key=bob.pem")
    worse = shell("registry", "promote", "name=threats", "version=3", *gate, code=5)
    assert "champion: average_precision differs from version 1 by -" in worse
    assert "bob.pem" in shell("registry", "promote", "name=threats", "key=bob.pem", code=64)
    forced = ("version=3", "force=tried", "gate.size_mb=0.00001")
    out = shell("registry", "promote", "name=threats", *forced, *gate)
    assert "Forced, which the log keeps: tried" in out
    shell("predict", "threats@champion", "new.csv", "-o", "three.csv")
    assert (shell.folder / "three.csv").read_bytes() != one
    undone = shell("registry", "rollback", "name=threats", "why=noise", "key=ann.pem")
    assert "is version 1 again (it was 3)" in undone
    shell("predict", "threats@champion", "new.csv", "-o", "back.csv")
    assert (shell.folder / "back.csv").read_bytes() == one

    shell("registry", "sign", "name=threats", "version=1", "key=release.pem")
    assert "1 signatures of models hold" in shell("registry", "verify")
    shell("evaluate", "threats@champion", "march.csv", "run=judged")
    shell("explain", "threats@champion", "new.csv")
    shell("export", "threats@champion", "output=again.onnx")
    then = shell("registry", "history", "name=threats", "at=2020-01-01")
    assert "no alias pointed at anything" in then
    assert "rollback version 1 as champion" in shell("registry", "history", "name=threats")

    registry = shell.folder / "models/registry"
    whole = shell.folder / "whole"
    shutil.copytree(registry, whole)
    for harm, words in HARM.items():
        harm(registry / "threats")
        told = shell("predict", "threats@champion", "new.csv", "-o", "y.csv", code=74)
        assert words in told, told
        assert told.count("error:") == 1
        shutil.rmtree(registry)
        shutil.copytree(whole, registry)
    shell("predict", "threats@champion", "new.csv", "-o", "z.csv")


def flip(folder):
    path = folder / "1/model/model.txt"
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(raw)


def lines(change):
    def harm(folder):
        path = folder / "audit.jsonl"
        found = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join(change(found)))

    return harm


HARM = {
    flip: "`model.txt` does not match its SHA-256",
    lines(lambda found: found[:-1]): "one was removed",
    lines(lambda found: found[:2] + found[3:]): "one was removed",
    lines(lambda found: [found[0], found[2], found[1], *found[3:]]): "must follow the one before",
    lambda folder: (folder.parent / "roles.json").unlink(): "roles.json must be there",
    lambda folder: shutil.rmtree(folder / "1/model"): "is missing",
}


def keys_of(folder):
    people = {}
    for name, may in {
        "ann": ["register", "promote", "rollback", "roles"],
        "bob": ["register"],
        "release": ["sign"],
    }.items():
        make = ["openssl", "genpkey", "-algorithm", "ed25519", "-out", f"{name}.pem"]
        if name == "release":
            curve = ["-name", "prime256v1", "-genkey", "-noout"]
            make = ["openssl", "ecparam", *curve, "-out", f"{name}.pem"]
        subprocess.run(make, cwd=folder, check=True, capture_output=True)
        public = ["openssl", "pkey", "-in", f"{name}.pem", "-pubout"]
        pem = subprocess.run(public, cwd=folder, check=True, capture_output=True, text=True).stdout
        people[name] = {"public_key": pem, "may": may}
    (folder / "roles.json").write_text(json.dumps({"format": 1, "people": people}))


@pytest.mark.parametrize("kind", ["folder", "bucket"])
def test_promotions_at_once_and_killed_ones(shell, kind):
    """Two processes promote at once: one wins, the other is told. Then processes are killed by
    SIGKILL at moments of chance: the alias is the old one or the new one."""
    with s3_server() as (endpoint, _):
        where = "registry=models/registry"
        if kind == "bucket":
            where = "registry=s3://bucket/models"
            shell.env |= {
                "AWS_ENDPOINT_URL": endpoint,
                "AWS_ACCESS_KEY_ID": "x",
                "AWS_SECRET_ACCESS_KEY": "x",
            }
        for run in ("a", "b"):
            shell("registry", "register", f"run=runs/{run}", "name=threats", "formats=[]", where)
        promote = ("registry", "promote", "name=threats", "gate.champion=none", where)
        both = [shell.start(*promote, f"version={n}") for n in (1, 2)]
        told = {one.communicate(timeout=300)[0]: one.returncode for one in both}
        codes = sorted(told.values())
        assert codes in ([0, 5], [0, 0]), told  # one may have begun when the other had ended
        if codes == [0, 5]:
            loser = next(out for out, code in told.items() if code == 5)
            assert "meanwhile (entry 3 of the log). Promote again" in loser
        begun, now = time.monotonic(), champion(shell, where)
        shell(*promote, f"version={3 - now}")
        took = (time.monotonic() - begun) / 2  # of two commands that take as long
        rng = random.Random(0)
        for _ in range(6):
            now = champion(shell, where)
            process = shell.start(*promote, f"version={3 - now}")
            time.sleep(rng.uniform(0.7, 1.1) * took)
            process.send_signal(signal.SIGKILL)
            process.communicate(timeout=60)
            then = champion(shell, where)
            assert then in (1, 2)
            shell("registry", "verify", where)
        if champion(shell, where) != 2:
            shell(*promote, "version=2")
        shell("predict", "threats@champion", "new.csv", "-o", "two.csv", where)
        shell("predict", "runs/b", "new.csv", "-o", "own.csv")
        folder = shell.folder
        assert (folder / "two.csv").read_bytes() == (folder / "own.csv").read_bytes()


def champion(shell, where):
    for line in shell("registry", "list", where).splitlines():
        words = line.split()
        if words[:1] == ["threats"] and words[2:3] == ["champion"]:
            return int(words[1])
    raise AssertionError("there is no champion")
