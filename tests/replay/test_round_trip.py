"""A workload is recovered from its trace: the same engine then writes the same trace again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from cellspec import ColumnDescriptor
from cellspec.conformance import Backend, Workload, run_workload
from cellspec.conformance.campaign.choices import SeededChoices
from cellspec.conformance.campaign.generator.size import SMALL
from cellspec.conformance.campaign.generator.workload import workload
from cellspec.conformance.run.workload import StorageFault
from cellspec.engines.reference import ReferenceBackend
from cellspec.replay.mishap_steps import MishapSearch, mishaps_of
from cellspec.replay.rerun import replay
from cellspec.replay.source import Steps, read_source
from cellspec.replay.workload_of import unsaid, workload_of
from tests.conformance.second_engine import ColumnFirst

TWO = Workload(
    (ColumnDescriptor("a"), ColumnDescriptor("b", dependencies=["a"])),
    rows=3,
    checkpoint_every_rows=1,
)
BESIDE = ("batch_barriers", "drops", "interrupts", "resume", "retries", "storage_steps", "targets")


def claims_fail(work: Workload) -> Workload:
    """Storage is slow, and the claims alone fail that the workload names, if not for ever."""
    faults = [fault for fault in work.storage_faults if fault.write == "claim" and not fault.lasts]
    return work.replace(storage_s=0.25, storage_faults=faults or [StorageFault("claim")])


def traced(engine: Backend, work: Workload, path: Path) -> Steps:
    assert run_workload(engine, work, trace=path).violations == []
    steps = read_source(str(path))
    assert isinstance(steps, Steps)
    return steps


DRAWN: dict[str, tuple[Backend, Callable[[Workload], Workload]]] = {
    "resume": (ReferenceBackend(), lambda work: work),
    "interrupts": (ReferenceBackend(), lambda work: work),
    "lost_workers": (ColumnFirst(), lambda work: work.replace(checkpoint_every_rows=1)),
    "storage_faults": (ReferenceBackend(), claims_fail),
}
KIND = {
    "resume": "crash",
    "interrupts": "stop_requested",
    "lost_workers": "worker_lost",
    "storage_faults": "checkpoint_failed",
}


@pytest.mark.parametrize("profile", DRAWN)
def test_an_engine_writes_the_trace_from_which_its_workload_was_recovered(
    profile: str, tmp_path: Path
) -> None:
    engine, changed = DRAWN[profile]
    size = replace(SMALL, rows=(1, 4))
    seen = 0
    for example in range(2, 7):
        drawn = workload(SeededChoices(f"{profile} {example}"), profile, BESIDE, size=size)
        if drawn.rows > 8:
            continue
        # No trace says in which order tasks run that wake up at one instant.
        steps = traced(engine, changed(drawn.replace(order_seed=0)), tmp_path / "one")
        again = next(MishapSearch(engine, steps).workloads(workload_of(steps)))
        traced(engine, again, tmp_path / "two")
        *events, footer = (tmp_path / "one").read_text().splitlines()
        *others, last = (tmp_path / "two").read_text().splitlines()
        # A process that died before it said from what it goes on ends a trace.
        assert others[: len(events)] == events, example
        assert last == footer or steps.events[-1].event == "crash"
        seen += any(event.event == KIND[profile] for event in steps.events)
    assert seen


def test_the_mishaps_of_a_trace_are_named_with_their_run_of_the_process(tmp_path: Path) -> None:
    work = TWO.replace(stop_at=(4,), stop_twice=True, crashes=(0, 3))
    steps = traced(ReferenceBackend(), work, tmp_path / "t")
    found = mishaps_of(steps, workload_of(steps))
    assert [(mishap.kind, mishap.incarnation) for mishap in found] == [
        ("stop_requested", 0),
        ("crash", 1),
    ]
    assert workload_of(steps).stop_twice


@pytest.mark.parametrize(
    ("mishap", "said"),
    [
        ({"killers": (("a", 1),)}, "whether a cell ended a process"),
        ({"storage_faults": (StorageFault("data"),)}, "which write of rows failed"),
        ({"storage_faults": (StorageFault("claim"),)}, "whether storage was full"),
        ({"versions": {"a": "1"}}, "the versions of columns behind their digests"),
        (
            {"versions": {"a": "1"}, "crashes": (9,), "visits": ("config",)},
            "processes of others in the folder",
        ),
    ],
)
def test_what_no_trace_says_is_said_in_a_line(
    mishap: dict[str, object], said: str, tmp_path: Path
) -> None:
    steps = traced(ReferenceBackend(), TWO.replace(**mishap), tmp_path / "t")
    assert said in unsaid(steps)
    again = replay(str(tmp_path / "t"), folder=tmp_path, backend="reference")
    (line,) = (text for text in again.more if "does not say" in text)
    assert said in line


def test_a_stop_for_which_an_engine_has_no_ear_is_left_out_and_named(tmp_path: Path) -> None:
    traced(ReferenceBackend(), TWO.replace(stop_at=(4,)), tmp_path / "t")
    deaf = "tests.conformance.cache_engine:Cached"
    again = replay(str(tmp_path / "t"), folder=tmp_path, backend=deaf)
    assert again.more == (
        "no step of the engine is at the request to stop in run 1 of the process, which is left "
        "out",
    )
