"""The steps of calls on their way through an endpoint, as `request` events of a trace."""

from __future__ import annotations

from collections.abc import Mapping
from math import isnan
from typing import Any

from cellspec.trace.format import RequestStep
from sim.endpoints.request import Request
from sim.endpoints.throttle import Throttle
from sim.simulator.recording import Notify

__all__ = ["RequestEvents"]


class RequestEvents:
    """Writes down each step; it is the `sim.endpoints.client.Watch` of a traced run.

    Args:
        notify: receives the events.
        nodes: by call that is under way, the fields that name its node.
        has_tokens: by column, whether its calls have tokens, or seconds of work.
        throttle: of the client, if it has one.
    """

    def __init__(
        self,
        notify: Notify,
        nodes: Mapping[Request, Mapping[str, Any]],
        has_tokens: Mapping[str, bool],
        throttle: Throttle | None,
    ) -> None:
        self._notify, self._nodes, self._has_tokens = notify, nodes, has_tokens
        self._throttle = throttle
        self._limit = None if throttle is None else throttle.limit

    def sent(self, request: Request, t: float) -> None:
        if self._has_tokens[self._nodes[request]["column"]]:
            tokens = request.prompt_tokens, request.output_tokens, request.reserved_tokens
            self._say(request, t, RequestStep("sent", *tokens))
        else:
            self._say(request, t, RequestStep("sent", work=request.work))

    def accepted(self, request: Request, t: float) -> None:
        if isnan(request.served_s):
            self._say(request, t, RequestStep("queued"))

    def turned_away(self, request: Request, t: float) -> None:
        self._say(request, t, RequestStep("turned_away", by=request.refused_by))

    def refused(self, request: Request, retry_after_s: float | None, t: float) -> None:
        self._limit = None if self._throttle is None else self._throttle.limit
        by = request.refused_by
        step = RequestStep("refused", retry_after_s=retry_after_s, limit=self._limit, by=by)
        self._say(request, t, step)

    def lost(self, request: Request, t: float) -> None:
        self._say(request, t, RequestStep("lost"))

    def serving(self, request: Request, t: float) -> None:
        """A call left the server's line."""
        self._say(request, t, RequestStep("serving"))

    def decoding(self, request: Request, t: float) -> None:
        """The prompt of a call was read."""
        self._say(request, t, RequestStep("decoding"))

    def answered(self, request: Request, t: float, *, failed: bool) -> None:
        """A call leaves the client; it is noted if it failed, or changed the throttle's limit."""
        limit = None if self._throttle is None else self._throttle.limit
        if failed or limit != self._limit:
            changed = None if limit == self._limit else limit
            self._limit = limit
            self._say(request, t, RequestStep("answered", limit=changed, failed=failed))

    def begin(self) -> None:
        """The process begins anew."""
        self._limit = None if self._throttle is None else self._throttle.limit

    def _say(self, request: Request, t: float, step: RequestStep) -> None:
        node = self._nodes.get(request)
        # A call that a crash takes at this very moment comes no step further.
        if node is not None:
            self._notify("request", t, **node, request=step)
