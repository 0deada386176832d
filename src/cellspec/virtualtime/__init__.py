"""Virtual time for asyncio: the clock jumps when all that is ready has run."""

from cellspec.virtualtime.blocking import RealTimeWarning, blocking_calls
from cellspec.virtualtime.loop import (
    Abandoned,
    Deadlock,
    Livelock,
    LoopOptions,
    RealTimeError,
    VirtualTimeError,
    VirtualTimeLoop,
    WaitingTask,
    run,
)

__all__ = [
    "Abandoned",
    "Deadlock",
    "Livelock",
    "LoopOptions",
    "RealTimeError",
    "RealTimeWarning",
    "VirtualTimeError",
    "VirtualTimeLoop",
    "WaitingTask",
    "blocking_calls",
    "run",
]
