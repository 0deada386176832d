"""One call on its way through an endpoint, and the answer that sends it away."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

__all__ = ["Refusal", "Request"]


@dataclass(eq=False, slots=True)
class Request:
    """One call on its way through an endpoint.

    Attributes:
        call: the driver's own record of the call; nobody here looks into it.
        number, column, place, stop, serial: the driver's too: which call of its node it is, the
            column, the row or scope, the row after the last, and which call of the run.
        prompt_tokens: read before the answer begins.
        output_tokens: of the answer, as it will be.
        reserved_tokens: set aside for the answer: the most that it may have, or `output_tokens`
            if no such number is stated.
        work: what the server has to do for it: `output_tokens` of a ``request`` latency, the
            seconds at speed 1 of any other.
        entered_s: when the call began: it takes its turn at the client.
        sent_s: when it was last sent.
        first_sent_s: when it was first sent, if it was refused since it began, or was lost.
        accepted_s: when the server took it in.
        served_s: when it left the server's line, and its prompt joined those to be read.
        decoding_s: when its prompt had been read, and its answer began.
        refusals: how often it was refused.
        refused_by: what refused it last, as `Refusal.by`.
        timeout_s: how long it may take from when it is sent.
        fails: its answer is an error, which is no success for the client's throttle.
        went_at: the throttle's limit when it was last sent.
        ticket: the number of its last start in the server's shared part; the server's own.
    """

    call: object = None
    prompt_tokens: float = 0.0
    output_tokens: float = 0.0
    reserved_tokens: float = 0.0
    work: float = 0.0
    entered_s: float = math.nan
    sent_s: float = math.nan
    first_sent_s: float = math.nan
    accepted_s: float = math.nan
    served_s: float = math.nan
    decoding_s: float = math.nan
    refusals: int = 0
    timeout_s: float = math.inf
    fails: bool = False
    refused_by: str = field(default="", repr=False)
    number: int = 1
    column: int = 0
    place: int = 0
    stop: int = 0
    serial: int = 0
    went_at: int = field(default=0, repr=False)
    ticket: int = field(default=-1, repr=False)

    @property
    def held_tokens(self) -> float:
        """What it may take of a server's memory, and what a limit on reserved tokens counts."""
        return self.prompt_tokens + self.reserved_tokens


@dataclass(slots=True)
class Refusal:
    """The server did not take a call in.

    Attributes:
        retry_after_s: how many seconds after hearing of it the client is to come back; None if
            the server does not say.
        by: ``"outage"``, ``"queue"`` (it is full), or ``"limit 1"``, ``"limit 2"``, …: the limit
            that lets the call wait longest, by its place in the plan. The client is not told.
    """

    retry_after_s: float | None = None
    by: str = ""
