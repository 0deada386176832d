"""A probe for engines whose workers are processes of their own.

A `Probe` is an object of the process that runs the suite, and cannot travel with a task to another
process. So `ProbeServer` serves it on a port of this machine, and a `RemoteProbe`, an address and a
key, travels with the tasks. It connects at its first call, once for each thread of each process,
and its calls look like those of a probe, but that they block:

>>> with ProbeServer(probe) as server:                                           # doctest: +SKIP
...     submit(make_cell, server.remote, "title", 3, inputs)

A failure leaves a remote call as it leaves the probe's own: `Retryable`, `BackPressure`,
`Permanent`. A crash becomes `Gone`: in a worker `Crash`, which is not an `Exception`, would tear
down a process that belongs to the engine. A probe that is served no longer raises `Gone` too. The
part of a backend that runs beside the probe meets the crash itself, at its next call of the probe;
it may call `ProbeServer.check`.

*A worker that is killed in a call.* Its connection breaks, and the server sees that while the time
of the call passes. The call then ends without an answer (`cellspec.conformance.run.probe.Lost`). It
is recorded as turned away, because it spent no attempt and its result is still wanted. A call that
was complete when its worker died is complete: an engine that makes it again pays for it twice, and
breaks clause SCHED-03.

An adapter whose tasks need more than the probe's calls gives the server functions of its own. They
are called in threads of the server, with ``lost`` as their last argument by name, and a task calls
them with `RemoteProbe.ask`.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from functools import partial
from multiprocessing import AuthenticationError, Pipe
from multiprocessing.connection import Client, Connection, Listener, wait
from types import TracebackType
from typing import Any, Self

from cellspec.conformance.run.probe import Crash, Inputs, Lost, Probe

__all__ = ["Gone", "ProbeServer", "RemoteProbe"]

_KEY_BYTES = 32


class Gone(Exception):  # noqa: N818 - the state of the probe
    """The process that a task works for has crashed, or serves its probe no longer."""


class ProbeServer:
    """Serves a probe to other processes of this machine, until it is closed.

    Args:
        probe: the probe.
        more: functions that are served beside them, or in their place, by name. Each is called as
            ``function(*arguments, lost=…)``, in the thread of its connection; its results and
            errors must be picklable. ``lost()`` is true when the caller has died; pass it to the
            probe's threaded calls.
        host: the address of this machine at which it is served; tasks must be able to reach it.

    Attributes:
        remote: the probe for tasks.
    """

    def __init__(
        self,
        probe: Probe,
        more: Mapping[str, Callable[..., Any]] | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        self._probe = probe
        self._functions: dict[str, Callable[..., Any]] = {
            "cell": probe.cell_sync,
            "barrier": probe.barrier_sync,
            "wants_skip": lambda column, row, lost: probe.wants_skip(column, row),  # noqa: ARG005
            **(more or {}),
        }
        self._crash: Crash | None = None
        key = secrets.token_bytes(_KEY_BYTES)
        self._listener = Listener((host, 0), backlog=64, authkey=key)
        self._closed = threading.Event()
        # Readable for ever once the server is closed: each thread waits for it beside requests.
        self._bell, self._ring = Pipe(duplex=False)
        self._threads: list[threading.Thread] = []
        port = int(self._listener.address[1])
        self.remote = RemoteProbe(host, port, key)
        self._start(self._accept)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def check(self) -> None:
        """Raise the crash that a served call met, if one did.

        Raises:
            Crash: the process is gone.
        """
        if self._crash is not None:
            raise self._crash

    def close(self) -> None:
        """Stop serving: calls of tasks from now on, and those that wait, raise `Gone`.

        Calls in flight are waited for; close the probe before, or let it crash, if they must not
        take their time.
        """
        if self._closed.is_set():
            return
        self._closed.set()
        self._ring.send_bytes(b"x")
        # Only a caller wakes a thread that waits to accept.
        with contextlib.suppress(OSError, EOFError, AuthenticationError):
            self.remote.connect().close()
        for thread in self._threads:
            thread.join()
        self._listener.close()
        self._bell.close()
        self._ring.close()

    # Connections

    def _start(self, run: Callable[..., None], *arguments: Any) -> None:
        thread = threading.Thread(target=run, args=arguments, name="probe-server", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._closed.is_set():
            try:
                connection = self._listener.accept()
            except (OSError, EOFError, AuthenticationError):
                # A caller without the key, or one that leaves meanwhile, is not a worker.
                continue
            if self._closed.is_set():
                connection.close()
            else:
                self._start(self._serve, connection)

    def _serve(self, connection: Connection) -> None:
        """Answer one thread of one worker, request by request."""
        with connection, contextlib.suppress(OSError, EOFError, Lost):
            while self._bell not in wait([connection, self._bell]):
                name, arguments = connection.recv()
                if name == "range":
                    self._stream(connection, arguments)
                else:
                    connection.send(self._answer(partial(self._call, name, arguments, connection)))

    def _call(self, name: str, arguments: Sequence[Any], connection: Connection) -> Any:
        return self._functions[name](*arguments, lost=connection.poll)

    def _stream(self, connection: Connection, arguments: tuple[Any, Any, Any, Any, Any]) -> None:
        """Send the rows of a range one by one, up to the last, or until the worker has enough."""
        stopped = False

        def lost() -> bool:
            nonlocal stopped
            try:
                # A worker that speaks before it has all rows has enough.
                stopped = stopped or (connection.poll() and bool(connection.recv()))
            except (EOFError, OSError):
                return True
            return False

        rows = self._probe.range_sync(*arguments, lost=lost)
        while True:
            answer = self._answer(lambda: next(rows, None))
            ended = answer[0] == "error" or answer[1] is None
            if not lost() and stopped and not ended:
                rows.close()
                answer, ended = ("value", None), True
            connection.send(answer)
            if ended:
                return

    def _answer(self, call: Callable[[], Any]) -> tuple[str, Any]:
        try:
            return "value", call()
        except Lost:
            raise
        except Crash as crash:
            self._crash = self._crash or crash
            return "error", Gone(str(crash))
        except Exception as error:
            return "error", error


class RemoteProbe:
    """The probe's calls, for a task in another process; see `cellspec.engines.remote`.

    It is picklable, and equal copies share their connections.

    Args:
        host: where the probe is served.
        port: on which port.
        key: the key of the server.
    """

    def __init__(self, host: str, port: int, key: bytes) -> None:
        self._host = host
        self._port = port
        self._key = key

    def cell(self, column: str, row: int, inputs: Inputs, attempt: int | None = None) -> str:
        """`Probe.cell_sync`.

        Raises:
            Gone: the process of the probe crashed, or serves it no longer.
            GeneratorError, AdapterError: as the probe.
        """
        value: str = self.ask("cell", column, row, inputs, attempt)
        return value

    def barrier(
        self,
        column: str,
        scope: int,
        rows: Sequence[int],
        inputs: Sequence[Inputs],
        attempt: int | None = None,
    ) -> list[str]:
        """`Probe.barrier_sync`.

        Raises:
            Gone, GeneratorError, AdapterError: as `cell`.
        """
        values: list[str] = self.ask("barrier", column, scope, rows, inputs, attempt)
        return values

    def range(
        self,
        column: str,
        start: int,
        stop: int,
        inputs: Sequence[Inputs],
        attempt: int | None = None,
    ) -> Generator[tuple[int, str], None, None]:
        """`Probe.range_sync`: (row, value), each as it is ready.

        Raises:
            Gone, GeneratorError, AdapterError: as `cell`.
        """
        connection = self._mine()
        ended = False
        try:
            self._send(connection, ("range", (column, start, stop, inputs, attempt)))
            while True:
                try:
                    item = self._receive(connection)
                except Exception:
                    ended = True
                    raise
                if item is None:
                    ended = True
                    return
                yield item
        finally:
            if not ended:
                with contextlib.suppress(Exception):
                    self._send(connection, "enough")
                    while self._receive(connection) is not None:
                        pass

    def wants_skip(self, column: str, row: int) -> bool:
        """`Probe.wants_skip`.

        Raises:
            Gone, AdapterError: as `cell`.
        """
        wanted: bool = self.ask("wants_skip", column, row)
        return wanted

    def ask(self, name: str, *arguments: Any) -> Any:
        """Call the function that the server has under a name; its result.

        Raises:
            Gone: the process of the probe crashed, or serves it no longer.
            Exception: any error of the function.
        """
        connection = self._mine()
        self._send(connection, (name, arguments))
        return self._receive(connection)

    # Connections

    def connect(self) -> Connection:
        """A connection of one's own; close it."""
        return Client((self._host, self._port), authkey=self._key)

    def _mine(self) -> Connection:
        """The connection of this thread in this process, made at the first call."""
        mine = _connections.made
        place = (os.getpid(), self._host, self._port, self._key)
        if place not in mine:
            _close_dead(mine)
            try:
                mine[place] = self.connect()
            except (OSError, EOFError, AuthenticationError) as error:
                raise Gone(f"the probe is not served any more: {error}") from None
        return mine[place]

    def _send(self, connection: Connection, request: Any) -> None:
        try:
            connection.send(request)
        except OSError:
            self._forget(connection)
            raise Gone("the probe is not served any more") from None

    def _receive(self, connection: Connection) -> Any:
        try:
            kind, value = connection.recv()
        except (OSError, EOFError):
            self._forget(connection)
            raise Gone("the probe is not served any more") from None
        if kind == "error":
            raise value
        return value

    def _forget(self, connection: Connection) -> None:
        mine = _connections.made
        for place in [place for place, kept in mine.items() if kept is connection]:
            del mine[place]
        connection.close()


class _Connections(threading.local):
    """The connections of each thread, by process and by address."""

    def __init__(self) -> None:
        self.made: dict[tuple[int, str, int, bytes], Connection] = {}


_connections = _Connections()


def _close_dead(mine: dict[tuple[int, str, int, bytes], Connection]) -> None:
    """Close connections to closed servers; forget those that another process opened."""
    for place, connection in list(mine.items()):
        with contextlib.suppress(OSError):
            if place[0] == os.getpid() and not connection.poll():
                continue
            if place[0] == os.getpid():
                connection.close()
        del mine[place]
