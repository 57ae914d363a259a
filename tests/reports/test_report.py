"""The report: one file that says the answer first, at any time in a run's life."""

import re
import shlex
import shutil
from functools import partial
from html import unescape
from html.parser import HTMLParser
from xml.etree import ElementTree

import pandas as pd
import pytest
import yaml

import jamba_ray
from jamba_ray import report
from jamba_ray.cli.composition import compose_section
from jamba_ray.config.params import with_params
from jamba_ray.config.predict import EvaluateConfig
from jamba_ray.config.report import ReportConfig
from jamba_ray.config.run import SweepConfig, TrainConfig
from jamba_ray.errors import NoRunError
from jamba_ray.reports import answer, markdown, page
from jamba_ray.reports.compare import analyze_parameter_impact, get_best_runs
from jamba_ray.reports.files import write_comparison, write_report
from jamba_ray.reports.run import Run
from jamba_ray.reports.words import names_of
from jamba_ray.runs.file_writes import write_bytes, write_json
from jamba_ray.runs.run_folder import RunFolder
from jamba_ray.tracking.run_reader import tracked_runs
from tests.study.studies import open_study
from tests.tracking import folders
from tests.tracking.folders import make_run

VOID = {"meta", "link", "br"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("runs") / "night-1", n_trials=30)[0]


class Outline(HTMLParser):
    """Checks that tags close, and keeps what could reach outside."""

    def __init__(self):
        super().__init__()
        self.open, self.links, self.headings, self.captions = [], [], [], []

    def handle_starttag(self, tag, attributes):
        self.links += [v for k, v in attributes if k in {"src", "href"}]
        self.links += re.findall(r"url\(([^)]*)\)", str(attributes))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.links += [v for k, v in attributes if k in {"src", "href"}]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] == ["h2"]:
            self.headings.append(data)
        if self.open[-1:] == ["figcaption"]:
            self.captions.append(data)


def outline(html):
    found = Outline()
    found.feed(html)
    assert found.open == []
    return found


def test_the_whole_report_in_one_file(finished):
    html = write_report(Run(finished.path)).read_text()
    found = outline(html)
    assert found.links == ["data:,"]
    assert "<script" not in html
    assert len(html) < 400_000
    for words in ("What the winner does", "The search", "Failures", "Cost", "Configuration"):
        assert words in found.headings
    for words in (
        "Optimisation history",
        "Learning curves",
        "Parallel coordinates",
        "Slice: rate",
        "ROC",
        "Precision and recall",
        "Calibration",
        "Confusion",
        "Recall by group",
    ):
        assert words in found.captions
    best = Run(finished.path).best
    assert html.index(f"Trial {best.number} wins") < html.index("<h2>")
    assert "better than LightGBM with its defaults" in html
    assert "the loss became nan" in html
    assert "NaN" not in html
    assert ">nan<" not in html


def test_what_a_user_wrote_cannot_become_markup(tmp_path):
    evil = "<script>alert(1)</script> & <b>"
    folder, _ = make_run(tmp_path / "run", name_of_cause=evil)
    html = write_report(Run(folder.path)).read_text()
    outline(html)
    assert "<script" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; &lt;b&gt;" in html


def test_markdown_says_the_same(finished):
    text = markdown.render(Run(finished.path))
    assert text.splitlines()[2].startswith("**Trial ")
    assert "| test |" in text
    assert "jamba-ray train" in text


def test_a_run_of_version_0_1_is_reported_and_tracked_alike(finished, tmp_path):
    """There the baseline was called ``rival``."""
    old = RunFolder(tmp_path / finished.name)
    shutil.copytree(finished.path, old.path)
    frame = pd.read_parquet(old.scores)
    frame.rename(columns={"baseline": "rival"}).to_parquet(old.scores, index=False)
    summary = old.read_summary()
    write_json(old.summary, {**summary, "rival": summary.pop("baseline")})
    assert '"rival"' in old.summary.read_text()
    new = RunFolder(tmp_path / "as-now" / finished.name)  # of one name: it stands in the pages
    shutil.copytree(finished.path, new.path)
    pages = [page.render(Run(folder.path)).split("<h2>Reproduce")[0] for folder in (old, new)]
    assert pages[0] == pages[1]
    assert "LightGBM, test" in pages[0]
    assert Run(old.path).figures()["roc"] == Run(new.path).figures()["roc"]
    sent = [tracked_runs(folder.path, "birth") for folder in (old, new)]
    kinds = [{run.id: (run.name, run.job_type) for run in runs} for runs in sent]
    assert kinds[0] == kinds[1]
    assert (f"{finished.name}/baseline", "baseline") in kinds[0].values()


