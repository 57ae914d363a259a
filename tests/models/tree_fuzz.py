"""One process of the fuzzer: ``python -m tests.models.tree_fuzz <model text> <last text> <seed>``.

Each text is written down before it is tried, so that the one that ends the process is known. With
``unchecked`` as fourth argument the native library gets everything: the sabotage twin.
"""

import re
import resource
import signal
import sys
from pathlib import Path

import lightgbm
import numpy as np
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from jamba_ray.errors import CheckpointError
from jamba_ray.models import tree_text

N_FEATURES = 4
EXAMPLES = 500
_SECONDS = 5
_MORE_BYTES = 2 * 2**30
ODD = ("-2147483648", "-2", "-1", "0", "1", "2", "7", "31", "2147483647", "4294967295", "1e308")
ODD += ("99999999999", "nan", "-inf", "0.5", "", "x", "1e999", "0x7", "+1", "1 1", "-0")


def parts(text):
    """(text before the trees, the trees, text after them)."""
    start, end = text.index("Tree=0"), text.index("end of trees")
    return text[:start], re.split(r"(?=Tree=\d)", text[start:end])[1:], text[end:]


def joined(head, trees, tail, sizes=True):
    if sizes:  # otherwise nearly every change would fail there, and nothing behind it be tried
        written = " ".join(str(len(tree)) for tree in trees)
        head = re.sub(r"tree_sizes=.*", f"tree_sizes={written}", head)
    return head + "".join(trees) + tail


def changed_line(draw, lines):
    at = draw(st.integers(0, len(lines) - 1))
    key, equals, value = lines[at].partition("=")
    how = draw(st.sampled_from(("token", "token", "token", "drop", "add", "line", "twice", "key")))
    words = value.split(" ")
    word = draw(st.integers(0, len(words) - 1))
    if how == "token":
        words[word] = draw(st.sampled_from([*ODD, *words]))
    elif how == "drop":
        del words[word]
    elif how == "add":
        words.insert(word, draw(st.sampled_from([*ODD, *words])))
    elif how == "key":
        key = draw(st.sampled_from(("num_leaves", "is_linear", "leaf_const", "Tree", "", "a")))
    line = key + equals + " ".join(words)
    changed = {"line": [], "twice": [lines[at], lines[at]]}.get(how, [line])
    return [*lines[:at], *changed, *lines[at + 1 :]]


@st.composite
def mutants(draw, text):
    head, trees, tail = parts(text)
    for _ in range(draw(st.integers(1, 3))):
        where = draw(st.sampled_from(("tree",) * 6 + ("head", "tail", "order")))
        if where == "tree" and trees:
            at = draw(st.integers(0, len(trees) - 1))
            trees[at] = "\n".join(changed_line(draw, trees[at].split("\n")))
        elif where == "head":
            head = "\n".join(changed_line(draw, head.split("\n")))
        elif where == "tail":
            tail = "\n".join(changed_line(draw, tail.split("\n")))
        elif trees:
            trees.insert(0, trees.pop())
    raw = joined(head, trees, tail, sizes=draw(st.integers(0, 9)) > 0).encode()
    if draw(st.integers(0, 9)) == 0:
        raw = raw[: draw(st.integers(0, len(raw)))]
    if draw(st.integers(0, 9)) == 0 and raw:
        at = draw(st.integers(0, len(raw) - 1))
        raw = raw[:at] + bytes([draw(st.integers(0, 255))]) + raw[at + 1 :]
    return raw


def main(model, last, number, unchecked):
    if unchecked:
        tree_text.checked = lambda text, n_features: text.decode("latin-1")
    text = Path(model).read_text()
    rows = np.random.default_rng(0).normal(size=(64, N_FEATURES)) * 20
    rows[::3, 1], rows[::5, 2], rows[::7] = np.nan, np.inf, -1e300
    lightgbm.Booster(model_str=text).predict(rows, num_threads=1)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + _MORE_BYTES,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    accepted = 0

    @seed(number)
    @settings(
        max_examples=EXAMPLES, database=None, deadline=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(mutants(text))
    def no_text_harms(raw):
        nonlocal accepted
        Path(last).write_bytes(raw)
        signal.alarm(_SECONDS)  # by default it ends the process, also inside of native code
        try:
            booster = tree_text.read_trees(raw, N_FEATURES, "model.txt")
        except CheckpointError:
            return
        finally:
            signal.alarm(0)
        signal.alarm(_SECONDS)
        assert booster.predict(rows, num_threads=1).shape == (64,)
        signal.alarm(0)
        accepted += 1

    no_text_harms()
    print(accepted)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), "unchecked" in sys.argv)
