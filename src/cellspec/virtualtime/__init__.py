"""Virtual time for asyncio: time passes when nothing else can happen."""

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
    "VirtualTimeError",
    "VirtualTimeLoop",
    "WaitingTask",
    "run",
]
