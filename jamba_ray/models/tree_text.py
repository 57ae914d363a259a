"""Checks LightGBM's model text in full before the native library parses it.

The library trusts its input: an index out of range, a size that does not agree or a cycle makes it
crash or run for ever. Read is exactly what LightGBM 4 writes for the models of this family: one
class, one tree a round, plain leaves, features by number.

Letters: L leaves and L - 1 splits of a tree, F features.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NoReturn

from jamba_ray.errors import CheckpointError

if TYPE_CHECKING:
    import lightgbm

_MAX_LEAVES = 131_072
_MAX_DEPTH = 4096
"""LightGBM explains a score by recursion, with memory for the square of the depth: 100,000 end the
process. What it grows is a hundred times shallower."""
_MAX_INT32, _MAX_UINT32 = 2**31 - 1, 2**32 - 1
_FLOAT = r"-?(?:\d{1,400}(?:\.\d{1,400})?(?:e[+-]?\d{1,4})?|inf|nan)"
_FLOAT_LETTERS = re.compile(r"(?:[0-9aefin.+-]{1,500} )*[0-9aefin.+-]{1,500}|")
"""Of numbers, with one space between; `float` has the last word."""
_INTS = re.compile(r"(?:-?\d{1,10}(?: -?\d{1,10})*)?")
_INFO = re.compile(rf"none|\[{_FLOAT}:{_FLOAT}\]|-?\d{{1,10}}(?::-?\d{{1,10}})*")
_PARAMETER = re.compile(r"\[([a-z0-9_]{1,64}): ([A-Za-z0-9_.,+ -]{0,4096})\]")
_FOREIGN = re.compile(r".*predict.*|pred_.*|.*filename|.*_file|machines|data|valid|.*_model")
"""Parameters that name files or machines, or change what a model answers: they must be empty."""
_FIXED = {"num_machines": "1", "device_type": "cpu", "linear_tree": "0", "num_class": "1"}
_IMPORTANCE = re.compile(r"Column_\d{1,9}=\d{1,12}")
_FLOAT_ARRAYS = ("leaf_value", "leaf_weight", "split_gain", "threshold", "internal_value")
_KEYS = (
    *("num_leaves", "num_cat", "split_feature", "split_gain", "threshold", "decision_type"),
    *("left_child", "right_child", "leaf_value", "leaf_weight", "leaf_count"),
    *("internal_value", "internal_weight", "internal_count"),
)
_CATEGORICAL_KEYS = ("cat_boundaries", "cat_threshold")
_LAST_KEYS = ("is_linear", "shrinkage")
_N_DECISIONS = 12
"""Of ``decision_type``: one bit categorical, one bit default left, 0-2 for missing values."""


def read_trees(text: bytes, n_features: int, name: str) -> lightgbm.Booster:
    """Reads the model in ``text``, which must take ``n_features`` features; ``name`` is for errors.

    Raises:
        CheckpointError: With the first thing that is not as LightGBM writes it.
    """
    import lightgbm  # half a second that networks need not pay

    try:
        return lightgbm.Booster(model_str=checked(text, n_features))
    except (ValueError, lightgbm.basic.LightGBMError) as error:
        raise CheckpointError(
            f"`{name}` is no LightGBM model ({error}). Use another checkpoint."
        ) from error


def checked(text: bytes, n_features: int) -> str:
    """Decodes ``text``.

    Raises:
        ValueError: It is not the text of a sound model of ``n_features``.
    """
    plain = text.decode("ascii")  # a UnicodeDecodeError is a ValueError
    head, separator, _ = plain.partition("\n\n")
    sizes = _header(head.split("\n"), n_features)
    start = len(head) + len(separator)
    for number, size in enumerate(sizes):
        _tree(plain[start : start + size], number, n_features)
        start += size
    _tail(plain[start:])
    return plain


def _header(lines: Sequence[str], n_features: int) -> list[int]:
    """Checks the first paragraph; returns the length of each tree's text."""
    expected = [
        *("tree", "version=v4", "num_class=1", "num_tree_per_iteration=1", "label_index=0"),
        *(f"max_feature_idx={n_features - 1}", "objective=binary sigmoid:1"),
        f"feature_names={' '.join(f'Column_{i}' for i in range(n_features))}",
    ]
    for line, wanted in zip(lines, expected, strict=False):
        if line != wanted:
            _refuse(f"its header must say {_short(wanted)}, but says {_short(line)}")
    if len(lines) != len(expected) + 2:
        _refuse(f"its header must have {len(expected) + 2} lines, but has {len(lines)}")
    infos = _value(lines[-2], "feature_infos").split(" ")
    if len(infos) != n_features or not all(_INFO.fullmatch(info) for info in infos):
        _refuse(f"`feature_infos` must describe {n_features} features, but does not")
    sizes = _ints(_value(lines[-1], "tree_sizes"), "tree_sizes", 1, _MAX_INT32)
    if not sizes:
        _refuse("it must have a tree, but has none")
    return sizes


