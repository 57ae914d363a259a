"""The tutorial "From a CSV to an endpoint in ten minutes" runs, command by command."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from tests.docs.pages import ROOT, blocks
from tests.serving.running import serving

PAGE = ROOT / "docs" / "tutorials" / "endpoint.md"
DOCKERFILE = ROOT / "cluster" / "serve.Dockerfile"


def said(words, folder: Path) -> str:
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_tutorial_runs(tmp_path):
    lines = []
    for block in blocks(PAGE):
        if block.language == "python":
            said([sys.executable, "-c", block.text], tmp_path)
        elif block.language == "bash":
            lines += [line for line in block.commands if not line.startswith("pip ")]
    at = next(i for i, line in enumerate(lines) if line.startswith("jamba-ray serve "))
    for line in lines[:at]:
        said([sys.executable, "-m", "jamba_ray", *shlex.split(line)[1:]], tmp_path)
    words = shlex.split(lines[at])[2:]
    words = [word for word in words if not word.startswith("token_file=")]
    with serving(tmp_path, words, token_file=str(tmp_path / "token.txt")) as server:
        for line in lines[at + 1 :]:
            here = line.replace("http://127.0.0.1:8080", server.url)
            if line.startswith("curl"):
                assert '"score": [' in said(["bash", "-c", here], tmp_path)
            else:
                words = shlex.split(here)[1:]
                said([sys.executable, "-m", "jamba_ray", *words], tmp_path)
        predict = [sys.executable, "-m", "jamba_ray", "predict", "runs/flows-1", "new.csv"]
        said([*predict, "-o", "local.csv"], tmp_path)
    served, local = (pd.read_csv(tmp_path / f"{name}.csv") for name in ("scored", "local"))
    assert list(served.columns) == list(local.columns)
    assert (served["score"] - local["score"]).abs().max() <= 1e-6
    assert (served["alert"] == local["alert"]).all()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_pip_lines_of_the_image_serve_without_torch(exports, tmp_path):
    """In a fresh environment: what the image has, and nothing else."""
    text = DOCKERFILE.read_text()
    wanted = re.findall(r'"([a-z-]+(?:[<>]=|==)[^"]*)"', text)
    assert len(wanted) >= 10
    venv = tmp_path / "venv"
    said([sys.executable, "-m", "venv", str(venv)], tmp_path)
    pip = [str(venv / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check"]
    said([*pip, "--no-deps", str(ROOT)], tmp_path)
    said([*pip, *wanted], tmp_path)
    names = said([str(venv / "bin" / "pip"), "list", "--format=freeze"], tmp_path)
    assert not re.search(r"^(torch|ray|pandas|scipy|lightgbm|optuna)==", names, re.MULTILINE)
    program = [str(venv / "bin" / "jamba-ray"), "serve"]
    with serving(tmp_path / "run", [str(exports("mlp"))], program=program) as server:
        row = dict.fromkeys(("bytes", "rate", "service", "packets sent", "score", "cost", "zone"))
        assert server.predict({**row, "rate": 1.0, "is internal": True})[0] == 200