def test_while_it_runs_and_after_a_crash(tmp_path):
    folder, study = make_run(tmp_path / "run", ended=False)
    write_json(folder.summary, {"status": "running", "exit_code": None, "best": None})
    before = sorted(p.name for p in folder.path.iterdir())
    html = page.render(Run(folder.path))
    outline(html)
    assert sorted(p.name for p in folder.path.iterdir()) == before  # it leaves no trace
    assert "run · " in html
    assert "leads" in html
    assert "resume=true" in html or "still running" in html
    assert "Learning curves" in html
    study.close()
    assert "has no end" in page.render(Run(folder.path))
    assert "finished" not in answer.status_of(Run(folder.path))
    lost = {"status": "storage_lost", "ended": "The store was lost."}
    write_json(folder.summary, lost)
    assert "The store was lost. Continue it with <code>" in page.render(Run(folder.path))


def test_before_the_first_trial_has_ended(tmp_path):
    folder, study = make_run(tmp_path / "run", n_trials=1, ended=False)
    assert "No trial has completed yet" in page.render(Run(folder.path))
    study.close()


def test_a_folder_that_is_no_run_is_refused_in_a_sentence(tmp_path):
    with pytest.raises(NoRunError, match=r"must be a run folder .* is no run"):
        Run(tmp_path)
    with pytest.raises(NoRunError, match="does not exist"):
        Run(tmp_path / "nothing")


def test_a_notebook_gets_tables_and_figures(finished):
    run = jamba_ray.open_run(finished.path)
    assert len(run.trials) == 30
    assert set(run.trials["state"]) == {"complete", "pruned", "failed"}
    curve = run.curves[run.curves["trial"] == run.best.number]
    assert list(curve["value"]) == [value for _, value in run.best.curve]
    assert list(curve["train/loss"]) == [1.0 / step for step in curve["step"]]
    figure = run.figures()["curves"]
    assert figure._repr_html_().count("<svg") == 1
    assert "trials" in run._repr_html_()


def test_a_figure_saves_itself(finished, tmp_path):
    jamba_ray.open_run(finished.path).figures()["roc"].save(tmp_path / "roc.svg")
    import xml.etree.ElementTree as xml

    assert xml.parse(tmp_path / "roc.svg").getroot().tag.endswith("svg")


def test_runs_beside_each_other(finished, tmp_path):
    other, _ = make_run(tmp_path / "night-2", n_trials=10)
    runs = [Run(finished.path), Run(other.path)]
    html = write_comparison(runs, tmp_path / "comparison.html").read_text()
    outline(html)
    assert "night-1" in html
    assert "night-2" in html
    best = get_best_runs(runs, metric="average_precision", top_n=1)
    values = {run.name: run.best.value for run in runs}
    assert list(best["run"]) == [max(values, key=values.get)]
    impact = analyze_parameter_impact(runs)
    assert "training.rate" in set(impact["parameter"])
    assert (impact["spread"] >= 0).all()


def test_the_command(finished, capsys):
    store = finished.path.parent
    assert report.COMMAND.main(["run=night-1", f"store={store}"]) == 0
    assert f"The report is {finished.report}" in capsys.readouterr().out.replace("\n", "")
    assert report.COMMAND.main(["run=night-9", f"store={store}"]) == 66
    assert "does not exist. Did you mean `night-1`?" in capsys.readouterr().err
    assert report.COMMAND.main(["run=night-1", "top_n=3"]) == 64
    assert "one of `run`, `runs` and `top_n` must be given" in capsys.readouterr().err


def test_a_script_comes_only_where_it_is_asked_for(tmp_path):
    folder, _ = make_run(tmp_path / "night-1", n_trials=3)
    place = f"run={folder.path}"
    assert report.COMMAND.main([place, "report.interactive=true"]) == 0
    text = folder.report.read_text()
    assert text.count("<script>") == 1
    assert outline(text).links == ["data:,"]
    assert report.COMMAND.main([place]) == 0
    assert "<script" not in folder.report.read_text()
    write_bytes(
        folder.config,
        yaml.safe_dump({**folder.read_config(), "report": {"interactive": True}}).encode(),
    )
    assert "<script>" in write_report(Run(folder.path)).read_text()  # as the run was started
    assert report.COMMAND.main([place, "report.interactive=false"]) == 0
    assert "<script" not in folder.report.read_text()


