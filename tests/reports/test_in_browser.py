"""The report in Chromium: on a phone and a desk, light and dark, still and interactive."""

from functools import partial

import pytest

from jamba_ray.reports import page
from jamba_ray.reports.run import Run
from jamba_ray.runs.file_writes import write_bytes
from jamba_ray.study.records import TrialOutcome
from tests.reports.browser import CHROMIUM, Browser
from tests.study.studies import open_study
from tests.tracking import folders
from tests.tracking.folders import make_run

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="needs Debian's chromium: apt-get install chromium"
)
SCREENS = [(390, False), (390, True), (1200, False), (1200, True)]
LONG = f"long_{'n' * 60}_<b>&x"
EVIL = {
    "model": {
        "a<b>&c": {"type": "categorical", "choices": ["x<y>&z", "b" * 80, "c"]},
        LONG: {"type": "float", "low": 0.1, "high": 3},
    },
    "training": {"rate": {"type": "float", "low": 1e-4, "high": 1e-1, "log": True}},
}


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("browser")) as opened:
        yield opened


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Name of a kind of run -> its folder."""
    place = tmp_path_factory.mktemp("runs")
    made = {"one": make_run(place / "one", n_trials=1)[0]}
    made["30"] = make_run(place / "30", n_trials=30)[0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folders, "open_study", partial(open_study, tree=EVIL))
        cause = "<script>alert(1)</script> & " + "w" * 80
        made["evil"] = make_run(place / "evil <b>&", n_trials=12, name_of_cause=cause)[0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folders, "_train", fail)
        patch.setattr(folders, "judge", lambda folder: None)
        made["failed"] = make_run(place / "failed", n_trials=12)[0]
    return made


def fail(study, rows, spec, stop, cause):
    study.finish(TrialOutcome(spec.number, "failed", reason=f"{cause} at step {spec.number}"))


def written(folder, interactive):
    text = page.render(Run(folder.path), interactive=interactive)
    write_bytes(folder.report, text.encode())
    return folder.report.as_uri()


@pytest.mark.parametrize("interactive", [False, True])
@pytest.mark.parametrize("kind", ["one", "30", "evil", "failed"])
def test_it_is_shown_without_a_complaint_or_a_request(browser, runs, kind, interactive):
    uri = written(runs[kind], interactive)
    for width, dark in SCREENS:
        browser.open(uri, width, dark=dark)
        assert browser.complaints == []
        assert browser.asked == set()
        # Nothing is wider than the screen: tables and wide figures scroll on their own.
        assert browser.run("document.documentElement.scrollWidth") == width
        background = browser.run("getComputedStyle(document.body).backgroundColor")
        assert (background == "rgb(18, 22, 27)") is dark  # the style counts
        assert bool(browser.run("document.querySelectorAll('.filter').length")) is interactive


@pytest.mark.slow
def test_five_hundred_trials_are_shown(browser, tmp_path):
    folder, _ = make_run(tmp_path / "500", n_trials=500)
    browser.open(written(folder, interactive=True), 390)
    assert (browser.complaints, browser.asked) == ([], set())
    assert browser.run("document.querySelectorAll('.trials tbody tr').length") == 500
    assert folder.report.stat().st_size < 1_000_000


def test_no_words_lie_outside_of_their_figure(browser, runs):
    for kind in ("30", "evil"):
        browser.open(written(runs[kind], interactive=False), 1200)
        outside = browser.run(OUTSIDE)
        assert outside == []


OUTSIDE = """
[...document.querySelectorAll("svg.jr text")].filter((text) => {
  const [a, b] = [text.getBoundingClientRect(), text.ownerSVGElement.getBoundingClientRect()];
  return a.width && (a.left < b.left - 2 || a.right > b.right + 2 || a.top < b.top - 2
    || a.bottom > b.bottom + 2);
}).map((text) => text.textContent)
"""
VISIBLE = "[...document.querySelectorAll('.trials tbody tr:not([hidden])')]"
COLUMN = "[...document.querySelectorAll('.trials tbody tr')].map(row => row.cells[{}].textContent)"


def typed(browser, words):
    browser.run(
        "(() => { const field = document.querySelector('.filter input');"
        f"field.value = {words!r}; field.dispatchEvent(new Event('input')); }})()"
    )


def dragged(browser, start, end):
    browser.mouse("mousePressed", *start)
    browser.mouse("mouseMoved", (start[0] + end[0]) / 2, (start[1] + end[1]) / 2)
    browser.mouse("mouseMoved", *end)
    browser.mouse("mouseReleased", *end)


def place(browser, selector):
    """The box of an element on the screen, which it is scrolled to."""
    browser.run(f"document.querySelector({selector!r}).scrollIntoView({{block: 'center'}})")
    box = f"document.querySelector({selector!r}).getBoundingClientRect()"
    return [browser.run(f"{box}.{side}") for side in ("left", "top", "right", "bottom")]


def test_the_table_is_sorted_by_numbers_and_back(browser, runs):
    browser.open(written(runs["30"], interactive=True))
    head = "[...document.querySelectorAll('.trials th button')].find(b => b.textContent == 'rate')"
    browser.run(f"{head}.click()")
    rising = [float(cell) for cell in browser.run(COLUMN.format(4))]
    assert rising == sorted(rising)
    browser.run(f"{head}.click()")
    falling = [float(cell) for cell in browser.run(COLUMN.format(4))]
    assert falling == sorted(falling, reverse=True) == rising[::-1]
    assert browser.run(f"{head}.parentNode.getAttribute('aria-sort')") == "descending"


def test_filtering_hides_rows_and_marks_alike(browser, runs):
    run = Run(runs["30"].path)
    pruned = [t.number for t in run.records if t.state == "pruned"]
    browser.open(written(runs["30"], interactive=True))
    typed(browser, "pruned")
    numbers = browser.run(f"{VISIBLE}.map(row => +row.cells[0].textContent)")
    assert sorted(numbers) == pruned
    assert browser.run("document.querySelector('output').textContent") == (
        f"{len(pruned)} of 30 trials"
    )
    off = browser.run(
        "[...new Set([...document.querySelectorAll('.off title')]"
        ".map(title => +title.textContent.split(' ')[1]))]"
    )
    assert sorted(off) == [t.number for t in run.records if t.state != "pruned"]
    typed(browser, "")
    assert browser.run(f"{VISIBLE}.length") == 30
    assert browser.run("document.querySelectorAll('.off').length") == 0


def test_a_brush_keeps_the_trials_of_a_range(browser, runs):
    run = Run(runs["30"].path)
    browser.open(written(runs["30"], interactive=True))
    axes = "document.querySelectorAll('[data-axes] .hit')"
    last = browser.run(f"{axes}.length") - 1  # the objective's axis, the best on top
    browser.run(f"{axes}[{last}].id = 'objective'")
    left, top, right, bottom = place(browser, "#objective")
    middle = (left + right) / 2
    dragged(browser, (middle, top + 2), (middle, top + (bottom - top) * 0.3))
    kept = browser.run(f"{VISIBLE}.map(row => +row.cells[0].textContent)")
    values = {t.number: t.value for t in run.records if t.value is not None}
    assert 0 < len(kept) < len(values)
    others = set(values) - set(kept)
    assert min(values[n] for n in kept) > max(values[n] for n in others)
    dragged(browser, (middle, bottom - 4), (middle, bottom - 4))  # a click
    assert browser.run(f"{VISIBLE}.length") == 30


def test_a_drag_zooms_marks_and_axes_together_and_a_double_click_ends_it(browser, runs):
    browser.open(written(runs["30"], interactive=True))
    browser.run("document.querySelector('svg[data-box].jr[aria-label^=Optimisation]').id = 'h'")
    ticks = "[...document.querySelectorAll('#h .ticks-x text')].map(t => t.textContent)"
    dots = (
        "[...document.querySelectorAll('#h .dot')].map(d => [d.cx, d.cy].map(v => v.baseVal.value))"
    )
    before, places_before = browser.run(ticks), browser.run(dots)
    left, top, right, bottom = place(browser, "#h")
    wide, high = right - left, bottom - top
    dragged(
        browser,
        (left + 0.5 * wide, top + 0.1 * high),
        (left + 0.8 * wide, top + 0.6 * high),
    )
    zoomed, places = browser.run(ticks), browser.run(dots)
    assert zoomed != before
    assert all(float(before[0]) <= float(tick) <= float(before[-1]) for tick in zoomed)
    # A mark lies at its value on the new axis too: trial 20 above the tick 20, if that is shown.
    at = (
        "[...document.querySelectorAll('#h .ticks-x text')]"
        ".map(text => [+text.textContent, text.x.baseVal[0].value])"
    )
    (number, x), *_ = [pair for pair in browser.run(at) if pair[0] == int(pair[0])]
    named = (
        "[...document.querySelectorAll('#h .dot')]"
        f".find(dot => dot.textContent.startsWith('trial {int(number)} '))"
    )
    assert browser.run(f"{named}.cx.baseVal.value") == pytest.approx(x, abs=0.6)
    assert places != places_before
    assert browser.run("document.querySelectorAll('.reset:not([hidden])').length") == 1
    browser.run("document.querySelector('.reset:not([hidden])').click()")
    assert browser.run(ticks) == before
    for found, was in zip(browser.run(dots), places_before, strict=True):
        assert found == pytest.approx(was, abs=0.1)
    assert browser.complaints == []


def test_another_script_than_its_own_does_not_run(browser, runs, tmp_path):
    """The policy names the script by its content: what would be smuggled in is refused."""
    text = page.render(Run(runs["30"].path), interactive=True)
    bad = tmp_path / "bad.html"
    bad.write_text(text.replace("</body>", "<script>document.title = 'taken'</script></body>"))
    browser.open(bad.as_uri())
    assert browser.run("document.title") != "taken"
    assert browser.complaints
    assert browser.run("document.querySelectorAll('.filter').length") == 1


def test_a_page_that_complains_and_fetches_is_noticed(browser, tmp_path):
    """The sabotage twin of the first test."""
    bad = tmp_path / "bad.html"
    bad.write_text('<!doctype html><img src="http://127.0.0.1:45999/x"><script>nope()</script>')
    browser.open(bad.as_uri(), 500)
    assert browser.complaints
    assert browser.asked == {"http://127.0.0.1:45999/x"}
