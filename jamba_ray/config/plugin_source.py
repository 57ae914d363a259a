"""Collects the source of a plug-in: its file and what it imports from the same folder."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

_OURS = "jamba_ray"


def sources(module: str, root: Path, *, within: str | None = None) -> dict[str, str]:
    """Returns path relative to ``root`` -> text, of ``module`` and of every module that it imports
    from below ``root``, however indirectly.

    Only ``import`` statements count: what is imported by a computed name is not found.

    Args:
        module: Its dotted name.
        root: The folder that it is imported from.
        within: Only modules of this package; None: all below ``root``.
    """
    found: dict[str, str] = {}
    waiting = [*_parents(module)]
    while waiting:
        name = waiting.pop()
        top = name.partition(".")[0]
        path = _file_of(name, root)
        if top == _OURS or within not in (None, top) or path is None:
            continue
        key = path.relative_to(root).as_posix()
        if key not in found:
            found[key] = text = path.read_text(encoding="utf-8", errors="replace")
            is_package = path.name == "__init__.py"
            waiting += [n for i in _imported(text, name, is_package) for n in _parents(i)]
    return found


def digest_of(files: Mapping[str, str]) -> str:
    """Computes SHA-256 (first 12 hex digits) of names and texts."""
    whole = hashlib.sha256()
    for name, text in sorted(files.items()):
        whole.update(f"{name}\0{len(text)}\0{text}".encode(errors="replace"))
    return whole.hexdigest()[:12]


def _parents(name: str) -> Iterator[str]:
    """Yields ``a``, ``a.b`` and ``a.b.c`` for ``a.b.c``: importing the last imports them all."""
    parts = name.split(".")
    yield from (".".join(parts[: i + 1]) for i in range(len(parts)))


def _file_of(name: str, root: Path) -> Path | None:
    path = root.joinpath(*name.split("."))
    for file in (path / "__init__.py", path.with_name(f"{path.name}.py")):
        if file.is_file():
            return file
    return None


def _imported(text: str, name: str, is_package: bool) -> Iterator[str]:
    """Yields the names that a module imports; a name in a package may be a module of it."""
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return  # importing it says so
    package = name.split(".") if is_package else name.split(".")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            up = package[: len(package) - node.level + 1] if node.level else []
            base = [*up, *(node.module.split(".") if node.module else [])]
            if base:
                yield ".".join(base)
                yield from (".".join([*base, a.name]) for a in node.names if a.name != "*")
