"""The exceptions by which a generator names the kind of a failure, so that an engine can react.

An engine cannot guess whether a call is worth repeating; the generator can. It raises one of three
exceptions, which mean the same to every engine of this package and to the conformance suite's own
generators:

==================  ==============================================================  ===============
raised              when                                                            costs
==================  ==============================================================  ===============
`Retryable`         a time-out, a 5xx: the same call may well succeed               one attempt
`BackPressure`      a 429, a full queue: the call is right, and too early           time only
`Permanent`         the same call will fail again                                   the row
==================  ==============================================================  ===============

A `TimeoutError` costs one attempt too: an engine that bounds its calls raises it when a call takes
too long. Any other exception of a generator is read as the engine was told by its argument
`foreign`: as permanent, or as retryable.
"""

from __future__ import annotations

from typing import ClassVar, Literal

__all__ = ["BackPressure", "GeneratorError", "Permanent", "Retryable"]


class GeneratorError(Exception):
    """A failure whose kind the generator knows. Raise one of its subclasses.

    Attributes:
        failure: the kind, as a trace spells it.
    """

    failure: ClassVar[Literal["retryable", "backpressure", "permanent"]] = "permanent"


class Retryable(GeneratorError):  # noqa: N818 - the word that the specification uses
    """The call failed and may be repeated: it spends one attempt of the node's budget (FAIL-01)."""

    failure = "retryable"


class BackPressure(GeneratorError):  # noqa: N818 - the word that the specification uses
    """The call was turned away and must wait, without spending an attempt (FAIL-01, FAIL-03).

    Args:
        message: the answer of the other side.
        retry_after_s: seconds from now before which the call must not be repeated; None leaves
            the wait to the engine.
    """

    failure = "backpressure"

    def __init__(self, message: str = "", *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Permanent(GeneratorError):  # noqa: N818 - the word that the specification uses
    """The call would fail again: its row is dropped (FAIL-02, DROP-01)."""
