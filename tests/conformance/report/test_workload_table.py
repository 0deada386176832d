"""A workload as tables: each field of a case file has words of its own."""

from __future__ import annotations

import json

from cellspec import ColumnDescriptor, ExecutionTraits
from cellspec.conformance.report.workload_table import workload_section
from cellspec.conformance.run.workload import End, Fault, Workload

WORK = Workload(
    (
        ColumnDescriptor("a", traits=ExecutionTraits.START),
        ColumnDescriptor("b", ("a",), traits=ExecutionTraits.CELL_BY_CELL),
    ),
    rows=4,
    faults=(Fault("b", 1, failure="backpressure", cool_down_s=0.25),),
    ends=(End(1, "b", 2, 3, 7.5),),
)


def shown(work: Workload) -> str:
    return str(workload_section(json.loads(work.to_json())))


def test_every_field_of_a_case_file_is_shown_in_words() -> None:
    data = json.loads(WORK.to_json())
    page = shown(WORK)
    for name, value in data.items():
        if isinstance(value, list | dict) and value:
            assert json.dumps(value) not in page, name
            assert f"<dt>{name}</dt><dd>[" not in page, name
    assert "<dt>later_field</dt><dd>[1]</dd>" in str(workload_section({**data, "later_field": [1]}))


def test_ends_of_calls_are_a_table() -> None:
    page = shown(WORK)
    assert "<h3>Calls that end at a set time</h3>" in page
    row = page.partition("Calls that end at a set time")[2].partition("</tbody>")[0]
    assert '<b class="mono">b</b></th><td>2</td><td>1</td><td>3</td><td>7.5 s</td>' in row
    assert "set time" not in shown(WORK.replace(ends=()))


def test_a_fault_shows_its_backoff() -> None:
    table = shown(WORK).partition("Calls that fail")[2].partition("</table>")[0]
    assert '<th scope="col">backoff</th>' in table
    assert "<td>0.25 s</td>" in table
