"""Runs one step of a chain of generators in a thread of its own, so that steps overlap."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from typing import TypeVar

T = TypeVar("T")


@contextmanager
def stage(items: Generator[T]) -> Iterator[Iterator[T]]:
    """Yields an iterator over ``items``, of which a thread computes one while another is used.

    Items keep their order, and what ``items`` raises is raised after the items before it. When the
    block ends, the thread ends with the item that it computes, and closes ``items``. A stage that
    reads from another one is nested in that one's block, so that it ends first.
    """
    found: SimpleQueue[tuple[T] | BaseException | None] = SimpleQueue()
    wanted, stopped = threading.Semaphore(1), threading.Event()

    def work() -> None:
        try:
            while wanted.acquire() and not stopped.is_set():
                found.put((next(items),))
        except StopIteration:
            found.put(None)
        except BaseException as error:
            found.put(error)
        finally:
            items.close()

    def taken() -> Iterator[T]:
        while (one := found.get()) is not None:
            if isinstance(one, BaseException):
                raise one
            wanted.release()
            yield one[0]

    thread = threading.Thread(target=work, name="jamba_ray-stage", daemon=True)
    thread.start()
    try:
        yield taken()
    finally:
        stopped.set()
        wanted.release()
        thread.join()
