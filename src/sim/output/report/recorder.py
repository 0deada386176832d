"""The recorder of a report: follows the events of a run, and keeps what its charts show.

It is a stream. Calls and rows are followed by `cellspec.check.timeline.ChromeWriter`, which draws
the same run for Perfetto; calls on their way through an endpoint are followed here. What is kept
does not grow with the run: values over time in bins (`sim.output.report.series`), and each call by
itself only while there are few of them.

Times of calls and rows are whole microseconds, as in that picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from cellspec.check.timeline import ChromeWriter
from cellspec.trace import Event, Header
from cellspec.trace.format import RequestStep
from sim.output.report.series import Bins, Steps, Thinned

__all__ = ["MOST_CALLS", "NO_RESOURCE", "EndpointRecord", "ResourceRecord", "RunRecorder"]

NO_RESOURCE: Final = "no resource"
"""The name of the columns that take none, as the timeline calls them."""

MOST_CALLS: Final = 3_000
"""Up to so many calls of a run are drawn one by one."""

_SECOND_US = 1e6


class ResourceRecord:
    """The calls of one resource.

    Attributes:
        name: of the resource.
        limit: places; None if that is unlimited.
        lanes: the most calls at once.
        calls: of each its lane, start and end in seconds, column, and how it ended; None if the run
            has too many.
        busy: by column, places that its calls take, over time.
    """

    def __init__(self, name: str, limit: int | None, columns: list[str]) -> None:
        self.name = name
        self.limit = limit
        self.lanes = 0
        self.calls: list[tuple[int, float, float, str, str]] | None = []
        self.busy = {column: Bins() for column in columns}

    @property
    def busy_s(self) -> float:
        """Seconds of its places."""
        return sum(bins.total() for bins in self.busy.values())


class EndpointRecord:
    """The calls at one endpoint, and the limit of its client.

    Attributes:
        inside: calls that the endpoint has taken in.
        limit: how many calls may be out.
        refusals: over time.
        sent, refused: how many calls were sent, and refused.
    """

    def __init__(self, limit: int | None) -> None:
        self.first_limit = limit
        self.inside = Steps()
        self.limit = None if limit is None else Steps(limit)
        self.refusals = Bins()
        self.sent = self.refused = 0
        # Of each call at the endpoint whether it was sent, or is inside; by column, rows and scope.
        self._calls: dict[tuple[str, Any, Any], str] = {}
        # Those of them that make several rows, so that the end of a row need not look at all.
        self._ranges: dict[tuple[str, Any, Any], None] = {}

    def step(self, key: tuple[str, Any, Any], step: RequestStep, t_s: float) -> None:
        """A call comes a step further."""
        kind, before = step.step, self._calls.get(key)
        if kind == "sent":
            self.sent += 1
            self._calls[key] = "sent"
            if not isinstance(key[1], int | None):
                self._ranges[key] = None
        elif kind in ("queued", "serving") and before == "sent":
            self._calls[key] = "inside"
            self.inside.add(t_s, 1)
        elif kind in ("turned_away", "refused") and before == "sent":
            self.refused += 1
            self.refusals.count(t_s)
            del self._calls[key]
            self._ranges.pop(key, None)
        elif kind in ("lost", "answered"):
            self.over(key, t_s)
        if step.limit is not None and self.limit is not None:
            self.limit.set(t_s, step.limit)

    def over(self, key: tuple[str, Any, Any], t_s: float) -> None:
        """A call leaves the endpoint, if it is there."""
        self._ranges.pop(key, None)
        if self._calls.pop(key, None) == "inside":
            self.inside.add(t_s, -1)

    def begin(self, t_s: float) -> None:
        """The process begins anew: nothing is out, and the client has forgotten what it learnt."""
        self._calls.clear()
        self._ranges.clear()
        self.inside.set(t_s, 0)
        if self.limit is not None and self.first_limit is not None:
            self.limit.set(t_s, self.first_limit)

    def range_with(self, column: str, row: int) -> tuple[str, Any, Any] | None:
        """The call of a range that holds a row of a column; None if there is none."""
        for key in self._ranges:
            if key[0] == column and key[1][0] <= row < key[1][1]:
                return key
        return None


class RunRecorder:
    """Keeps what the charts of one run show; `add` is called with each of its events.

    Args:
        header: of the run's trace.
        limits: by resource with a throttle, how many calls may be out at the start.

    Attributes:
        name: of the pipeline.
        rows: of the run.
        resources: in the order of the scenario, and last what takes none.
        endpoints: by resource.
        complete, dropped, in_progress: rows over time.
        checkpoints, crashes: when they came.
    """

    def __init__(self, header: Header, limits: Mapping[str, int] | None = None) -> None:
        self.rows = header.graph.rows
        takes = header.limits.column_resource
        places = {name: dict(each) for name, each in (header.places or {}).items()}
        self._takes: dict[str, dict[str, int]] = {}
        for column in header.graph.columns:
            main = takes.get(column.name, NO_RESOURCE)
            self._takes[column.name] = places.get(column.name, {main: 1})
        self.resources = []
        for name in (*header.limits.resources, NO_RESOURCE):
            columns = [column for column, taken in self._takes.items() if name in taken]
            limit = header.limits.resources.get(name)
            self.resources.append(ResourceRecord(name, limit, columns))
        self._by_name = {one.name: one for one in self.resources}
        behind = dict.fromkeys([*(header.endpoints or {}), *(limits or {})])
        self.endpoints = {name: EndpointRecord((limits or {}).get(name)) for name in behind}
        self._endpoint_of = {
            column: self.endpoints[name] for column, name in takes.items() if name in self.endpoints
        }
        self.complete, self.dropped, self.in_progress = Steps(), Steps(), Steps()
        self.checkpoints, self.crashes = Thinned(), Thinned()
        self._calls = self._events = 0
        self._picture = ChromeWriter(header, self._draw)

    @property
    def calls(self) -> int:
        """How many calls have ended."""
        return self._calls

    def add(self, event: Any, t: float, **fields: Any) -> None:
        """Take the next event, as `cellspec.trace.TraceWriter.add` does."""
        self._events += 1
        made = Event(self._events, t, event, **fields)
        if event == "request":
            self._request(made)
            return
        if self._endpoint_of:
            self._leave(made)
        self._picture.add(made)

    def close(self) -> None:
        """The run is over."""
        self._picture.close()

    # Endpoints

    def _request(self, event: Event) -> None:
        assert event.column is not None
        assert event.request is not None
        endpoint = self._endpoint_of.get(event.column)
        if endpoint is not None:
            endpoint.step((event.column, event.rows, event.scope), event.request, event.t)

    def _leave(self, event: Event) -> None:
        """An event that ends a call takes it from its endpoint."""
        if event.event in ("crash", "resume"):
            for endpoint in self.endpoints.values():
                endpoint.begin(event.t)
        elif event.event in ("complete", "fail", "cancel") and event.column in self._endpoint_of:
            endpoint, rows = self._endpoint_of[event.column], event.rows
            key = (event.column, rows, event.scope)
            last = rows if isinstance(rows, int) else None if rows is None else rows[1] - 1
            if last is not None:
                whole = endpoint.range_with(event.column, last)
                is_last = whole is not None and last == whole[1][1] - 1
                if whole is not None and (is_last or event.event != "complete"):
                    key = whole
            endpoint.over(key, event.t)

    # Calls and rows

    def _draw(self, picture: dict[str, Any]) -> None:
        """Take an event of the picture: a slice, an instant or a counter."""
        phase = picture["ph"]
        if phase == "X":
            self._slice(picture)
        elif phase == "C" and picture["name"] == "rows":
            at_s, rows = picture["ts"] / _SECOND_US, picture["args"]
            self.complete.set(at_s, rows["complete"])
            self.dropped.set(at_s, rows["dropped"])
            self.in_progress.set(at_s, rows["in progress"])
        elif phase == "i" and picture["cat"] == "crash":
            if picture["args"].get("reason") == "start_from":
                self._forget()
            else:
                self.crashes.add(picture["ts"] / _SECOND_US)

    def _forget(self) -> None:
        """The process before the run is over, which made the checkpoint that it starts from."""
        self._calls, self.checkpoints = 0, Thinned()
        for resource in self.resources:
            resource.calls, resource.lanes = [], 0

    def _slice(self, picture: dict[str, Any]) -> None:
        start_s = picture["ts"] / _SECOND_US
        stop_s = (picture["ts"] + picture["dur"]) / _SECOND_US
        if picture["name"] == "checkpoint" and picture["pid"] == 0:
            if picture["cat"] == "durable":
                self.checkpoints.add(stop_s)
            return
        column = picture["args"]["column"]
        self._calls += 1
        for name, places in self._takes[column].items():
            self._by_name[name].busy[column].add(start_s, stop_s, places)
        record = self.resources[picture["pid"] - 1]
        record.lanes = max(record.lanes, picture["tid"])
        if self._calls > MOST_CALLS:
            for one in self.resources:
                one.calls = None
        elif record.calls is not None:
            call = (picture["tid"] - 1, start_s, stop_s, column, picture["cat"])
            record.calls.append(call)
