"""A payload that cannot be trusted is refused whole, with one line that says what was expected."""

from __future__ import annotations

import pytest

from cellspec import CheckpointError, ColumnDescriptor, CompletionTracker, ExecutionGraph

GRAPH = ExecutionGraph(3, [ColumnDescriptor("a"), ColumnDescriptor("b", dependencies=["a"])])


@pytest.mark.clause("CKPT-03")
@pytest.mark.parametrize(
    ("payload", "message"),
    [
        ({"version": 1}, "checkpoint: completed_rows: missing; version 1 needs it"),
        ({"completed_rows": 1}, "checkpoint: version: missing; expected 1 or 2"),
        ({"version": 3, "completed_rows": 1}, "checkpoint: version: expected 1 or 2, got 3"),
        ({"version": True, "completed_rows": 1}, "checkpoint: version: expected 1 or 2, got True"),
        *(
            (
                {"version": 1, "completed_rows": given},
                f"checkpoint: completed_rows: expected an integer from 0 to 3, got {given!r}",
            )
            for given in (-1, 4, 2.0, True, "2", None)
        ),
        ([], "checkpoint: expected an object, got []"),
        ("x", "checkpoint: expected an object, got 'x'"),
        ({"version": 1, "completed_rows": 1, "x": 0}, "checkpoint: x: unknown in version 1"),
    ],
    ids=str,
)
def test_a_bad_payload_is_refused_with_one_line(payload: object, message: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        CompletionTracker.from_checkpoint(payload, GRAPH)
    assert str(caught.value) == message


@pytest.mark.clause("CKPT-07")
@pytest.mark.parametrize("version", [1, 2])
def test_every_good_payload_restores_what_it_claims(version: int) -> None:
    for rows in range(4):
        tracker = CompletionTracker.from_checkpoint({"version": 1, "completed_rows": rows}, GRAPH)
        payload = tracker.to_checkpoint(GRAPH, version)
        again = CompletionTracker.from_checkpoint(payload, GRAPH)
        assert GRAPH.get_completed_row_count(again) == rows
        assert again.to_checkpoint(GRAPH, version) == payload
