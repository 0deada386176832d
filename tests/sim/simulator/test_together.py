"""Several pipelines on one endpoint: makespans by hand, and a program of a few lines."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cellspec.errors import Violation
from sim.results import summarise
from sim.scenario.loader import load_scenario
from sim.scenario.scenario import Scenario
from sim.simulation import make_simulator, make_together
from sim.simulator.outcome import Outcome
from tests.recompute.scenarios import Data, draw

ONE_AT_A_TIME: Data = {"work": {"full_speed": 1}}


def pipeline(folder: Path, endpoint: Data, seconds: list[float], **changes: Any) -> Scenario:
    """Rows of one call each, all of which may be out at once."""
    column = {
        "name": "call",
        "traits": ["START"],
        "resource": "chat",
        "latency": {"model": "list", "values_s": seconds},
    }
    data: Data = {
        "name": "one",
        "rows": len(seconds),
        "columns": [column],
        "endpoints": {"chat": endpoint},
        "limits": {"workers": 64, "resources": {"chat": 64}},
        **changes,
    }
    path = folder / "scenario.yaml"
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    return load_scenario(path)


def together(*scenarios: Scenario) -> list[Outcome]:
    """Their runs, at an endpoint that they share."""
    plans = scenarios[0].endpoint_plans()
    found = make_together(scenarios, plans, [None] * len(scenarios)).run()
    assert len(found) == len(scenarios)
    return found


def makespans(*scenarios: Scenario) -> list[float]:
    return [outcome.makespan_s for outcome in together(*scenarios)]


def notes_in(seen: list[str]) -> Callable[..., object]:
    """Adds each event of a run to a list: what, and when."""

    def note(kind: str, t: float, **fields: Any) -> None:
        step = fields["request"].step if kind == "request" else kind
        seen.append(f"{step} at {t:g}")

    return note


def limited(places: int) -> Data:
    return {"limits": {"workers": places, "resources": {"chat": places}}}


def test_two_equal_pipelines_take_twice_as_long(tmp_path: Path) -> None:
    one = pipeline(tmp_path, ONE_AT_A_TIME, [1.0] * 10, **limited(4))
    assert makespans(one) == [10.0]
    assert makespans(one, one) == [20.0, 20.0]
    assert makespans(one, one, one) == pytest.approx([30.0] * 3)


def test_when_the_shorter_pipeline_ends_the_other_goes_faster(tmp_path: Path) -> None:
    long = pipeline(tmp_path, ONE_AT_A_TIME, [2.0] * 3)
    short = pipeline(tmp_path, ONE_AT_A_TIME, [1.0] * 5)
    # Eight calls get 1/8 each: the short ones end at 8 s; three calls with 1 s left need 3 s.
    assert makespans(long, short) == [11.0, 8.0]
    # One call at a time each, 10 and 4 rows: each second call is the other's until 8 s.
    long = pipeline(tmp_path, ONE_AT_A_TIME, [1.0] * 10, **limited(1))
    short = pipeline(tmp_path, ONE_AT_A_TIME, [1.0] * 4, **limited(1))
    assert makespans(long, short) == [14.0, 8.0]


def test_places_are_given_first_come_first_served_over_all_pipelines(tmp_path: Path) -> None:
    endpoint = {"max_in_flight": 2}
    one = pipeline(tmp_path, endpoint, [1.0] * 4)
    other = pipeline(tmp_path, endpoint, [1.0] * 2)
    # All of the first are in line before the second comes.
    assert makespans(one, other) == [2.0, 3.0]
    assert makespans(other, one) == [1.0, 3.0]
    # One worker each: they take turns, a place each.
    assert makespans(*[pipeline(tmp_path, endpoint, [1.0] * 4, **limited(1))] * 2) == [4.0, 4.0]
    first, second = together(one, other)
    assert first.binding == {"endpoint chat": 1.0, "pipeline": 1.0}
    assert second.binding == {"endpoint chat": 2.0, "pipeline": 1.0}


def test_a_providers_limit_is_one_for_all(tmp_path: Path) -> None:
    endpoint = {"limits": [{"requests": 1, "per_s": 1.0}]}
    one = pipeline(tmp_path, endpoint, [0.25] * 3, **limited(1))
    # Alone a call passes each second. Of two, each is told 1 s when the other's call took the
    # token; the first passes at 0, and both come back at each whole second.
    assert makespans(one) == [2.25]
    outcomes = together(one, one)
    assert max(outcome.makespan_s for outcome in outcomes) == 5.25
    assert [outcome.endpoints[0].accepted for outcome in outcomes] == [3, 3]


def test_a_crash_takes_the_calls_of_its_own_pipeline_alone(tmp_path: Path) -> None:
    steady = pipeline(tmp_path, ONE_AT_A_TIME, [4.0])
    crashing = pipeline(
        tmp_path, ONE_AT_A_TIME, [4.0], crashes=[{"at_time_s": 2.0}], restart_delay_s=3.0
    )
    # To 2 s each has 1 s of its work; then the first is alone, to 5 s; then the other, from 0.
    assert makespans(steady, crashing) == [5.0, 9.0]
    outcome = together(crashing, steady)[0]
    assert [item.crashed for item in outcome.incarnations] == [True, False]
    # Its call that ran 2 s is paid, and all the same lost; in the server it spent 2 + 4 s.
    assert outcome.endpoints[0].call_s == 6.0
    # A call that waited behind those of the dead process moves up, before the next ones come:
    # 1 to 3 s; the three take 15 s; then the last.
    queued = {"max_in_flight": 1}
    steady = pipeline(tmp_path, queued, [2.0, 2.0], **limited(1))
    crashing = pipeline(tmp_path, queued, [5.0] * 3, crashes=[{"at_time_s": 1.0}])
    assert makespans(crashing, steady) == [18.0, 20.0]


def test_a_crash_while_calls_of_others_end_leaves_them(tmp_path: Path) -> None:
    # All four end at 4 s; the second event, an end, kills the first pipeline.
    crashing = pipeline(tmp_path, ONE_AT_A_TIME, [1.0] * 2, crashes=[{"at_event": 3}])
    steady = pipeline(tmp_path, ONE_AT_A_TIME, [1.0] * 2)
    first, second = together(crashing, steady)
    assert (first.incarnations[0].end_s, first.makespan_s, second.makespan_s) == (4.0, 6.0, 4.0)
    first, second = together(steady, crashing)
    assert (first.makespan_s, second.makespan_s) == (4.0, 6.0)


@pytest.mark.parametrize(
    "endpoint",
    [
        {"max_in_flight": 1},
        {"max_in_flight": 1, "outages": [{"from_s": 1.0, "to_s": 2.0, "running": "hang"}]},
        {"max_in_flight": 1, "pauses": [{"from_s": 1.0, "to_s": 2.0}]},
    ],
)
def test_no_call_of_a_dead_process_moves_up_or_is_read(tmp_path: Path, endpoint: Data) -> None:
    """The crash meets the end of a call, those that wait behind it, and a turn of the weather."""
    seen: list[str] = []

    crashing = pipeline(tmp_path, endpoint, [1.0] * 3, crashes=[{"at_time_s": 1.0}])
    other = pipeline(tmp_path, endpoint, [0.5], **limited(1))
    plans = crashing.endpoint_plans()
    make_together([crashing, other], plans, [notes_in(seen), None]).run()
    until = seen[: seen.index("crash at 1")]
    # One is served, two wait; nothing more is said of the three before they are gone.
    assert [step for step in until if step.endswith("at 1")] == []
    assert seen[-1].startswith("end at")


def test_a_prompt_of_a_dead_process_is_not_read(tmp_path: Path) -> None:
    column = {
        "name": "call",
        "traits": ["START"],
        "resource": "chat",
        "latency": {
            "model": "request",
            "prompt_tokens": {"model": "constant", "value": 10},
            "output_tokens": {"model": "constant", "value": 1},
        },
    }
    endpoint = {"tpot_s": {64: 1.0}, "beyond": "hold", "prefill_tokens_per_s": 10}
    endpoint["pauses"] = [{"from_s": 1.0, "to_s": 3.0}]
    crashing = pipeline(
        tmp_path, endpoint, [0.0] * 2, columns=[column], crashes=[{"at_time_s": 1.0}]
    )
    other = pipeline(tmp_path, endpoint, [0.0], columns=[column], **limited(1))
    heard: list[str] = []
    plans = crashing.endpoint_plans()
    outcomes = make_together([crashing, other], plans, [notes_in(heard), None]).run()
    assert "decoding at 1" not in heard
    # The pause is over at 3 s: the other's prompt is read first, to 4 s, and then two more.
    assert [outcome.makespan_s for outcome in outcomes] == [7.0, 5.0]


def test_what_comes_at_one_instant_comes_in_the_order_in_which_it_was_set_up(
    tmp_path: Path,
) -> None:
    # The crash was planned before the call began whose end it meets, here as in a plain run.
    crashing = pipeline(tmp_path, {}, [1.0], crashes=[{"at_time_s": 1.0}])
    other = pipeline(tmp_path, {}, [1.0])
    assert make_simulator(crashing, None).run().makespan_s == 2.0
    assert makespans(crashing, other) == [2.0, 1.0]
    # The server was to wake at 1 s, by the other's call, before the crash was planned.
    assert makespans(other, crashing) == [1.0, 1.0]


def test_who_ends_leaves_no_call_behind(tmp_path: Path) -> None:
    # Two rows are enough; the calls of the others are given up, and slow nobody down after 2 s.
    stops = pipeline(tmp_path, ONE_AT_A_TIME, [0.5, 0.5, 9.0], accept={"rows": 2})
    other = pipeline(tmp_path, ONE_AT_A_TIME, [1.0])
    # To 2 s four calls share; then the one that is left has half its second.
    assert makespans(stops, other) == [2.0, 2.5]


@pytest.mark.parametrize(
    "number", [n for n in range(160) if n % 8 == 0 or "endpoints" in draw(3, n)]
)
def test_a_pipeline_beside_none_is_the_plain_run(number: int, tmp_path: Path) -> None:
    data = draw(3, number)
    path = tmp_path / "scenario.yaml"
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    scenario = load_scenario(path)
    expected = make_simulator(scenario, None).run()
    found = together(scenario)[0]
    assert asdict(summarise(scenario, found, checked=True)) == asdict(
        summarise(scenario, expected, checked=True)
    )


def test_a_run_beside_another_is_the_same_every_time_and_recorded_or_not(tmp_path: Path) -> None:
    data = draw(3, next(n for n in range(99) if draw(3, n).get("endpoints")))
    path = tmp_path / "scenario.yaml"
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    scenario = load_scenario(path)
    noted: list[str] = []
    runs = [
        make_together([scenario] * 2, scenario.endpoint_plans(), [take, take]).run()
        for take in (None, None, lambda event, *_, **__: noted.append(event))
    ]
    prints = [[outcome.fingerprint for outcome in run] for run in runs]
    assert prints[0] == prints[1] == prints[2]
    assert noted


def naive(speed: int, clients: list[tuple[int, list[float]]]) -> list[float]:
    """When each client ends: its calls, so many at once, share `speed` with all others."""
    waiting = [list(works) for _, works in clients]
    running: list[list[float]] = [[] for _ in clients]
    t, ends = 0.0, [0.0] * len(clients)
    while any(waiting) or any(running):
        for place, (most, _) in enumerate(clients):
            while waiting[place] and len(running[place]) < most:
                running[place].append(waiting[place].pop(0))
        rate = min(1.0, speed / sum(map(len, running)))
        step = min(min(works) for works in running if works)
        t += step / rate
        for place, works in enumerate(running):
            if works and not waiting[place] and max(works) <= step + 1e-12:
                ends[place] = t
            running[place] = [left - step for left in works if left > step + 1e-12]
    return ends


@given(
    speed=st.integers(1, 4),
    clients=st.lists(
        st.tuples(
            st.integers(1, 5),
            st.lists(st.floats(0.125, 8.0), min_size=1, max_size=9),
        ),
        min_size=2,
        max_size=4,
    ),
)
def test_pipelines_share_a_speed_as_in_the_naive_program(
    speed: int, clients: list[tuple[int, list[float]]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("shared")
    scenarios = [
        pipeline(folder, {"work": {"full_speed": speed}}, seconds, **limited(most))
        for most, seconds in clients
    ]
    expected = naive(speed, clients)
    assert all(
        math.isclose(found, wanted, rel_tol=1e-9, abs_tol=1e-9)
        for found, wanted in zip(makespans(*scenarios), expected, strict=True)
    )


def test_pipelines_that_can_never_go_on_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = pipeline(tmp_path, ONE_AT_A_TIME, [1.0])
    monkeypatch.setattr("sim.simulator.together._Lane.step", lambda lane: _forget(lane))
    with pytest.raises(Violation, match="SCHED-12"):
        together(one, one)


def _forget(lane: Any) -> None:
    """An incarnation begins, and starts nothing."""
    lane._begins = None
    lane.simulator.begin(0.0)
