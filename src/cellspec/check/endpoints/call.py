"""A call on its way through an endpoint, as the events of a trace show it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

__all__ = ["Call", "Key", "Stage"]

Key = tuple[str, int, bool]
"""Column, row or scope, and whether it is a barrier node."""

Stage = Literal["away", "sent", "turned", "line", "prefill", "decode", "over"]
"""Not at the server; sent, with no answer so far; turned away, which its client has not heard; in
the server's line; its prompt is read; it decodes; it has left, and its last value is to come."""


@dataclass(eq=False, slots=True)
class Call:
    """One call.

    Attributes:
        key: its node.
        stop: the row after the last of its range.
        open: so many of its rows have no value so far.
        stage: where it is.
        prompt, output, reserved: its tokens.
        work: what it asks of the shared speed.
        sent_s, joined_s, served_s: when it was sent last, when the server took it in, and when it
            left the line.
        whole, rest: the progress of the endpoint when it began to decode.
        returned: what it reserved and did not use was given back, as it was due to end.
        why: if it was to be refused when it was sent, for what.
        by: what may be said to have refused it.
        due_retry_s: the Retry-After that it was to get then; None for none.
        back_s: it may not be sent again before.
        limit_then: of the throttle, when it was sent.
        out: it counts for the throttle.
    """

    key: Key
    stop: int
    open: int
    stage: Stage = "away"
    prompt: float = 0.0
    output: float = 0.0
    reserved: float = 0.0
    work: float = 0.0
    sent_s: float = math.nan
    joined_s: float = math.nan
    served_s: float = math.nan
    whole: int = 0
    rest: float = 0.0
    returned: bool = False
    why: Literal["", "outage", "queue", "limits"] = ""
    by: tuple[str, ...] = ()
    due_retry_s: float | None = None
    back_s: float = -math.inf
    limit_then: float = 0.0
    out: bool = False

    @property
    def held(self) -> float:
        """What it takes of the endpoint's memory: its prompt, and what its answer may have."""
        return self.prompt + self.reserved

    @property
    def name(self) -> str:
        """The call in a message."""
        column, place, is_scope = self.key
        return f"{column}/{place}" if is_scope else f"{column}[{place}]"
