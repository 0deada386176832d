"""The bill, by arithmetic."""

from __future__ import annotations

import pytest

from sim.endpoints.bill import Bill, BillLine
from sim.endpoints.plan import Price


def test_a_hundred_calls_at_the_price() -> None:
    """Case I8: 100 x (1000 x 0.5 + 250 x 2) a million."""
    bill = Bill(Price(0.5, 2.0), 1)
    for _ in range(100):
        bill.pay(0, "first", 1000, 250)
    assert bill.cost() == pytest.approx(0.1, abs=1e-9)


def test_the_bill_tells_columns_and_causes_apart_and_sums_to_the_cost() -> None:
    bill = Bill(Price(1.0, 10.0, cached_share=0.25), 3)
    bill.pay(2, "lost", 100, 50)
    bill.pay(0, "first", 1000, 0)
    bill.pay(0, "first", 1000, 20)
    bill.pay(0, "done again", 400, 10)
    assert bill.lines() == [
        BillLine(0, "first", 2, 2000, 20, (1500 + 200) / 1e6),
        BillLine(0, "done again", 1, 400, 10, (300 + 100) / 1e6),
        BillLine(2, "lost", 1, 100, 50, (75 + 500) / 1e6),
    ]
    assert bill.cost() == pytest.approx(sum(line.money for line in bill.lines()))


def test_tokens_are_counted_where_they_cost_nothing() -> None:
    bill = Bill(None, 1)
    bill.pay(0, "first", 7, 3)
    assert bill.lines() == [BillLine(0, "first", 1, 7, 3, 0.0)]
    assert bill.cost() == 0.0
