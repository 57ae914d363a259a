"""Dashboards as code: written without a network, published to a server that takes views."""

import json

import pytest

from jamba_ray import dashboard
from tests.tracking.folders import make_run
from tests.tracking.stub_server import Stub

pytest.importorskip("wandb_workspaces", reason="pip install 'jamba-ray[wandb]'")


@pytest.fixture
def folder(tmp_path):
    return make_run(tmp_path / "night-1", n_trials=3)[0]


def panels(spec):
    return [
        panel["viewType"]
        for section in spec["section"]["panelBankConfig"]["sections"]
        for panel in section["panels"]
    ]


def test_offline_it_writes_both_and_says_how_to_publish(folder, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    assert dashboard.COMMAND.main([f"run={folder.path}"]) == 0
    assert "publish=true" in capsys.readouterr().out
    written = json.loads((folder.path / "dashboard.json").read_text())
    spec = written["workspace"]["spec"]
    assert set(panels(spec)) == {
        "Run History Line Plot",
        "Parallel Coordinates Plot",
        "Parameter Importance",
        "Bar Chart",
        "Scatter Plot",
    }
    (runs,) = spec["section"]["runSets"]
    assert [(f["key"]["name"], f["value"]) for f in runs["filters"]["filters"]] == [
        ("group", "night-1"),
        ("jobType", "trial"),
    ]
    assert runs["sort"]["keys"] == [
        {"key": {"section": "summary", "name": "objective"}, "ascending": False}
    ]
    assert "model.value.width" in json.dumps(spec)
    assert "leads" in json.dumps(written["report"]) or "wins" in json.dumps(written["report"])


def test_publishing_saves_a_workspace_and_a_report(folder, capsys, monkeypatch, tmp_path):
    stub = Stub()
    for name, value in stub.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    try:
        code = dashboard.COMMAND.main([f"run={folder.path}", "publish=true", "entity=tester"])
        said = capsys.readouterr()
        assert code == 0, (said.err, [(u[0], u[1]) for u in stub.unknown])
    finally:
        stub.close()
    kinds = [view.get("type") for view in stub.views]
    assert kinds == ["project-view", "runs"]
    assert said.out.replace("\n", "").count(f"{stub.url}/tester/jamba_ray") >= 2


def test_a_version_that_cannot_write_them_still_publishes(folder, capsys, monkeypatch, tmp_path):
    """``_to_model`` is private to wandb-workspaces."""
    for module in ("workspaces:Workspace", "reports.v2:Report"):
        monkeypatch.delattr(f"wandb_workspaces.{module.replace(':', '.')}._to_model")
    monkeypatch.setattr(dashboard, "publish", lambda board: ["https://w/1"])
    assert dashboard.COMMAND.main([f"run={folder.path}"]) == 69
    assert "`publish=true` works with this one" in capsys.readouterr().err
    assert dashboard.COMMAND.main([f"run={folder.path}", "publish=true"]) == 0
    assert capsys.readouterr().out.split() == ["https://w/1"]
    assert not (folder.path / "dashboard.json").exists()