def _tree(block: str, number: int, n_features: int) -> None:
    """Checks one tree: its text must end where ``tree_sizes`` says."""
    where = f"tree {number}: "
    if not block.endswith("\n\n\n"):
        _refuse(f"{where}it must end with two empty lines, as `tree_sizes` says, but does not")
    lines = iter(block[:-3].split("\n"))
    if next(lines) != f"Tree={number}":
        _refuse(f"{where}it must begin with 'Tree={number}', as `tree_sizes` says, but does not")
    values = _fields(lines, _KEYS, where)
    n_leaves = _one_int(values["num_leaves"], f"{where}num_leaves", 1, _MAX_LEAVES)
    n_cat = _one_int(values["num_cat"], f"{where}num_cat", 0, n_leaves - 1)
    if n_cat:
        values |= _fields(lines, _CATEGORICAL_KEYS, where)
    values |= _fields(lines, _LAST_KEYS, where)
    if next(lines, None) is not None:
        _refuse(f"{where}it must end with `shrinkage`, but goes on")
    if values["is_linear"] != "0":
        _refuse(f"{where}`is_linear` must be 0, but is {_short(values['is_linear'])}")
    if len(_floats(values["shrinkage"], f"{where}shrinkage")) != 1:
        _refuse(f"{where}`shrinkage` must be one number, but is not")
    n_splits = n_leaves - 1
    for key in (*_FLOAT_ARRAYS, "internal_weight"):
        size = n_leaves if key.startswith("leaf") else n_splits
        _sized(_floats(values[key], where + key), size, where + key, stump=n_leaves == 1)
    for key in ("leaf_count", "internal_count"):
        size = n_leaves if key.startswith("leaf") else n_splits
        counts = _ints(values[key], where + key, 0, _MAX_INT32)
        _sized(counts, size, where + key, stump=n_leaves == 1)
    if len(_floats(values["leaf_value"], where)) != n_leaves:
        _refuse(f"{where}`leaf_value` must have {n_leaves} numbers, but has not")
    features = _ints(values["split_feature"], f"{where}split_feature", 0, n_features - 1)
    decisions = _ints(values["decision_type"], f"{where}decision_type", 0, _N_DECISIONS - 1)
    for key, found in (("split_feature", features), ("decision_type", decisions)):
        _sized(found, n_splits, where + key)
    thresholds = values["threshold"].split(" ")
    _categories(
        [t for t, d in zip(thresholds, decisions, strict=False) if d % 2], n_cat, values, where
    )
    left, right = (
        _ints(values[key], where + key, -n_leaves, n_splits - 1)
        for key in ("left_child", "right_child")
    )
    _sized(left, n_splits, f"{where}left_child")
    _sized(right, n_splits, f"{where}right_child")
    _shape(left, right, n_leaves, where)


