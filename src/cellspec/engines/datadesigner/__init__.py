"""DataDesigner (NeMo DataDesigner) as an engine of the conformance suite.

Two backends, for every release from 0.5.4 on:

- `SchedulerBackend` drives its scheduler directly, and so reaches every option of it;
- `CreateBackend` uses its public entry point, ``DataDesigner.create``, with crashes and resumes.

DataDesigner comes with the extra ``cellspec[datadesigner]``, and is imported when a backend is
made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cellspec.engines.datadesigner.create import CreateBackend
    from cellspec.engines.datadesigner.scheduler import SchedulerBackend

__all__ = ["CreateBackend", "SchedulerBackend"]


def __getattr__(name: str) -> Any:
    if name == "SchedulerBackend":
        from cellspec.engines.datadesigner.scheduler import SchedulerBackend

        return SchedulerBackend
    if name == "CreateBackend":
        from cellspec.engines.datadesigner.create import CreateBackend

        return CreateBackend
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
