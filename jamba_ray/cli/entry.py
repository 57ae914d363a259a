"""Runs every command: flags, configuration, exit code, no traceback for a user's mistake."""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import os
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from rich.console import Console

from jamba_ray.cli.flags import Flags, split_flags
from jamba_ray.cli.help import print_help
from jamba_ray.cli.phases import Phases
from jamba_ray.cli.positional import as_settings
from jamba_ray.config.command_line import command
from jamba_ray.config.plugin_needs import PluginChangedWarning
from jamba_ray.config.run import RenamedSettingWarning, SweepConfig
from jamba_ray.config.section import Section
from jamba_ray.errors import ConfigError, ExitCode, JambaError

S = TypeVar("S", bound=Section)
INSECURE = "--insecure-local"
"""The flag of the commands that connect to a cluster."""


@dataclass(frozen=True)
class Command(Generic[S]):
    """Describes a command: its name, its configuration and its help.

    The work is done by ``run(config, console)`` of the module with its name, which is imported
    after all checks.
    """

    name: str
    about: str
    examples: str
    section: type[S]
    primary: str
    """The file of ``conf/`` it starts from."""
    most: tuple[str, ...] = ()
    """The settings that users change most, for the help; empty: all."""
    positional: tuple[str, ...] = ()
    """The settings that arguments without a name set, in this order."""
    short: Mapping[str, str] = field(default_factory=dict)
    """Flag -> the setting whose value follows the flag."""
    loading: str = ""
    """The phase that is shown while the module is imported, if that takes long; empty: none."""
    check: Callable[[S], object] | None = None
    """Finds mistakes that concern several sections; raises ConfigError."""

    def main(self, argv: Sequence[str] | None = None) -> int:
        """Runs the command as ``python -m jamba_ray.<name>`` does; returns the exit code."""
        arguments = sys.argv[1:] if argv is None else argv
        # Read when torch is loaded, here and in the processes that are started: threads that wait
        # for each other in a loop take cores from the others (``tests/benchmarks/waiting.md``).
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        # Python's last garbage collection would visit all of torch: over a second (1.3 s of 1.6 s).
        atexit.register(gc.freeze)
        return guarded(lambda out: self._main(arguments, out))

    def _main(self, arguments: Sequence[str], out: Console) -> int:
        flags, words = split_flags(arguments, others=self.short, command=self.name)
        if flags.help is not None:
            print_help(out, self, flags.help)
            return ExitCode.OK
        if self.positional or self.short:
            words = as_settings(words, self.positional, self.short)
        with Phases(out) as phases:
            phases.begin("reading the settings", is_brief=True)
            # Imported here, because the help needs no Hydra.
            from jamba_ray.cli.composition import compose_section

            with notes_shown():
                config = compose_section(self.section, self.primary, words, flags.config_dir)
            if self.check is not None:
                self.check(config)
            if flags.cfg:
                phases.end()
                print_config(out, config, flags)
                return ExitCode.OK
            phases.begin(self.loading or "loading", is_brief=not self.loading)
            body = self.body()
        with notes_shown():
            code: int = body.run(config, out)
        if code == ExitCode.OK and getattr(config, "dry_run", False):
            begun = [word for word in arguments if word.partition("=")[0].strip("+") != "dry_run"]
            say(out, f"next: {command(self.name, *begun)}")
        return code

    def body(self) -> Any:
        """Imports the module that runs the command, and with it torch, Ray and pandas."""
        return importlib.import_module(f"jamba_ray.{self.name}")


@dataclass(frozen=True)
class ClusterCommand(Command[S]):
    """Describes a command on a sweep of a cluster.

    Settings that begin with the command's name are its own, the others are those of the sweep. Its
    module has ``run(own, config, words, console, insecure)``.
    """

    def _main(self, arguments: Sequence[str], out: Console) -> int:
        flags, words = split_flags(arguments, others=(INSECURE,), command=self.name)
        insecure = INSECURE in words
        words = [word for word in words if word != INSECURE]
        if flags.help is not None:
            print_help(out, self, flags.help, prefix=f"{self.name}.")
            return ExitCode.OK
        from jamba_ray.cli.composition import compose_section
        from jamba_ray.cli.split_settings import split_settings

        with Phases(out) as phases:
            phases.begin("reading the settings", is_brief=True)
            own, words = split_settings(self.section, self.name, words)
            with notes_shown():
                config = compose_section(SweepConfig, self.primary, words, flags.config_dir)
            if flags.cfg:
                phases.end()
                print_config(out, config, flags)
                return ExitCode.OK
            phases.begin("loading", is_brief=True)
            body = self.body()
        if flags.config_dir is not None:
            words = [*words, f"--config-dir={flags.config_dir}"]
        code: int = body.run(own, config, words, out, insecure=insecure)
        return code


def print_config(console: Console, config: Section, flags: Flags) -> None:
    """Prints the configuration as YAML, or the part that ``--package`` names."""
    from jamba_ray.cli.composition import part_of, to_yaml

    text = to_yaml(config) if flags.package is None else part_of(config, flags.package)
    console.print(text, highlight=False, markup=False, end="", soft_wrap=True)


@contextlib.contextmanager
def notes_shown() -> Iterator[None]:
    """Prints each warning that is meant for the user once, as one line: of a setting that was given
    by its old name, of a plug-in that has changed."""
    with warnings.catch_warnings():
        for kind in (RenamedSettingWarning, PluginChangedWarning):
            warnings.simplefilter("always", kind)
        show, seen = warnings.showwarning, set[str]()

        def shown(
            message: Warning | str, category: type[Warning], *where: Any, **more: Any
        ) -> None:
            if issubclass(category, (RenamedSettingWarning, PluginChangedWarning)):
                if str(message) not in seen:
                    sys.stderr.write(f"note: {message}\n")
                seen.add(str(message))
            else:
                show(message, category, *where, **more)

        warnings.showwarning = shown
        yield


def guarded(command: Callable[[Console], int]) -> int:
    """Runs a command so that every error ends in a sentence and an exit code."""
    err = Console(stderr=True)
    try:
        return command(Console())
    except JambaError as error:
        show_error(err, error)
        return error.exit_code
    except KeyboardInterrupt:
        err.print("Interrupted.")
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # The reader of a pipe has closed it (`| head`): no error; the interpreter must print none.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.OK
    except Exception as error:
        _show_defect(err, error)
        return ExitCode.INTERNAL


def show_error(console: Console, error: JambaError) -> None:
    """Prints an error as its sentences."""
    sentences = error.mistakes if isinstance(error, ConfigError) else (error.message,)
    if len(sentences) > 1:
        console.print(f"[bold red]{len(sentences)} mistakes[/], nothing was started:")
    for sentence in sentences:
        mark = "  " if len(sentences) > 1 else "[bold red]error:[/] "
        console.print(mark, end="")
        console.print(sentence, markup=False, highlight=False, soft_wrap=True)


def _show_defect(console: Console, error: Exception) -> None:
    """Reports a defect of jamba_ray: one line on the terminal, the traceback in a file."""
    with tempfile.NamedTemporaryFile(
        "w", prefix="jamba_ray-", suffix=".log", delete=False, encoding="utf-8"
    ) as log:
        log.writelines(traceback.format_exception(error))
    console.print(
        f"error: a defect of jamba_ray: {type(error).__name__}: {error}. "
        f"The traceback is in {log.name}; please report it.",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def say(console: Console, sentence: str) -> None:
    """Prints one line without markup or wrapping."""
    console.print(sentence, highlight=False, markup=False, soft_wrap=True)
