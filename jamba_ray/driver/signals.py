"""Handles SIGINT, SIGTERM and SIGHUP: stops soon, with the state saved, in every situation."""

from __future__ import annotations

import contextlib
import math
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType

from jamba_ray.errors import ExitCode, InterruptedRunError

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
REPEAT_S = 1.0
"""Seconds after the first signal within which another one is the same request: ``timeout`` sends
each signal twice, to the process and to its group."""
GRACE_S = 8.0
"""Seconds for an orderly stop, which takes 2 to 4 s on idle cores. One that takes longer waits in
compiled code, such as for a Ray that is gone or for a tree to be grown."""
HEADLESS_S = 3.0
"""Seconds for an orderly stop where Ray is gone: Ray would wait a minute for its head."""
ABANDON_S = 15.0
"""Seconds for ``abandon``: the disk may hang too."""
_LOOK_S = 0.25


class Signalled(BaseException):
    """Reports that a signal came; ``except Exception`` does not catch it, on purpose."""


class Signals:
    """Raises ``Signalled`` in the main thread at the first signal, while entered.

    That may happen anywhere, also inside Ray: every commit of the study is durable and nothing else
    has to be saved, so the sweep simply unwinds. Compiled code may turn the exception into a
    SystemError or lose it, so code that catches one, or continues, checks ``name``. In a thread
    other than the main one no handler can be set, and signals stay as they are.

    A thread reads each signal as it arrives, because Python runs no handler while the main thread
    is in compiled code. If the main thread has not left ``grace_s`` seconds after the first signal,
    or if a second one comes, that thread calls ``abandon`` and ends the process.

    Args:
        abandon: Saves and prints what an orderly stop would; None: the process just ends, and only
            after a second signal.
        grace_s: How long an orderly stop may take.
    """

    def __init__(
        self, abandon: Callable[[], object] | None = None, *, grace_s: float = GRACE_S
    ) -> None:
        self.name: str | None = None
        """The signal that came, 'SIGINT' or 'SIGTERM', or what else was said to ``stop``."""
        self._abandon, self._grace_s = abandon, grace_s
        self._asked_at, self._deadline = 0.0, math.inf
        self._again = False
        self._owed = 0
        self._raised = self._deferred = False
        self._before: dict[signal.Signals, object] = {}
        self._settled = threading.Lock()
        """Held by who ends the run: the main thread in order, or the other one without it."""
        self._thread: threading.Thread | None = None
        self._pipe = (-1, -1)
        self._pipe_before = -1

    def __enter__(self) -> Signals:
        self._pipe = os.pipe()
        for end in self._pipe:
            os.set_blocking(end, False)
        if threading.current_thread() is threading.main_thread():
            self._before = {
                # What `nohup` ignores stays ignored.
                s: handler
                for s in _SIGNALS
                if (handler := signal.getsignal(s)) is not signal.SIG_IGN
            }
            self._pipe_before = signal.set_wakeup_fd(self._pipe[1], warn_on_full_buffer=False)
            self.install()
        self._thread = threading.Thread(target=self._loop, name="jamba_ray-signals", daemon=True)
        self._thread.start()
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
        # Blocks for ever while the run is abandoned: the process ends soon.
        self._settled.acquire()
        if self._before:
            signal.set_wakeup_fd(self._pipe_before)
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        os.write(self._pipe[1], b"\0")
        if self._thread is not None:
            self._thread.join()
        for end in self._pipe:
            os.close(end)

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Delays the exception of a signal to the end of the context.

        Code inside checks ``name`` and ends soon, with its state saved.
        """
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False
        if self.name is not None:
            raise Signalled(self.name)

    def stop(self, why: str) -> None:
        """Stops the run from another thread as a signal would; ``why`` takes the place of its name.

        An orderly stop then has ``HEADLESS_S``. In the main thread, or where no handlers are set,
        it interrupts nothing.
        """
        self._deadline = min(self._deadline, time.monotonic() + HEADLESS_S)
        if not self._note(why):
            return
        main = threading.main_thread()
        if self._before and threading.current_thread() is not main:
            self._owed += 1
            signal.pthread_kill(main.ident or 0, signal.SIGTERM)

    def install(self) -> None:
        """Sets the handlers, again where a library has set its own (``ray.init`` takes SIGTERM)."""
        if threading.current_thread() is threading.main_thread():
            for number in self._before:
                signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._note(signal.Signals(number).name)
        # Only once: the same request must not interrupt the code that unwinds the run.
        if not self._deferred and not self._raised:
            self._raised = True
            raise Signalled(self.name)

    def _note(self, why: str) -> bool:
        """Notes a request to stop and returns whether it is the first one."""
        if self.name is not None:
            return False
        self.name, self._asked_at = why, time.monotonic()
        self._deadline = min(self._deadline, self._asked_at + self._grace_s)
        return True

    def _loop(self) -> None:
        while True:
            select.select([self._pipe[0]], [], [], _LOOK_S)
            with contextlib.suppress(BlockingIOError):
                arrived = os.read(self._pipe[0], 64)
                if b"\0"[0] in arrived:
                    return
                for number in arrived:
                    self._arrived(number)
            if self.name is None:
                continue
            late = self._abandon is not None and time.monotonic() > self._deadline
            if (self._again or late) and self._settled.acquire(blocking=False):
                self._end()

    def _arrived(self, number: int) -> None:
        if number not in self._before:
            return
        if self._owed and number == signal.SIGTERM:
            self._owed -= 1  # sent by ``stop``
        elif not self._note(signal.Signals(number).name):
            self._again = time.monotonic() - self._asked_at > REPEAT_S

    def _end(self) -> None:
        """Abandons the run and ends the process; a further signal ends it at once."""
        if self._abandon is not None:
            saving = threading.Thread(target=self._abandon, name="jamba_ray-abandon", daemon=True)
            saving.start()
            deadline = time.monotonic() + ABANDON_S
            self._again = False
            while saving.is_alive() and time.monotonic() < deadline and not self._again:
                saving.join(_LOOK_S)
                with contextlib.suppress(BlockingIOError):
                    self._again = any(n in self._before for n in os.read(self._pipe[0], 64))
        os._exit(ExitCode.INTERRUPTED)


@contextlib.contextmanager
def interruptible(
    sentence: str,
    abandoned: Callable[[InterruptedRunError], object],
    *,
    first: Callable[[], object] = lambda: None,
    grace_s: float = GRACE_S,
) -> Iterator[Signals]:
    """Turns a signal, or a call of ``stop``, into an InterruptedRunError.

    Its message is the name of the signal followed by ``sentence``.

    Args:
        sentence: What the signal does, and how to continue.
        abandoned: Called with that error from another thread, where this one does not leave within
            ``grace_s`` seconds; then the process ends.
        first: Called before it.
        grace_s: See ``Signals``.
    """

    def error() -> InterruptedRunError:
        return InterruptedRunError(f"{signals.name} {sentence}")

    def abandon() -> None:
        first()
        abandoned(error())

    signals = Signals(abandon, grace_s=grace_s)
    try:
        with signals:
            yield signals
    except BaseException:
        # Compiled code may turn a signal's exception into another: ask which signal came.
        if signals.name is None:
            raise
        raise error() from None


def say_on_stderr(error: InterruptedRunError) -> None:
    """Prints the error, the least that an abandoned program must report."""
    print(f"error: {error}", file=sys.stderr, flush=True)
