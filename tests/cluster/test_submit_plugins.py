"""`submit` with a plug-in: its source goes along, or one sentence says that it does not."""

from __future__ import annotations

import pytest

from jamba_ray.errors import ExitCode
from tests.commands import run_here
from tests.plugged import forgotten

MODULE = """
from jamba_ray import plugins

import costs


@plugins.metric("cost", direction="minimize")
def cost(labels, scores):
    return costs.of(labels, scores)
"""
WORDS = ["+sweep=learning_rate", "objective=cost", "plugins=[threats]", "submit.dry_run=true"]


@pytest.fixture
def checkout(tmp_path):
    """A working folder with a plug-in of two files."""
    (tmp_path / "threats.py").write_text(MODULE)
    (tmp_path / "costs.py").write_text("def of(labels, scores):\n    return 0.5\n")
    with forgotten("threats", "costs"):
        yield tmp_path


def test_a_plug_in_of_the_folder_goes_along(checkout):
    done = run_here("submit", *WORDS, cwd=checkout)
    assert done.returncode == ExitCode.OK, done.stdout + done.stderr
    assert "threats.py" in done.stdout
    assert "costs.py" in done.stdout
    assert "'plugins=[threats]'" in done.stdout


@pytest.mark.parametrize(
    ("by", "ignored", "left"),
    [(".rayignore", "costs.py", "costs.py"), (".gitignore", "*.py", "costs.py, threats.py")],
)
def test_a_module_that_is_left_out_is_one_sentence(checkout, by, ignored, left):
    (checkout / by).write_text(f"{ignored}\n")
    done = run_here("submit", *WORDS, cwd=checkout)
    assert done.returncode == ExitCode.CONFIG, done.stdout + done.stderr
    said = " ".join((done.stdout + done.stderr).split())
    assert f"`submit` must upload the plug-in `threats`, but leaves out {left}. Take it" in said
    assert "Traceback" not in said
