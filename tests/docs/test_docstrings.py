"""Every docstring of jamba_ray begins with one sentence that says what the thing does."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import jamba_ray

PACKAGE = Path(jamba_ray.__file__).parent

VERBS = frozenset(
    re.findall(
        r"\w+",
        """
        Abandons Accepts Adds Answers Appends Applies Asks Assigns Averages Begins Binds Builds
        Looks Serves
        Calls Carries Changes Checks Chooses Closes Collects Compares Compiles Completes Composes
        Computes Configures Connects Continues Converts Copies Counts Creates Cuts Decides Declares
        Decodes Defines Delays Deletes Describes Detects Distinguishes Distributes Divides Does
        Draws Drops Encodes Ends Ensures Escapes Estimates Exchanges Extends Fails Fetches Fills
        Finds Fits Flips Follows Forecasts Formats Frees Gathers Generates Gives Grows Handles Holds
        Ignores Implements Imports Joins Judges Keeps Kills Lays Learns Leaves Lets Limits Lists
        Loads Locks Logs Lowers Makes Maps Marks Measures Merges Moves Names Normalises Notes Offers
        Opens Packs Parses Passes Predicts Prepares Prints Probes Proposes Quotes Raises Reads
        Recognises Records Redirects Refuses Registers Removes Renames Renews Repeats Replaces
        Reports Restarts Restores Retries Returns Rounds Runs Saves Says Scales Scores Selects Sends
        Sets Shortens Shows Signs Splits Starts Stops Stores Submits Suggests Sums Swaps Takes Talks
        Tells Trains Transforms Turns Updates Uses Validates Verifies Waits Walks Warns Watches
        Wraps Writes Yields
        """,
    )
)
"""Verbs that a docstring may begin with. A list, because a plural noun ends in 's' as well."""


def mistake_of(docstring: str) -> str | None:
    """Returns what is wrong with the beginning of a docstring, as a sentence; None: nothing."""
    first = " ".join(docstring.split("\n\n")[0].split())
    word = first.split(" ")[0].rstrip(",:;")
    if word not in VERBS:
        return (
            "must begin with a verb in the third person, such as 'Returns ...', but begins with "
            f"{word!r}. Rewrite it, or add a missing verb to VERBS in {Path(__file__).name}."
        )
    if not first.endswith((".", ":")) or re.search(r"[.?!] [A-Z]", first):
        return f"must begin with one sentence and then an empty line, but begins {first!r}."
    return None


def docstrings(tree: ast.Module, name: str) -> Iterator[tuple[str, int, str]]:
    """Yields (name, line, docstring) of a module and of everything in it that has one."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(tree):
        if isinstance(node, kinds) and (found := ast.get_docstring(node)):
            yield getattr(node, "name", name), node.body[0].lineno, found


def mistakes(part: str) -> list[str]:
    """Returns a sentence for each wrong docstring of a package or top-level module."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.relative_to(PACKAGE).parts[0].removesuffix(".py") != part:
            continue
        for name, line, text in docstrings(ast.parse(path.read_text("utf-8")), path.stem):
            if (wrong := mistake_of(text)) is not None:
                where = f"{path.relative_to(PACKAGE.parent)}:{line}"
                found.append(f"{where}: the docstring of {name} {wrong}")
    return found


PARTS = sorted({p.relative_to(PACKAGE).parts[0].removesuffix(".py") for p in PACKAGE.rglob("*.py")})


@pytest.mark.parametrize("part", PARTS)
def test_each_docstring_begins_with_a_sentence_that_says_what_the_thing_does(part: str) -> None:
    found = mistakes(part)
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "wrong",
    [
        "The rows of a trial.",
        "Rows of a trial.",
        "Trials that wait.",
        "What a runner knows.",
        "Write the rows.",
        "See ``save``.",
        "Nothing; see ``save``.",
        "``row`` as it is written.",
        "Returns the rows",
        "Returns the rows. They are sorted.",
        "Returns the rows.\nThey are sorted.",
    ],
)
def test_a_wrong_docstring_is_found(wrong: str) -> None:
    assert mistake_of(wrong) is not None


@pytest.mark.parametrize(
    "right",
    [
        "Returns the rows of a trial.",
        "Says, for each draw, whether its trial passes.",
        "Returns the rows\nof a trial.\n\nThey are sorted. None: there are none.",
        "Stores rows in a folder:\n\n    rows/trial-0001.jsonl",
    ],
)
def test_a_right_docstring_passes(right: str) -> None:
    assert mistake_of(right) is None
