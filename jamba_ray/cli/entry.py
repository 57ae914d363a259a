"""How every command starts and ends: flags, configuration, exit code, no traceback for a user."""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from rich.console import Console

from jamba_ray.cli.composition import compose_section, split_flags, to_yaml
from jamba_ray.cli.help import print_help
from jamba_ray.cli.positional import as_settings
from jamba_ray.config.run import RenamedSettingWarning
from jamba_ray.config.section import Section
from jamba_ray.errors import ConfigError, ExitCode, JambaError

S = TypeVar("S", bound=Section)


@dataclass(frozen=True)
class Command(Generic[S]):
    """A command: what it is called, what configures it, and what it does."""

    name: str
    about: str
    examples: str
    section: type[S]
    primary: str
    """The file of ``conf/`` it starts from."""
    run: Callable[[S, Console], ExitCode]
    positional: tuple[str, ...] = ()
    """The settings that words without a name stand for, in their order."""
    short: Mapping[str, str] = field(default_factory=dict)
    """Flag -> the setting that the word after it stands for."""

    def main(self, argv: Sequence[str] | None = None) -> int:
        """Run the command as ``python -m jamba_ray.<name>`` does; returns the exit code."""
        arguments = sys.argv[1:] if argv is None else argv
        # Python's last garbage collection would walk all of torch: over a second (1.3 s of 1.6 s).
        atexit.register(gc.freeze)
        return guarded(lambda out: self._main(arguments, out))

    def _main(self, arguments: Sequence[str], out: Console) -> int:
        if self.positional or self.short:
            arguments = as_settings(arguments, self.positional, self.short)
        flags, overrides = split_flags(arguments)
        if flags.help:
            print_help(out, self.about, self.examples, self.section)
            return ExitCode.OK
        with renamed_settings_shown():
            config = compose_section(self.section, self.primary, overrides)
        if flags.cfg_job:
            out.print(to_yaml(config), highlight=False, markup=False, end="", soft_wrap=True)
            return ExitCode.OK
        return self.run(config, out)


@contextlib.contextmanager
def renamed_settings_shown() -> Iterator[None]:
    """Prints one line for each setting that was given by its old name."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", RenamedSettingWarning)
        show = warnings.showwarning

        def shown(
            message: Warning | str, category: type[Warning], *where: Any, **more: Any
        ) -> None:
            if issubclass(category, RenamedSettingWarning):
                sys.stderr.write(f"note: {message}\n")
            else:
                show(message, category, *where, **more)

        warnings.showwarning = shown
        yield


def guarded(command: Callable[[Console], int]) -> int:
    """Run a command so that whatever happens ends in a sentence and an exit code."""
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
        # The reader of a pipe went away (`| head`): not a fault; keep the interpreter quiet.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.OK
    except Exception as error:
        _show_defect(err, error)
        return ExitCode.INTERNAL


def show_error(console: Console, error: JambaError) -> None:
    """Print an error as its sentences."""
    sentences = error.mistakes if isinstance(error, ConfigError) else (error.message,)
    if len(sentences) > 1:
        console.print(f"[bold red]{len(sentences)} mistakes[/], nothing was started:")
    for sentence in sentences:
        mark = "  " if len(sentences) > 1 else "[bold red]error:[/] "
        console.print(mark, end="")
        console.print(sentence, markup=False, highlight=False, soft_wrap=True)


def _show_defect(console: Console, error: Exception) -> None:
    """A defect of ours: one line on the terminal, the traceback in a file."""
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
