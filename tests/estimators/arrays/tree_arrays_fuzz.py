"""One process of the fuzzer: ``python -m tests.estimators.arrays.tree_arrays_fuzz <seed>``.

With ``unchecked`` as second argument LightGBM gets everything: the sabotage twin.
"""

import resource
import signal
import sys
from pathlib import Path

import numpy as np

from jamba_ray.estimators.arrays import trees
from jamba_ray.estimators.arrays.trees import Tree, Trees

N_FEATURES = 4
EXAMPLES = 1500
_SECONDS = 5
_MORE_BYTES = 2 * 2**30
ODD = (-(2**31), -2, -1, 0, 1, 2, 3, 7, 31, 2**31 - 1, 1e38, np.nan, -np.inf, 0.5)


def grown(rng, depth=5):
    """A tree whose branches end at random."""
    nodes = []

    def grow(level):
        at = len(nodes)
        nodes.append([-1, 0.0, -1, -1, float(rng.normal()), float(rng.integers(1, 99))])
        if level < depth and rng.random() < 0.8:
            left, right = grow(level + 1), grow(level + 1)
            split = [int(rng.integers(N_FEATURES)), float(rng.normal()), left, right, 0.0]
            nodes[at] = [*split, nodes[left][5] + nodes[right][5]]
        return at

    grow(0)
    return Tree(*(np.array(column) for column in zip(*nodes, strict=True)))


def mutant(rng, arrays):
    """The arrays with a few cells, lengths or types changed."""
    found = {name: array.copy() for name, array in arrays.items()}
    for _ in range(rng.integers(1, 4)):
        name = rng.choice(list(found))
        array, how = found[name], rng.integers(0, 12)
        if how < 8 and array.size:
            odd = ODD[rng.integers(len(ODD))] if rng.random() < 0.5 else array.flat[0]
            with np.errstate(invalid="ignore", over="ignore"):
                array.flat[rng.integers(array.size)] = np.array(odd).astype(array.dtype)
        elif how == 8:
            found[name] = array[:-1]
        elif how == 9:
            found[name] = np.append(array, array[-1:])
        elif how == 10:
            found[name] = rng.permutation(array)
        else:
            found[name] = array.astype(rng.choice(["f8", "i8", "f4", "i4", "u1"]))
    return found


def main(seed, unchecked):
    rng = np.random.default_rng(seed)
    if unchecked:
        trees.check = lambda *given: None
    whole = Trees.of([grown(rng) for _ in range(3)], 0.5, N_FEATURES)
    arrays = dict(whole.save().arrays)
    rows = (rng.normal(size=(64, N_FEATURES)) * 3).astype(np.float32)
    whole.contributions(rows)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + _MORE_BYTES,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    accepted = 0
    for _ in range(EXAMPLES):
        signal.alarm(_SECONDS)  # by default it ends the process, also inside of native code
        try:
            read = Trees(mutant(rng, arrays), 0.5, N_FEATURES)
        except ValueError:
            continue
        assert np.isfinite(read.sums(rows)).all()
        assert read.contributions(rows)[0].shape == rows.shape
        accepted += 1
    print(accepted)


if __name__ == "__main__":
    main(int(sys.argv[1]), "unchecked" in sys.argv)