def test_the_command_that_trains_the_best_trial_again_means_that_very_trial(tmp_path, monkeypatch):
    config = compose_section(SweepConfig, "config", ["+sweep=attention_heads", "seed=5"])
    tree = {
        "model": {"n_heads": {"type": "categorical", "choices": [2, 8]}},
        "training": {"learning_rate": {"type": "float", "low": 1e-4, "high": 1e-2, "log": True}},
    }
    monkeypatch.setattr(folders, "CONFIG", config.model_dump(mode="json"))
    monkeypatch.setattr(folders, "open_study", partial(open_study, tree=tree))
    monkeypatch.setattr(folders, "curve", lambda params, seed: [0.1 * i for i in range(1, 10)])
    run = Run(make_run(tmp_path / "night-1", n_trials=3)[0].path)
    words = shlex.split(answer.reproduce_command(run))
    assert words[:2] == ["jamba-ray", "train"]
    again = compose_section(TrainConfig, "config", words[2:])
    expected = with_params(config.trial(), run.best.params)
    assert again.trial() == expected.model_copy(update={"seed": 5 + run.best.number})
    assert again.data == config.data


def test_the_command_that_continues_a_run_composes_its_configuration_again(tmp_path, monkeypatch):
    store = tmp_path / "my runs=3 $x"
    words = ["+sweep=rivals", f"store={store}", "run=night-1", "verbose=true"]
    words += ["data=table", "data.path=/d/run=3/é", "data.drop=[proto=name]"]
    config = compose_section(SweepConfig, "config", words)
    monkeypatch.setattr(folders, "CONFIG", config.model_dump(mode="json"))
    folder, book = make_run(store / "night-1", n_trials=3, ended=False)
    book.close()
    write_json(folder.summary, {"status": "interrupted"})
    (line,) = re.findall(r"Continue it with `(.*)`", "\n".join(answer.sentences(Run(folder.path))))
    words = shlex.split(line)
    assert words[:2] == ["jamba-ray", "sweep"]
    again = compose_section(SweepConfig, "config", words[2:])
    assert again == config.model_copy(update={"resume": True, "verbose": False})


def test_the_commands_of_a_report_name_the_run_through_a_shell(tmp_path):
    place = tmp_path / "my runs=3 $x" / "a<b>&c"
    page_text = page.render(Run(make_run(place, n_trials=3)[0].path))
    lines = map(unescape, re.findall(r'<div class="step">.*?<pre>(.*?)</pre>', page_text))
    words = [shlex.split(line)[1:] for line in lines if line.startswith("jamba-ray")]
    told = {module: rest for module, *rest in words}
    evaluated = compose_section(EvaluateConfig, "evaluate", told["evaluate"])
    reported = compose_section(ReportConfig, "report", told["report"])
    assert evaluated.checkpoint == reported.run == told["predict"][0] == str(place)


def test_parameters_that_end_alike_are_told_apart():
    paths = ["model.learning_rate", "training.learning_rate", "model.n_heads"]
    assert list(names_of(paths).values()) == [*paths[:2], "n_heads"]


def test_a_contour_is_drawn_only_of_what_all_trials_have(tmp_path, monkeypatch):
    tree = {
        "model": {
            "name": {"type": "categorical", "choices": ["attention", "lightgbm"]},
            "learning_rate": {
                "type": "float",
                "low": 0.1,
                "high": 0.3,
                "when": {"model.name": "lightgbm"},
            },
            "num_leaves": {"type": "int", "low": 7, "high": 63, "when": {"model.name": "lightgbm"}},
        },
        "training": {"learning_rate": {"type": "float", "low": 1e-4, "high": 1e-2, "log": True}},
    }
    config = compose_section(SweepConfig, "config", ["+sweep=rivals"]).model_dump(mode="json")
    monkeypatch.setattr(folders, "CONFIG", config)
    monkeypatch.setattr(folders, "open_study", partial(open_study, tree=tree))
    monkeypatch.setattr(folders, "curve", lambda params, seed: [0.1 * i for i in range(1, 10)])
    run = Run(make_run(tmp_path / "night-1", n_trials=30)[0].path)
    shown = run.figures()
    assert {"slice model.learning_rate", "slice training.learning_rate"} <= set(shown)
    assert shown["slice model.learning_rate"].title == "Slice: model.learning_rate"
    assert set(shown["contour"].title.split(" and ")) == {"model", "training.learning_rate"}


def test_a_comparison_of_runs_of_any_name_is_well_formed(tmp_path):
    runs = [Run(make_run(tmp_path / name, n_trials=3)[0].path) for name in ("a<b>&c", 'x"y')]
    text = write_comparison(runs, tmp_path / "c.html").read_text()
    for svg in re.findall(r"<svg.*?</svg>", text, re.DOTALL):
        ElementTree.fromstring(svg)
    assert "<b>&c" not in text
