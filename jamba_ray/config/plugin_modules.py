"""Imports the modules that a user names as plug-ins, and sends them to other processes.

Only a name that the user gave (``plugins=``, on a command line or in a file of settings), or an
entry point of an installed package, is ever imported; what a checkpoint names is not.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.metadata
import importlib.util
import os
import re
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

from jamba_ray.config.command_line import override
from jamba_ray.config.plugin_source import digest_of, sources
from jamba_ray.config.plugins import PluginError
from jamba_ray.errors import ConfigError, one_line

GROUPS = ("jamba_ray.models", "jamba_ray.metrics", "jamba_ray.samplers", "jamba_ray.trackers")
"""Groups of entry points; an entry point has the name of what its module registers."""
_WRITTEN = re.compile(r"(?P<name>[\w.-]+)(@(?P<version>[^#]*))?(#(?P<digest>[0-9a-f]+))?")
_MODULE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


@dataclass(frozen=True)
class Plugin:
    """Holds a module that was imported as a plug-in."""

    module: str
    version: str
    """That of its package; empty: it has none."""
    digest: str
    """Of its source (``plugin_source``)."""
    root: str
    """The folder that it was imported from."""
    files: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Path below ``root`` -> source; empty where its package is installed."""

    @property
    def text(self) -> str:
        """Returns its name, version and digest as one text, as ``plugins`` holds it."""
        version = f"@{self.version}" if self.version else ""
        return f"{self.module}{version}#{self.digest}"


LOADED: dict[str, Plugin] = {}
"""Module -> what was imported in this process."""


def name_of(text: str) -> str:
    """Returns the module of ``threats``, ``threats@1.0`` or ``threats@1.0#9f86d081884c``."""
    found = _WRITTEN.fullmatch(text)
    return text if found is None else found["name"]


def as_words(texts: Iterable[str]) -> list[str]:
    """Writes plug-ins as a word of a command line, without their digests; none: no word."""
    names = [name_of(text) for text in texts]
    return [override("plugins", names)] if names else []


def load(texts: Iterable[str]) -> tuple[str, ...]:
    """Imports plug-ins by the names that a user gave; returns each with its version and digest.

    A name is that of a module, in the working folder or installed, or of an entry point. One with a
    digest must have this digest.

    Raises:
        ConfigError: With a sentence for each that is missing, raises, or is another than was
            asked for.
    """
    found: list[str] = []
    mistakes: list[str] = []
    for text in dict.fromkeys(texts):
        try:
            found.append(_load(text).text)
        except ConfigError as error:
            mistakes += error.mistakes
    if mistakes:
        raise ConfigError(mistakes)
    return tuple(dict.fromkeys(found))


def load_installed(names: Iterable[str]) -> tuple[str, ...]:
    """Imports the installed entry points of these names; returns them as ``load`` does."""
    wanted = set(names)
    found = [point.module for point in entry_points() if point.name in wanted] if wanted else []
    return load(found)


def entry_points() -> list[importlib.metadata.EntryPoint]:
    """Returns the entry points of installed packages that are plug-ins."""
    return [point for group in GROUPS for point in importlib.metadata.entry_points(group=group)]


def shipment() -> tuple[Plugin, ...]:
    """Returns what another process needs to import what is imported here: see ``receive``."""
    return tuple(LOADED.values())


def receive(plugins: Sequence[Plugin]) -> None:
    """Imports in this process what another one imported; the same source, wherever this runs.

    A module of the other's working folder is imported from there if this machine has the same, else
    from the source that was sent.

    Raises:
        ImportError: With a sentence: an installed one is not here, or is another.
    """
    for plugin in plugins:
        known = LOADED.get(plugin.module)
        if known is not None and known.digest == plugin.digest:
            continue
        if plugin.files and digest_of(_sources_in(plugin)) != plugin.digest:
            sys.meta_path.insert(0, _Sent(plugin))
        elif plugin.files:
            _search(plugin.root)
        try:
            importlib.import_module(plugin.module)
        except Exception as error:
            raise ImportError(
                f"the plug-in `{plugin.module}` cannot be imported on {os.uname().nodename}: "
                f"{_why(error)}. Install it there too"
            ) from error
        here = plugin if plugin.files else _described(plugin.module, None)
        if here.digest != plugin.digest:
            raise ImportError(
                f"the plug-in `{plugin.module}` must be {plugin.text} as on the driver, but is "
                f"{here.text} on {os.uname().nodename}. Install the same one there"
            )
        LOADED[plugin.module] = plugin


def _load(text: str) -> Plugin:
    asked = _WRITTEN.fullmatch(text)
    if asked is None:
        raise ConfigError(
            [f"`plugins` must hold names of modules, such as [mypkg.threats], but has {text!r}."]
        )
    module = asked["name"]
    if not _is_there(module):
        points = [point.module for point in entry_points() if point.name == module]
        module = points[0] if points else module
    if module not in LOADED:
        LOADED[module] = _imported(module)
    plugin = LOADED[module]
    if asked["digest"] is not None and asked["digest"] != plugin.digest:
        raise ConfigError(
            [
                f"`plugins` asks for {text!r}, but what is there is {plugin.text!r}. Put the "
                f"earlier source back, or write `plugins=[{module}]` to take what is there."
            ]
        )
    return plugin


