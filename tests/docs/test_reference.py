"""The reference says what the code does, and each setting says what it means."""

import inspect

import pytest

from jamba_ray.errors import ExitCode
from tests.docs import generate
from tests.docs.run_contract import FILES

PAGES = generate.pages()


@pytest.mark.parametrize("name", sorted(PAGES))
def test_the_committed_page_is_what_is_generated(name):
    committed = (generate.REFERENCE / name).read_text(encoding="utf-8")
    assert committed == PAGES[name], "run `python -m tests.docs.generate`"


def test_there_is_no_other_page():
    assert {path.name for path in generate.REFERENCE.iterdir()} == set(PAGES)


def test_each_setting_has_a_meaning():
    rows = [row for row in PAGES["settings.md"].splitlines() if row.startswith("| `")]
    assert len(rows) > 120
    assert [row for row in rows if not row.split(" | ")[4].strip()] == []


def test_every_exit_code_is_there():
    assert set(generate.exit_codes()) == {int(code) for code in ExitCode}


def test_a_new_default_would_be_noticed(monkeypatch):
    """Sabotage: the page depends on the models."""
    field = generate.SweepConfig.model_fields["n_trials"]
    monkeypatch.setattr(field, "default", 17)
    assert generate.pages()["settings.md"] != PAGES["settings.md"]


def test_types_and_ranges_in_words():
    fields = generate.SweepConfig.model_fields
    assert generate.describe(fields["n_trials"]) == ("integer", ">= 1, <= 100,000")
    assert generate.describe(fields["hang_timeout_s"]) == ("number or null", "> 0")
    assert generate.describe(fields["trials_per_runner"]) == (
        "integer or name",
        "`auto`; >= 1, <= 1,024",
    )


def test_each_file_of_the_contract_has_a_name():
    """An attribute of ``RunFolder`` that was renamed would be taken for a file's own name."""
    properties = {
        name
        for name, _ in inspect.getmembers(generate.RunFolder, lambda x: isinstance(x, property))
    }
    inner = {
        "study.lease",
        "wandb",
        "tensorboard",
        "rows",
        "report.md",
        "tracking.json",
        "tracking-mlflow.json",
        "dashboard.json",
    }
    assert set(FILES) <= properties | inner