def _shape(left: Sequence[int], right: Sequence[int], n_leaves: int, where: str) -> None:
    """Checks that splits make a tree.

    A child that is a split comes after its parent, and each has one parent: then there is no cycle,
    and all hang below the first.
    """
    seen: set[int] = set()
    depth = [1] * len(left)
    for parent, children in enumerate(zip(left, right, strict=True)):
        if depth[parent] > _MAX_DEPTH:
            _refuse(f"{where}it must be at most {_MAX_DEPTH} deep, but is deeper")
        for child in children:
            if child > parent:
                depth[child] = depth[parent] + 1
            if 0 <= child <= parent:
                _refuse(f"{where}split {parent} must lie above its child, but {child} is that")
            if child in seen:
                _refuse(f"{where}each split and leaf must have one parent, but {child} has two")
            seen.add(child)
    # 2 (L - 1) different children in the L leaves and the L - 2 splits below the first: all.


def _categories(indices: Sequence[str], n_cat: int, values: dict[str, str], where: str) -> None:
    """Checks the bitsets: one for each categorical split, which names it by its ``threshold``."""
    if sorted(indices) != sorted(str(i) for i in range(n_cat)):
        _refuse(f"{where}its {n_cat} bitsets must each be of one categorical split, but are not")
    if not n_cat:
        return
    bounds = _ints(values["cat_boundaries"], f"{where}cat_boundaries", 0, _MAX_INT32)
    words = _ints(values["cat_threshold"], f"{where}cat_threshold", 0, _MAX_UINT32)
    _sized(bounds, n_cat + 1, f"{where}cat_boundaries")
    if bounds[0] != 0 or bounds[-1] != len(words) or bounds != sorted(set(bounds)):
        _refuse(f"{where}`cat_boundaries` must rise from 0 to {len(words)}, but do not")


def _tail(text: str) -> None:
    """Checks what follows the trees: importances and parameters."""
    ending = "\n\nend of parameters\n\npandas_categorical:null\n"
    head = "end of trees\n\nfeature_importances:\n"
    importances, separator, parameters = text[len(head) :].partition("\nparameters:\n")
    if not (text.startswith(head) and separator and parameters.endswith(ending)):
        _refuse("after its trees there must be importances and parameters, but are not")
    if not all(_IMPORTANCE.fullmatch(line) for line in importances.split("\n")[:-1]):
        _refuse("`feature_importances` must be counts, but are not")
    for line in parameters.removesuffix(ending).split("\n"):
        match = _PARAMETER.fullmatch(line)
        if match is None:
            _refuse(f"its parameters must be lines '[name: value]', but one is {_short(line)}")
        name, value = match.groups()
        if _FIXED.get(name, value) != value or (value and _FOREIGN.fullmatch(name)):
            _refuse(f"its parameter `{name}` must be {_FIXED.get(name, 'empty')}, but is not")


def _fields(lines: Iterator[str], keys: Sequence[str], where: str) -> dict[str, str]:
    return {key: _value(next(lines, ""), key, where) for key in keys}


def _value(line: str, key: str, where: str = "") -> str:
    if not line.startswith(f"{key}="):
        _refuse(f"{where}`{key}` must come next, but {_short(line)} does")
    return line[len(key) + 1 :]


def _ints(text: str, what: str, low: int, high: int) -> list[int]:
    if not _INTS.fullmatch(text):
        _refuse(f"`{what}` must be whole numbers, but is {_short(text)}")
    found = [int(word) for word in text.split()]
    if found and not (low <= min(found) and max(found) <= high):
        _refuse(f"`{what}` must be between {low} and {high}, but has {min(found)} to {max(found)}")
    return found


def _one_int(text: str, what: str, low: int, high: int) -> int:
    found = _ints(text, what, low, high)
    if len(found) != 1:
        _refuse(f"`{what}` must be one number, but is {_short(text)}")
    return found[0]


def _floats(text: str, what: str) -> list[str]:
    words = text.split()
    if not (_FLOAT_LETTERS.fullmatch(text) and all(map(_is_float, words))):
        _refuse(f"`{what}` must be numbers, but is {_short(text)}")
    return words


def _is_float(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _sized(found: Sequence[object], size: int, what: str, *, stump: bool = False) -> None:
    """Checks how many values there are; a tree of one leaf has no splits, and writes nothing of
    its leaf but the value."""
    if len(found) != size and not (stump and not found):
        _refuse(f"`{what}` must have {size} entries, but has {len(found)}")


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:57]}...")


def _refuse(why: str) -> NoReturn:
    raise ValueError(why)