def _imported(module: str) -> Plugin:
    if module == "__main__" or _MODULE.fullmatch(module) is None:
        raise ConfigError(
            [
                f"`plugins` must hold names of modules, such as [mypkg.threats], but has "
                f"{module!r}. Put the code into a file of its own and give its name."
            ]
        )
    here, top = Path.cwd(), module.partition(".")[0]
    if (here / top).is_dir() or (here / f"{top}.py").is_file():
        _search(str(here))
    try:
        found = importlib.import_module(module)
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and _is_part(error.name, module):
            raise ConfigError(
                [
                    f"`plugins` has {module!r}, but there is no such module in {here} and none is "
                    f"installed. Put it there, install it, or drop it."
                ]
            ) from None
        raise ConfigError(
            [f"The plug-in `{module}` cannot be imported: {_why(error)}. Mend it, or drop it."]
        ) from error
    file = _file_of(found)
    if _has_python(here, top) and not _is_below(file, here):
        raise ConfigError(
            [
                f"The plug-in `{module}` must be the one in {here}, but Python imports {file} by "
                "this name. Rename it."
            ]
        )
    is_own = _is_below(file, here) and "site-packages" not in Path(file).parts
    return _described(module, here if is_own else None)


def _described(module: str, folder: Path | None) -> Plugin:
    """Returns an imported plug-in; ``folder`` is the working folder where it is one of it."""
    top = module.partition(".")[0]
    if folder is not None:
        files = sources(module, folder)
        return Plugin(module, _version(module), digest_of(files), str(folder), files)
    found = sys.modules[module]
    file = Path(_file_of(found))
    depth = module.count(".") + (1 if file.name.startswith("__init__.") else 0)
    root = file.parents[depth]
    files = sources(module, root, within=top) or {module: file.read_bytes().hex()}
    return Plugin(module, _version(module), digest_of(files), str(root))


def _sources_in(plugin: Plugin) -> dict[str, str]:
    try:
        return sources(plugin.module, Path(plugin.root))
    except OSError:
        return {}


def _version(module: str) -> str:
    top = module.partition(".")[0]
    for name in (module, top):
        version = getattr(sys.modules.get(name), "__version__", None)
        if isinstance(version, str):
            return re.sub(r"[^\w.+-]", "", version)
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(top)
    return ""


def _is_there(module: str) -> bool:
    """Says whether ``module`` is in the working folder or installed, without importing it."""
    top = module.partition(".")[0]
    if _MODULE.fullmatch(module) is None:
        return False
    if (Path.cwd() / top).is_dir() or (Path.cwd() / f"{top}.py").is_file():
        return True
    with contextlib.suppress(ImportError, ValueError):
        return importlib.util.find_spec(top) is not None
    return False


def _has_python(folder: Path, top: str) -> bool:
    return (folder / f"{top}.py").is_file() or any((folder / top).glob("*.py"))


def _is_part(name: str | None, module: str) -> bool:
    """Says whether a module that was not found is ``module`` or a package around it."""
    return name is not None and (module == name or module.startswith(f"{name}."))


def _is_below(file: str | Path, folder: Path) -> bool:
    return bool(file) and Path(file).resolve().is_relative_to(folder.resolve())


def _file_of(module: ModuleType) -> str:
    return getattr(module, "__file__", None) or next(iter(getattr(module, "__path__", [""])), "")


def _search(folder: str) -> None:
    # Last, so that a file of the working folder replaces no installed module.
    if folder not in sys.path:
        sys.path.append(folder)


def _why(error: BaseException) -> str:
    """Returns what a module raised, and in which line of which file."""
    lines = [f for f in traceback.extract_tb(error.__traceback__) if "importlib" not in f.filename]
    if isinstance(error, SyntaxError):
        return f"line {error.lineno} of {Path(error.filename or '').name} is no Python"
    if isinstance(error, PluginError):
        return str(error)
    what = one_line(error) if isinstance(error, Exception) else f"it ended Python ({error!r})"
    where = f", in line {lines[-1].lineno} of {lines[-1].filename}" if len(lines) > 1 else ""
    return f"{what.rstrip('.')}{where}"


class _Sent(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Imports the modules of a plug-in from the source that was sent, without a file."""

    def __init__(self, plugin: Plugin) -> None:
        self._plugin = plugin

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,
    ) -> importlib.machinery.ModuleSpec | None:
        """Returns the spec of a module that was sent; None: it was not."""
        place = fullname.replace(".", "/")
        for file in self._candidates(fullname):
            origin = f"{self._plugin.root}/{file}"
            is_package = file.endswith("/__init__.py")
            spec = importlib.machinery.ModuleSpec(
                fullname, self, origin=origin, is_package=is_package
            )
            spec.has_location = True  # so that a traceback shows its lines
            return spec
        if any(name.startswith(f"{place}/") for name in self._plugin.files):
            return importlib.machinery.ModuleSpec(fullname, None, is_package=True)
        return None

    def get_source(self, fullname: str) -> str:
        """Returns the source of a module."""
        for file in self._candidates(fullname):
            return self._plugin.files[file]
        raise ImportError(f"{fullname} was not sent")

    def is_package(self, fullname: str) -> bool:
        """Says whether a module is a package."""
        return any(file.endswith("/__init__.py") for file in self._candidates(fullname))

    def _candidates(self, fullname: str) -> Iterator[str]:
        place = fullname.replace(".", "/")
        names = (f"{place}/__init__.py", f"{place}.py")
        return (name for name in names if name in self._plugin.files)
