"""The charts of one run: its resources and rows over time, its endpoints, and where time went."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from cellspec.text import counted
from sim.output.report.charts import (
    MOST_SERIES,
    Band,
    Chart,
    Colour,
    Layer,
    Level,
    Line,
    Marks,
    Spans,
    colour_of,
)
from sim.output.report.recorder import (
    NO_RESOURCE,
    EndpointRecord,
    ResourceRecord,
    RunRecorder,
)
from sim.output.report.scale import ROOM_BESIDE_WORDS, Axis, lanes, linear, number, over_time
from sim.output.report.series import Steps
from sim.output.result_table import decimals, printable
from sim.results import BindingFigures, Result

__all__ = ["charts_of_parts", "charts_over_time"]

MOST_LANES = 40
"""Up to so many places have a lane each."""

MOST_ON_A_LANE = 120
"""Up to so many calls on each are drawn one by one; narrower bars would hide each other."""

_LEAST_SHARE = 0.01
"""What takes no resource is drawn if it is at least this share of all busy time."""

_JOINED = 4
"""So many bins make one of a stack of bands, whose steps would hide each other."""

_OTHERS = "other columns"
_ROOM_FOR_WORDS = 1.3

_UNFINISHED = "failed, cancelled or lost"


def charts_over_time(result: Result, record: RunRecorder, key: str = "") -> list[Chart]:
    """What the run did when.

    Args:
        result: its figures.
        record: its recorder, closed.
        key: before the key of each chart, so that the runs of one page differ.
    """
    end_s = result.makespan_s
    time = over_time(end_s)
    charts = []
    for place, resource in enumerate(_worth_drawing(record)):
        name = f"{key}resource-{place + 1}"
        if _is_exact(resource):
            charts.append(_lanes(name, resource, record, time))
        else:
            charts.append(_places(name, resource, record, time))
    charts.append(_rows(f"{key}rows", record, time))
    for place, (name, endpoint) in enumerate(record.endpoints.items()):
        resource = next(one for one in record.resources if one.name == name)
        where = f"{key}endpoint-{place + 1}"
        charts.append(_endpoint(where, name, endpoint, resource, record, time))
        if endpoint.refused:
            charts.append(_refusals(where, name, endpoint, record, time))
    return charts


def charts_of_parts(result: Result, key: str = "") -> list[Chart]:
    """Where the time of a row, the makespan and the money went."""
    charts = []
    parts = sorted(result.row_time, key=lambda part: -(part.mean_s or 0.0))
    if parts and result.row_age_mean_s is not None:
        means = [part.mean_s or 0.0 for part in parts]
        said = [f"{word} s" for word in decimals(means)]
        about = "Mean seconds of a delivered row in each part, from its first start to its last end"
        charts.append(
            _bars(
                f"{key}row-time",
                "Where a row's time goes",
                f"{about}; together the parts are its mean age.",
                [part.part for part in parts],
                means,
                said,
                "mean of a row, s",
                says=_largest("of a row's time", parts[0].part, means, said[0]),
            )
        )
    shares = [one for one in result.binding or () if one.share is not None]
    if shares:
        values = [100 * (one.share or 0.0) for one in shares]
        charts.append(
            _bars(
                f"{key}binding",
                "What held the run up",
                "The share of the makespan in which each of these was what the run waited for.",
                [printable(one.binding) for one in shares],
                values,
                [f"{value:.3g} %" for value in values],
                "share of the makespan, %",
                100.0,
                says=_longest(shares),
            )
        )
    if result.cost:
        charts.append(_bill(f"{key}bill", result))
    return charts


def _largest(whole: str, name: str, values: Sequence[float], said: str) -> str:
    share = 100 * values[0] / sum(values) if sum(values) else 0.0
    return f"The largest part {whole} is {printable(name)}: {said}, or {share:.3g} %."


def _longest(shares: Sequence[BindingFigures]) -> str:
    longest = max(shares, key=lambda one: one.share or 0.0)
    share = 100 * (longest.share or 0.0)
    return f"The run waited longest for {printable(longest.binding)}: {share:.3g} % of it."


# Resources


def _worth_drawing(record: RunRecorder) -> Iterator[ResourceRecord]:
    busy_s = sum(one.busy_s for one in record.resources)
    for one in record.resources:
        least = 0.0 if one.name != NO_RESOURCE or _is_exact(one) else _LEAST_SHARE * busy_s
        if one.busy_s > least:
            yield one


def _is_exact(resource: ResourceRecord) -> bool:
    """Whether each call of a resource is drawn."""
    return (
        resource.calls is not None
        and resource.lanes <= MOST_LANES
        and len(resource.calls) <= MOST_ON_A_LANE * resource.lanes
    )


def _title(what: str, name: str) -> str:
    return f"{what} without a resource" if name == NO_RESOURCE else f"{what}: {printable(name)}"


def _colours(resource: ResourceRecord) -> dict[str, tuple[str, Colour]]:
    """Of each column that was busy its name in the legend, and its colour."""
    busy = [column for column, bins in resource.busy.items() if bins.total() > 0]
    found: dict[str, tuple[str, Colour]] = {}
    for place, column in enumerate(busy):
        last = place >= MOST_SERIES and len(busy) > MOST_SERIES
        found[column] = (_OTHERS if last else printable(column), colour_of(place))
    return found


def _lanes(key: str, resource: ResourceRecord, record: RunRecorder, time: Axis) -> Chart:
    """Each call, on the lane of its place."""
    colours = _colours(resource)
    layers: list[Layer] = []
    calls = resource.calls or []
    for column, (name, colour) in colours.items():
        drawn = tuple(
            (lane, start, stop)
            for lane, start, stop, of, how in calls
            if of == column and stop > start and how == "complete"
        )
        if drawn:
            layers.append(Spans(drawn, name, colour))
    lost = tuple(
        (lane, start, stop)
        for lane, start, stop, _, how in calls
        if how != "complete" and stop > start
    )
    if lost:
        layers.append(Spans(lost, _UNFINISHED, "crash"))
    count = resource.lanes
    every = 1 if count <= 10 else 5
    words = [str(k) if k % every == 0 or k == 1 else "" for k in range(1, count + 1)]
    each = 18 if count <= 8 else 13 if count <= 20 else 9
    limit = "" if resource.limit is None else f" of {resource.limit:,}"
    instant = sum(stop <= start for _, start, stop, _, _ in calls)
    about = f"{counted(len(calls), 'call')} on {count:,}{limit} places, one bar each"
    about += f"; {instant:,} of them took no time and are not seen." if instant else "."
    return Chart(
        key,
        _title("Calls", resource.name),
        about,
        time,
        lanes(words, "place"),
        (*layers, *_crashes(record)),
        notes=(about,),
        says=_use(resource, time.high),
        down=True,
        height=94 + each * count,
    )


def _places(key: str, resource: ResourceRecord, record: RunRecorder, time: Axis) -> Chart:
    """Places in use over time, a band for each column on top of the one before."""
    end_s = time.high
    stacked: dict[tuple[str, Colour], list[float]] = {}
    starts: list[float] = []
    for column, look in _colours(resource).items():
        rates = resource.busy[column].rates(end_s, _JOINED)
        starts = [start for start, _ in rates]
        before = stacked.setdefault(look, [0.0] * len(rates))
        stacked[look] = [x + rate for x, (_, rate) in zip(before, rates, strict=True)]
    layers: list[Layer] = []
    foot = [0.0] * len(starts)
    for (name, colour), values in stacked.items():
        top = [low + value for low, value in zip(foot, values, strict=True)]
        points = tuple(zip(starts, foot, top, strict=True))
        layers.append(Band(points, name, colour, stepped=True, solid=True))
        foot = top
    peak = max(foot, default=0.0)
    shown = [peak]
    width_s = _JOINED * _width_s(resource)
    notes = [f"Means over {number(width_s)} s. {_many(resource, record)}"]
    if len(stacked) > 1:
        notes.append(f"From the foot up: {', '.join(name for name, _ in stacked)}.")
    if resource.limit is not None:
        if resource.limit <= 3 * peak:
            layers.append(Level(resource.limit, "limit", "limit"))
            shown.append(resource.limit)
        else:
            notes.append(f"The limit of {resource.limit:,} is far above.")
    return Chart(
        key,
        _title("Places in use", resource.name),
        f"Places in use over time, by column; at most {number(peak)} in the mean of a bin.",
        time,
        linear("places in use", shown),
        (*layers, *_crashes(record)),
        notes=tuple(notes),
        says=_use(resource, end_s),
    )


def _use(resource: ResourceRecord, end_s: float) -> list[str]:
    """How many places were in use in the mean of the run."""
    mean = resource.busy_s / end_s
    limit = resource.limit
    of_limit = f" of {limit:,} places ({100 * mean / limit:.3g} %)" if limit else " places"
    return [f"{mean:.3g}{of_limit} were in use in the mean of the run."]


def _many(resource: ResourceRecord, record: RunRecorder) -> str:
    if resource.lanes > MOST_LANES:
        return f"{counted(resource.lanes, 'place')}: too many for a lane each."
    return f"The run has {counted(record.calls, 'call')}: too many to draw each."


def _crashes(record: RunRecorder) -> list[Layer]:
    found = record.crashes
    return [Marks(found.places, _marked("crash", found.every), "crash")] if found.count else []


def _marked(what: str, every: int) -> str:
    return what if every == 1 else f"{what} (1 in {every:,})"


# Rows


def _rows(key: str, record: RunRecorder, time: Axis) -> Chart:
    end_s = time.high
    lines = [
        (record.complete, "complete", 2),
        (record.in_progress, "in progress", 0),
        (record.dropped, "dropped", 1),
    ]
    layers: list[Layer] = []
    highest = 0.0
    for steps, name, colour in lines:
        points = steps.points(end_s)
        if name != "dropped" or any(value for _, value in points):
            dotted = name != "complete"
            layers.append(Line(points, name, colour, stepped=True, dotted=dotted))
            highest = max(highest, *(value for _, value in points))
    saved = record.checkpoints
    if saved.count:
        name = _marked("checkpoint durable", saved.every)
        layers.append(Marks(saved.places, name, "checkpoint", full=False))
    said = [counted(saved.count, "checkpoint"), counted(record.crashes.count, "crash", "crashes")]
    notes = [
        "A row is in progress from its first call to its end.",
        *_binned(step for step, _, _ in lines),
    ]
    return Chart(
        key,
        "Rows",
        f"Rows complete and in progress over time, of {record.rows:,}; {', '.join(said)}.",
        time,
        linear("rows", [highest], whole=True),
        (*layers, *_crashes(record)),
        notes=tuple(notes),
        says=_row_words(record, said),
    )


def _row_words(record: RunRecorder, said: Sequence[str]) -> list[str]:
    complete, dropped = record.complete.value, record.dropped.value
    gone = f", {dropped:,.0f} dropped" if dropped else ""
    return [f"{complete:,.0f} of {counted(record.rows, 'row')} complete{gone}; {', '.join(said)}."]


def _binned(all_steps: Iterator[Steps]) -> list[str]:
    widths = {steps.bins.width_s for steps in all_steps if not steps.is_exact}
    return [f"Means over {number(max(widths))} s."] if widths else []


# Endpoints


def _endpoint(
    key: str,
    name: str,
    endpoint: EndpointRecord,
    resource: ResourceRecord,
    record: RunRecorder,
    time: Axis,
) -> Chart:
    end_s = time.high
    inside = endpoint.inside.points(end_s)
    rates = [bins.rates(end_s) for bins in resource.busy.values()]
    out = tuple(
        (points[0][0], 0.0, sum(value for _, value in points))
        for points in zip(*rates, strict=True)
    )
    layers: list[Layer] = [
        Band(out, "in flight at the client", "quiet", stepped=True),
        Line(inside, "taken in by the endpoint", 0, stepped=True),
    ]
    shown = [*(value for _, _, value in out), *(value for _, value in inside)]
    lines = [endpoint.inside]
    if endpoint.limit is not None:
        limit = endpoint.limit.points(end_s)
        layers.append(Line(limit, "limit of the throttle", "limit", stepped=True, dashed=True))
        shown += [value for _, value in limit]
        lines.append(endpoint.limit)
    elif resource.limit is not None and resource.limit <= 3 * max(shown):
        layers.append(Level(resource.limit, "limit of the client", "limit"))
        shown.append(resource.limit)
    exact = all(line.is_exact for line in lines)
    which = "Calls in flight at the client are means" if exact else "Means"
    return Chart(
        key,
        f"Calls at the endpoint: {printable(name)}",
        f"Calls in flight over time; {endpoint.sent:,} were sent, {endpoint.refused:,} refused.",
        time,
        linear("calls", shown, whole=True),
        (*layers, *_crashes(record)),
        says=_inside_words(endpoint, resource, end_s),
        notes=(f"{which} over {number(_width_s(resource))} s.",),
    )


def _inside_words(endpoint: EndpointRecord, resource: ResourceRecord, end_s: float) -> list[str]:
    out, inside = resource.busy_s / end_s, endpoint.inside.mean(end_s)
    limit = endpoint.limit
    below = "" if limit is None else f", under a limit of {limit.mean(end_s):.3g}"
    return [
        f"In the mean of the run {out:.3g} calls were in flight at the client{below}, and "
        f"{inside:.3g} were inside the endpoint."
    ]


def _width_s(resource: ResourceRecord) -> float:
    return next(iter(resource.busy.values())).width_s


def _refusals(
    key: str, name: str, endpoint: EndpointRecord, record: RunRecorder, time: Axis
) -> Chart:
    rates = endpoint.refusals.rates(time.high)
    area = tuple((start, 0.0, rate) for start, rate in rates)
    share = f"{endpoint.refused:,} of {counted(endpoint.sent, 'call')} sent were refused"
    return Chart(
        f"{key}-refusals",
        f"Refusals: {printable(name)}",
        f"Refused calls per second over time; {share}.",
        time,
        linear("refused calls per second", [rate for _, rate in rates]),
        (Band(area, "refused", 1, stepped=True, solid=True), *_crashes(record)),
        notes=(f"Means over {number(endpoint.refusals.width_s)} s.",),
        says=[f"{share}: {100 * endpoint.refused / max(1, endpoint.sent):.3g} %."],
        height=220,
    )


# Parts of a whole


def _bars(
    key: str,
    title: str,
    about: str,
    names: Sequence[str],
    values: Sequence[float],
    said: Sequence[str],
    label: str,
    whole: float = 0.0,
    *,
    says: str,
) -> Chart:
    """A bar for each part, with its value behind it; the axis has ticks up to the whole."""
    items = tuple((place, 0.0, value) for place, value in enumerate(values))
    axis = linear(label, [*values, whole], room=ROOM_BESIDE_WORDS)
    # So that the words behind the longest bar have room.
    axis = replace(axis, high=max(axis.high, _ROOM_FOR_WORDS * max(values, default=0.0)))
    spans = Spans(items, "", 0, tuple(said))
    return Chart(
        key,
        title,
        about,
        axis,
        lanes(names),
        (spans,),
        notes=(about,),
        says=[says],
        down=True,
        height=94 + 26 * len(names),
    )


def _bill(key: str, result: Result) -> Chart:
    """Money by column, divided by what it was paid for."""
    columns = list(dict.fromkeys(item.column for item in result.bill if item.cost))
    layers = []
    ends = dict.fromkeys(columns, 0.0)
    for cause, colour in (("first", 0), ("done again", 1), ("lost", "crash")):
        items = []
        for item in result.bill:
            if item.cause == cause and item.cost:
                start = ends[item.column]
                ends[item.column] = start + item.cost
                items.append((columns.index(item.column), start, ends[item.column]))
        if items:
            layers.append(Spans(tuple(items), cause, colour))
    about = f"What the calls of each column cost; {result.cost:.6g} in all."
    return Chart(
        key,
        "Cost",
        about,
        linear("cost, money of the scenario", list(ends.values()), room=ROOM_BESIDE_WORDS),
        lanes([printable(column) for column in columns]),
        tuple(layers),
        says=[about],
        down=True,
        height=94 + 26 * len(columns),
    )
