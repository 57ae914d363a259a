"""``--help`` fits two screens and is there at once; every setting is found behind its topic."""

import shlex
import subprocess
import sys

import pytest

from jamba_ray.cli.commands import COMMANDS
from jamba_ray.cli.entry import ClusterCommand
from jamba_ray.cli.help import TOPICS, settings, topics
from tests.commands import run_here

HEAVY = ("torch", "ray", "pandas", "optuna", "lightgbm", "pyarrow")


def help_of(name, tmp_path, *topic):
    done = run_here(name, "--help", *topic, cwd=tmp_path, columns=80)
    assert done.returncode == 0, done.stderr
    return [line.rstrip() for line in done.stdout.splitlines()]


def names_in(lines):
    return {line.split()[0] for line in lines if line.startswith("  ") and line[2:3] != " "}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_fits_two_screens(name, tmp_path):
    lines = help_of(name, tmp_path)
    assert len(lines) <= 48
    words = {*(COMMANDS[name].most or ()), "--config-dir=DIR"}
    assert words <= names_in(lines)
    assert len(COMMANDS[name].most) in (0, 10)


@pytest.mark.parametrize("name", COMMANDS)
def test_an_example_stays_on_its_line(name, tmp_path):
    """So that it can be copied."""
    for line in COMMANDS[name].examples.splitlines():
        assert len(line) <= 80
        assert line in help_of(name, tmp_path)


@pytest.mark.parametrize("name", COMMANDS)
def test_each_example_composes(name, tmp_path, monkeypatch):
    from jamba_ray.cli.composition import compose_section
    from jamba_ray.cli.flags import split_flags
    from jamba_ray.cli.positional import as_settings
    from jamba_ray.cli.split_settings import split_settings
    from jamba_ray.config.run import SweepConfig

    monkeypatch.chdir(tmp_path)
    command = COMMANDS[name]
    for line in command.examples.replace("\\\n", " ").splitlines():
        words = shlex.split(line)
        words = words[words.index("jamba-ray") + 1 :]
        assert words.pop(0) == name
        words = words[: words.index(">")] if ">" in words else words
        _, words = split_flags(words, others=command.short)
        if isinstance(command, ClusterCommand):
            _, words = split_settings(command.section, name, words)
            compose_section(SweepConfig, "config", words)
            continue
        words = as_settings(words, command.positional, command.short)
        config = compose_section(command.section, command.primary, words)
        if command.check is not None:
            command.check(config)


def test_all_names_every_setting_and_topics_share_them(tmp_path):
    everything = names_in(help_of("sweep", tmp_path, "all"))
    known = {path for path, _, _ in settings(COMMANDS["sweep"].section) if path}
    assert everything == known
    for topic in TOPICS:
        found = names_in(help_of("sweep", tmp_path, topic))
        assert found < everything
        assert any(path.startswith(TOPICS[topic][0]) for path in found)
    assert "data.random_state" in names_in(help_of("sweep", tmp_path, "data"))
    assert names_in(help_of("sweep", tmp_path, "pruner")) == {
        "pruner.name",
        "pruner.min_rows",
        "pruner.reduction_factor",
        "pruner.patience",
    }
    assert "search" not in topics(COMMANDS["train"])


def test_a_mistyped_topic_is_told_the_nearest(tmp_path):
    done = run_here("sweep", "--help", "prunner", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (
        64,
        "error: `--help prunner` must name a topic or a setting. Did you mean `pruner`?\n",
    )


MISTAKES = [
    ("sweep", "n_trals=3"),
    ("sweep", "+sweep=rivals", "search_space.model.n_hads={type: int, low: 1, high: 2}"),
    ("sweep", "n_trials=2"),
    ("train", "model=mpl"),
    ("predict", "runs/x"),
    ("threshold", "runs/x", "max_fpr=2"),
    ("sweep", "--multirun", "model=mlp,attention"),
]


@pytest.mark.parametrize("how", ["-m jamba_ray.{0}", "-m jamba_ray {0}"])
def test_help_and_mistakes_import_nothing_heavy(how, tmp_path):
    """In one process for all: what is imported stays imported."""
    names = [*COMMANDS, "chaos"]
    calls = [*([name, "--help"] for name in names), *map(list, MISTAKES)]
    script = (
        "import runpy, sys\n"
        f"for name, *words in {calls!r}:\n"
        f"    module, *first = {how!r}.format(name).split()[1:]\n"
        "    sys.argv = [module, *first, *words]\n"
        "    try:\n"
        "        runpy.run_module(module, run_name='__main__', alter_sys=True)\n"
        "    except SystemExit as left:\n"
        "        assert left.code == (0 if words == ['--help'] else 64), (name, words, left.code)\n"
        f"    found = [m for m in {HEAVY!r} if m in sys.modules]\n"
        "    assert not found, (name, words, found)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
