"""Links lead somewhere, and the files, modules and settings that the documentation names exist."""

import importlib.util
import re

import pytest

from jamba_ray.config.section import Section
from tests.docs import generate
from tests.docs.pages import PAGES, ROOT, anchors, links, name_of, spans

pages = pytest.mark.parametrize("page", PAGES, ids=name_of)


@pages
def test_links_lead_somewhere(page):
    for link in links(page):
        if link.startswith(("https://", "http://")):
            continue
        target, _, anchor = link.partition("#")
        there = (page.parent / target).resolve() if target else page
        assert there.exists(), link
        if anchor:
            assert anchor in anchors(there), f"{link}: has {sorted(anchors(there))}"


ROOMS = {path.name for path in (ROOT / "jamba_ray").iterdir() if path.is_dir()}
TOP = {"jamba_ray", "tests", "docs", "conf", "sweeps", "cluster", ".github", ".ci"}
_PATH = re.compile(r"\.?[\w-]+(/[\w.-]+)*/?")


def named_file(span):
    """The path that a span names, None if it names none."""
    if not _PATH.fullmatch(span) or "/" not in span:
        return None
    first = span.split("/")[0]
    if first in TOP:
        return ROOT / span
    # As in `study/rungs.py`, in a text about the package.
    return ROOT / "jamba_ray" / span if first in ROOMS and span.endswith((".py", "/")) else None


@pages
def test_named_files_exist(page):
    made_by_a_reader = {"sweeps/mine.yaml", "cluster/"}
    for span in set(spans(page)) - made_by_a_reader:
        path = named_file(span)
        assert path is None or path.exists(), span


@pages
def test_named_modules_exist(page):
    for span in spans(page):
        for name in re.findall(r"(?<![\w./])((?:jamba_ray|tests)(?:\.\w+)+)", span):
            if re.search(r"\.(py|md|yaml)$", name):
                continue
            module, _, attribute = name.rpartition(".")
            try:
                found = importlib.util.find_spec(name) is not None
            except ModuleNotFoundError:
                found = False
            if not found:
                assert hasattr(importlib.import_module(module), attribute), span


def settings():
    """The names in the reference."""
    page = generate.pages()["settings.md"]
    return set(re.findall(r"^\| `([\w.]+)` \|", page, flags=re.M))


SETTINGS = settings()
SECTIONS = {name.split(".")[0] for name in SETTINGS if "." in name}


@pages
def test_named_settings_exist(page):
    unknown = set()
    for span in spans(page):
        for word in span.split():
            name = word.partition("=")[0]
            if not re.fullmatch(r"[a-z_]+(\.[a-z_]+)+", name) or name.split(".")[0] not in SECTIONS:
                continue
            if (
                name.endswith((".py", ".yaml", ".json", ".html", ".md"))
                or name == "model.threshold"
            ):
                continue
            if name not in SETTINGS and not any(s.startswith(f"{name}.") for s in SETTINGS):
                unknown.add(name)
    assert not unknown


def test_a_wrong_name_would_be_found():
    assert not named_file("study/no_such_file.py").exists()
    assert "training.no_such" not in SETTINGS
    assert issubclass(generate.SweepConfig, Section)


def test_each_page_of_docs_is_in_its_index():
    index = ROOT / "docs" / "README.md"
    linked = {(index.parent / link.partition("#")[0]).resolve() for link in links(index)}
    there = {page for page in PAGES if page.is_relative_to(index.parent)} - {index}
    assert there - linked == set()


def test_the_readme_is_one_that_people_finish():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 200


def test_the_glossary_has_at_most_fifteen_words():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    table = text.split("## Words")[1].split("##")[0]
    words = re.findall(r"^\| ([\w ,]+) \|", table, flags=re.M)[1:]
    assert 10 <= len(words) <= 15
    assert not [word for word in words if "," in word]
