"""The words of a point: its fields on one line."""

from __future__ import annotations

from sim.experiments.sweep.points import value_words


def test_values_that_differ_have_words_that_differ() -> None:
    prices = [{f"model-{k}": {"prompt_per_million": k} for k in range(9)} | {"z": z} for z in "ab"]
    lists = [[*range(60), last] for last in (1, 2)]
    values = [None, True, 1, "fifo", {}, {"a": 1}, {"a": 2}, [1], *prices, *lists]
    said = [value_words(value) for value in values]
    assert len(set(said)) == len(values)
    assert said[:7] == ["null", "true", "1", "fifo", "{}", '{"a": 1}', '{"a": 2}']
    assert max(map(len, said)) == 60
    # The digest is that of the value, in whatever order its keys stand.
    assert value_words(prices[0])[-6:] == value_words(dict(reversed(prices[0].items())))[-6:]
