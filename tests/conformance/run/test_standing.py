"""Where threads stand: the line of the engine's code, past the libraries that it waits in."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from cellspec.conformance.run import standing
from cellspec.conformance.run.standing import threads_waiting


@pytest.fixture
def others() -> list[int | None]:
    return [thread.ident for thread in threading.enumerate()]


class Lock:
    """A lock that another thread has; `wait` waits for it in the library `threading`."""

    def __init__(self) -> None:
        self.inside = threading.Semaphore(0)
        self.begins = threading.Event()

    def wait(self) -> None:
        self.begins.set()
        self.inside.acquire()


def waiting(lock: Lock, but: list[int | None]) -> list[str]:
    """The lines of threads, once the one that takes this lock waits for it."""
    assert lock.begins.wait(60)
    while "acquire" not in "".join(found := threads_waiting(but)):
        pass
    return found


def test_a_thread_that_waits_is_named_with_its_line_and_what_it_waits_for(
    others: list[int | None],
) -> None:
    lock = Lock()
    thread = threading.Thread(target=lock.wait, name="worker")
    thread.start()
    (line,) = waiting(lock, others)
    lock.inside.release()
    thread.join()
    assert line.startswith("worker in Lock.wait (run/test_standing.py:")
    assert line.endswith(") waits for threading's Semaphore.acquire")
    assert threads_waiting(others) == []


def test_of_many_threads_the_first_are_named_and_the_others_counted(
    others: list[int | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standing, "_LISTED_THREADS_MAX", 1)
    locks = [Lock() for _ in range(3)]
    run: list[Callable[[], None]] = [lock.wait for lock in locks]
    threads = [threading.Thread(target=each) for each in run]
    for thread, lock in zip(threads, locks, strict=True):
        thread.start()
        lock.begins.wait(60)
    found = threads_waiting(others)
    for lock in locks:
        lock.inside.release()
    for thread in threads:
        thread.join()
    assert (len(found), found[-1]) == (2, "and 2 more")
