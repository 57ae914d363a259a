"""Real commands in real processes, in a folder of their own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands import run_here

ROOT = Path(__file__).resolve().parents[2]
SMALL = [
    "data.n_samples=1500",
    "data.n_features=6",
    "model.hidden_dim=8",
    "training.epochs=1",
    "training.batch_size=64",
]
"""A sweep on so few rows takes seconds and still has everything that a large one has."""


@pytest.fixture(scope="session")
def workplace(tmp_path_factory):
    return tmp_path_factory.mktemp("user")


@pytest.fixture(scope="session")
def command(workplace):
    def run(name, *args, expect=0, timeout=240):
        done = subprocess.run(
            [sys.executable, "-m", f"jamba_ray.{name}", *args],
            cwd=workplace,
            capture_output=True,
            text=True,
            timeout=timeout,
            env={**os.environ, "COLUMNS": "120"},
        )
        assert done.returncode == expect, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stdout + done.stderr
        return done

    return run


@pytest.fixture(scope="session")
def here(workplace):
    """As ``command``, without a process of its own: for what ends before anything is started."""

    def run(name, *args, expect=0):
        done = run_here(name, *args, cwd=workplace)
        assert done.returncode == expect, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stdout + done.stderr
        return done

    return run


@pytest.fixture(scope="session")
def swept(command, workplace):
    done = command("sweep", "+sweep=attention_heads", *SMALL, "n_trials=4", "run=swept")
    return done, workplace / "runs" / "swept"


def summary_of(folder):
    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    return json.loads((folder / "summary.json").read_text(), parse_constant=refuse)


@pytest.fixture
def wheel_bin(tmp_path):
    """Makes an environment that has the wheel; the packages it needs are those of this one."""
    pip = [sys.executable, "-m", "pip", "--quiet"]
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True, timeout=120)
    (wheel,) = tmp_path.glob("jamba_ray-*.whl")
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    python = str(venv / "bin" / "python")
    # Before this environment's packages are there: pip would find the package installed.
    into = ["install", "--no-deps", "--no-index", str(wheel)]
    subprocess.run([*pip, "--python", python, *into], check=True, timeout=120)
    (site,) = (venv / "lib").glob("python*/site-packages")
    others = [path for path in sys.path if Path(path).name in {"site-packages", "dist-packages"}]
    (site / "others.pth").write_text("\n".join(others) + "\n")
    return venv / "bin"
