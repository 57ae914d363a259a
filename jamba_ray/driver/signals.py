"""SIGINT and SIGTERM: stop soon with the state saved; a second one ends the process at once."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType, TracebackType

from jamba_ray.errors import ExitCode

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Signalled(BaseException):
    """A signal came. No ``Exception``, so that nothing on the way up takes it for a fault."""


class Signals:
    """While entered, the first signal raises ``Signalled`` in the main thread.

    That may happen anywhere, also inside Ray: the study is committed as it goes and nothing else
    has to be rescued, so the sweep simply unwinds. Compiled code may turn the exception into a
    SystemError or lose it, so whoever catches one, or goes on, looks at ``name``. In another thread
    than the main one no handler can be set, and signals stay as they are.
    """

    def __init__(self) -> None:
        self.name: str | None = None
        """The signal that came, 'SIGINT' or 'SIGTERM', or what else was said to ``stop``."""
        self._owed = False
        self._deferred = False
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():
            self._before = {s: signal.getsignal(s) for s in _SIGNALS}
            self.install()
        return self

    def __reduce__(self) -> tuple[type[Signals], tuple[()]]:
        # Tune serialises what it is given; handlers belong to this process.
        return Signals, ()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """While entered, a signal raises nothing until the end: who is inside looks at ``name`` and
        ends soon, with its state saved."""
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False
        if self.name is not None:
            raise Signalled(self.name)

    def stop(self, why: str) -> None:
        """From another thread: as if a signal had come; ``why`` stands where its name would.

        In the main thread, or where no handlers are set, it only sets ``name``.
        """
        if self.name is not None:
            return
        self.name = why
        main = threading.main_thread()
        if self._before and threading.current_thread() is not main:
            self._owed = True
            signal.pthread_kill(main.ident or 0, signal.SIGTERM)

    def install(self) -> None:
        """Set the handlers, again where a library has set its own (``ray.init`` takes SIGTERM)."""
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._owed:
            self._owed = False
        elif self.name is not None:
            os._exit(ExitCode.INTERRUPTED)
        else:
            self.name = signal.Signals(number).name
        if not self._deferred:
            raise Signalled(self.name)
