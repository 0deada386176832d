"""The counts of an endpoint: where the time of its calls went, and what they cost.

`sim.figures` defines the figures that `sim.results` makes of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isnan, nan

from cellspec.graph.rowset import RowSet
from sim.endpoints.bill import Bill, BillLine, Cause
from sim.endpoints.plan import EndpointPlan
from sim.endpoints.request import Request

__all__ = ["PARTS", "EndpointCounts", "EndpointOutcome", "parts_s"]

PARTS = ("line", "refused", "queue", "prefill", "decode")
"""Where the time of a call goes: to its first sending, from there until it is accepted, in the
server's line, until its prompt is read, and until its end."""


@dataclass(slots=True)
class EndpointOutcome:
    """What one endpoint came to in a run. Times in seconds.

    Attributes:
        accepted, refused: sendings that it took in, and that it did not.
        lost: calls that an outage took.
        call_s: the integral over time of the calls that were in the server.
        mean_limit: of the throttle over the run; None without one.
        parts_s: by column that has calls here, its calls' time in each of `PARTS`.
        bill: tokens and money by column and cause.
        cost: the money of all.
    """

    name: str
    accepted: int
    refused: int
    lost: int
    call_s: float
    mean_limit: float | None
    parts_s: dict[int, list[float]]
    bill: list[BillLine]
    cost: float


class EndpointCounts:
    """Counts calls as they leave.

    Args:
        endpoint: theirs.
        columns, rows: of the graph.
        crashes: values may be lost and made again.

    Attributes:
        parts_s: as of `EndpointOutcome`.
        bill: so far.
        losses: calls that an outage took.
        may_lose: a crash may lose values that were paid for.
    """

    def __init__(self, endpoint: EndpointPlan, columns: int, rows: int, *, crashes: bool) -> None:
        self.bill = Bill(endpoint.price, columns)
        self.parts_s: dict[int, list[float]] = {}
        self.losses = 0
        self._rows = rows
        self._first = self.bill.sums("first")
        self.may_lose = crashes
        # By column, the nodes that had an answer before, which a crash may lose.
        self._had: dict[int, RowSet] | None = {} if crashes else None

    def ended_well(self, request: Request, column: int, t: float) -> None:
        """A call has its answer, ends, and is paid for the first values of its node."""
        self._add(request, column, t)
        first = self._first
        first.calls[column] += 1
        first.prompt[column] += request.prompt_tokens
        first.output[column] += request.output_tokens

    def answered(self, request: Request, column: int, t: float) -> None:
        """A call has its answer; what it was paid for is known when it ends."""
        self._add(request, column, t)

    def pay(self, request: Request, column: int, place: int, *, gives: bool) -> None:
        """A call that ran ends.

        Args:
            place: its row, the first of its range, or its scope.
            gives: its answer came, is no error, and its row was not dropped meanwhile.
        """
        if not gives:
            self.bill.pay(column, "lost", request.prompt_tokens, request.output_tokens)
            return
        again = False
        if self._had is not None:
            had = self._had.get(column)
            if had is None:
                had = self._had[column] = RowSet(self._rows)
            again = place in had
            had.add(place)
        cause: Cause = "done again" if again else "first"
        self.bill.pay(column, cause, request.prompt_tokens, request.output_tokens)

    def cut_off(self, request: Request, column: int, t: float) -> None:
        """A call ends without an answer, wherever it is."""
        self._add(request, column, t)
        # A call that left the server's line ran, and is paid in full; but not one whose turn came
        # at the very moment at which it was given up.
        if request.served_s < t:
            self.pay(request, column, 0, gives=False)

    def lost(self, request: Request, column: int, t: float) -> None:
        """An outage took a call; it begins again."""
        self.cut_off(request, column, t)
        request.entered_s = t
        request.sent_s = request.first_sent_s = request.accepted_s = nan
        request.served_s = request.decoding_s = nan
        self.losses += 1

    def _add(self, request: Request, column: int, t: float) -> None:
        sums = self.parts_s.get(column)
        if sums is None:
            sums = self.parts_s[column] = [0.0] * len(PARTS)
        sent_s = request.sent_s
        if request.decoding_s == sent_s and not request.refusals:
            # Its answer began when it was sent: most calls of an endpoint that is not full.
            sums[0] += sent_s - request.entered_s
            sums[4] += t - sent_s
            return
        for place, seconds in enumerate(parts_s(request, t)):
            sums[place] += seconds


def parts_s(request: Request, t: float) -> tuple[float, float, float, float, float]:
    """The seconds of a call in each of `PARTS` up to time t. A moment that has not come is nan."""
    first_s = request.sent_s if isnan(request.first_sent_s) else request.first_sent_s
    if isnan(first_s):
        return t - request.entered_s, 0.0, 0.0, 0.0, 0.0
    line_s = first_s - request.entered_s
    moments = (request.accepted_s, request.served_s, request.decoding_s)
    parts, last_s = [line_s], first_s
    for moment in moments:
        if isnan(moment):
            parts.append(t - last_s)
            break
        parts.append(moment - last_s)
        last_s = moment
    else:
        parts.append(t - last_s)
    parts += [0.0] * (len(PARTS) - len(parts))
    return parts[0], parts[1], parts[2], parts[3], parts[4]
