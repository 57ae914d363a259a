"""Defines the errors that a user sees, one sentence each, and the exit code of each.

Every error here survives a pickle round trip (Ray carries errors between processes), so each takes
exactly the arguments that it stores.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum


class ExitCode(IntEnum):
    """Lists the exit codes of every command (64 and up follow BSD ``sysexits.h``)."""

    OK = 0
    """Everything that was asked for was done."""
    SOME_FAILED = 3
    """The sweep has a winner, but some trials failed."""
    NONE_SUCCEEDED = 4
    """No trial succeeded, so there is no winner."""
    WORSE = 5
    """``submit``: there is a winner, but it is worse than the champion by more than the margin.
    ``export``: the file would not give the model's answers, and was not written.
    ``registry promote``: a gate refused the version, or another promotion was first.
    ``check``: the server gives other answers, is of another version or too slow."""
    FOUND = 6
    """``watch``: something has changed; the findings say what."""
    CONFIG = 64
    """The configuration is wrong (all mistakes are named at once); nothing was started."""
    DATA = 65
    """The data cannot be used; nothing was started."""
    NO_RUN = 66
    """There is no run or checkpoint where one was named."""
    UNAVAILABLE = 69
    """The machine or the cluster lacks what was asked for. ``submit``: the cluster has not answered
    for ``submit.patience_s``, or lost the job."""
    INTERNAL = 70
    """A defect of jamba_ray itself; the log has the traceback."""
    RUN_EXISTS = 73
    """The run name exists already, or another process writes the run; nothing was overwritten. Use
    ``resume=true``, ``overwrite=true`` or another ``run=``."""
    STORAGE = 74
    """The store was lost or is damaged; what was acknowledged is intact."""
    INTERRUPTED = 75
    """Stopped by a signal, or by the end of the Ray that it had started, with its state saved:
    ``resume=true`` continues. ``submit``: the sweep was stopped or killed on the cluster, and the
    same command continues it."""


class JambaError(Exception):
    """Reports a problem that the user can solve: ``message`` is one sentence, shown without
    traceback."""

    exit_code: ExitCode = ExitCode.INTERNAL

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __str__(self) -> str:
        return self.message


class ConfigError(JambaError):
    """Reports all mistakes found in a configuration, one sentence each."""

    exit_code = ExitCode.CONFIG

    def __init__(self, mistakes: Sequence[str]) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__("\n".join(self.mistakes))

    def __reduce__(self) -> tuple[type[ConfigError], tuple[tuple[str, ...]]]:
        return type(self), (self.mistakes,)


class DataError(JambaError):
    """Reports that the data cannot be used as configured."""

    exit_code = ExitCode.DATA


class UnavailableError(JambaError):
    """Reports that the machine or the cluster lacks what the configuration asks for."""

    exit_code = ExitCode.UNAVAILABLE


class RunExistsError(JambaError):
    """Reports that the run name or the output exists already."""

    exit_code = ExitCode.RUN_EXISTS


class StorageError(JambaError):
    """Reports that the store cannot be written or read, or that its content is damaged."""

    exit_code = ExitCode.STORAGE


class StoreRefusedError(StorageError):
    """Reports that the store refuses permanently (no rights, no bucket), so that a retry is
    useless."""


class CheckpointError(StorageError):
    """Reports that a checkpoint is missing, incomplete or does not match its manifest."""


class NoRunError(CheckpointError):
    """Reports that there is no run or checkpoint under the given name, while the store itself
    works."""

    exit_code = ExitCode.NO_RUN


class RegistryError(StorageError):
    """Reports that a registry's version, log or signature is not as it was written, or not by
    somebody who may."""


class GateError(JambaError):
    """Reports that a version may not be promoted: a gate, or somebody else's promotion."""

    exit_code = ExitCode.WORSE


class InterruptedRunError(JambaError):
    """Reports that a signal stopped the run after its state was saved."""

    exit_code = ExitCode.INTERRUPTED


class ParityError(JambaError):
    """Reports that an exported model does not give the answers of the model itself."""

    exit_code = ExitCode.WORSE


class TrialError(JambaError):
    """Reports that one trial cannot continue (non-finite loss, user error); the sweep continues
    without it."""


def one_line(error: BaseException) -> str:
    """Returns the type and the first line of the message of an error raised by other code."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
