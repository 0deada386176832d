"""Virtual time: no run waits, one seed is one run, and calls for real resources are refused.

Oracles here are asyncio's own loop, a list of events that is searched for its smallest member, and
all permutations of a handful of callbacks, filtered by the rule that the module's page states.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import contextvars
import gc
import itertools
import logging
import math
import os
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cellspec import virtualtime
from cellspec.errors import SpecError
from cellspec.virtualtime.loop import (
    Deadlock,
    Livelock,
    RealTimeError,
    VirtualTimeError,
    VirtualTimeLoop,
    WaitingTask,
)
from cellspec.virtualtime.tasks import WeakInOrder

HERE = f"virtualtime/{Path(__file__).name}"
SEEDS = [None, *range(5)]
TEN_YEARS_S = 10 * 365 * 24 * 3600.0

each_seed = pytest.mark.parametrize("seed", SEEDS)


class Crash(BaseException):
    """The reason with which a harness ends a run."""


def now() -> float:
    return asyncio.get_running_loop().time()


def this_loop() -> VirtualTimeLoop:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    return loop


def line_of(function: Callable[..., object], offset: int) -> str:
    """Where an error says that `function` stands, `offset` lines after its first."""
    code = function.__code__
    return f"{code.co_qualname} ({HERE}:{code.co_firstlineno + offset})"


@pytest.fixture(autouse=True)
def nothing_is_left_to_say(
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[None]:
    """A run leaves no task that complains when it is destroyed, and no coroutine that never ran."""
    said: list[str] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda event: said.append(repr(event.exc_value)))
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        gc.freeze()  # what other tests left is not collected here
        yield
        gc.collect(1)  # the young objects only: what this test left, in little time
        gc.unfreeze()
    said += [str(warning.message) for warning in warned]
    said += [r.getMessage() for r in caplog.get_records("call") if r.levelno >= logging.ERROR]
    assert said == []


# Time


def test_ten_years_take_a_handful_of_iterations() -> None:
    async def main() -> float:
        await asyncio.sleep(TEN_YEARS_S)
        return now()

    assert virtualtime.run(main(), max_iterations=5) == TEN_YEARS_S


def test_the_clock_starts_at_the_given_time() -> None:
    async def main() -> tuple[float, float]:
        begin = now()
        await asyncio.sleep(0.5)
        return begin, now()

    assert virtualtime.run(main(), start_s=100) == (100.0, 100.5)


def test_the_clock_shows_exactly_the_deadline_of_the_timer_that_fires() -> None:
    async def main() -> list[float]:
        seen: list[float] = []
        for when in (0.1, 0.2, 0.30000000000000004, 1e9 + 0.1):
            this_loop().call_at(when, lambda: seen.append(now()))
        await asyncio.sleep(2e9)
        return seen

    assert virtualtime.run(main()) == [0.1, 0.2, 0.30000000000000004, 1e9 + 0.1]


@each_seed
def test_no_time_passes_while_anything_is_ready(seed: int | None) -> None:
    async def busy() -> set[float]:
        seen = set()
        for _ in range(100):
            await asyncio.sleep(0)
            seen.add(now())
        return seen

    async def main() -> set[float]:
        this_loop().call_later(1e-9, int)
        return (await asyncio.gather(busy(), busy()))[0]

    assert virtualtime.run(main(), seed=seed) == {0.0}


def test_a_timer_in_the_past_fires_now_and_the_clock_never_goes_back() -> None:
    async def main() -> list[tuple[str, float]]:
        seen: list[tuple[str, float]] = []

        def fire(name: str) -> None:
            seen.append((name, now()))

        for name, when in [("late", 3.0), ("later", 7.0), ("latest", -math.inf)]:
            this_loop().call_at(when, fire, name)
        await asyncio.sleep(1)
        return seen

    assert virtualtime.run(main(), start_s=50) == [("latest", 50), ("late", 50), ("later", 50)]


def test_a_timer_that_is_cancelled_lets_no_time_pass() -> None:
    async def main() -> float:
        this_loop().call_later(1000, int).cancel()
        await asyncio.sleep(1)
        return now()

    assert virtualtime.run(main()) == 1.0


def test_a_cancelled_timer_does_not_hold_up_the_run() -> None:
    async def main() -> None:
        this_loop().call_later(1000, int).cancel()
        await asyncio.Event().wait()

    with pytest.raises(Deadlock) as raised:
        virtualtime.run(main(), max_time_s=500)
    assert raised.value.time_s == 0.0


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=100))
@example([(number % 6, number % 10 > 0) for number in range(405)])
def test_the_count_of_cancelled_timers_is_right(program: list[tuple[int, bool]]) -> None:
    """It decides when they are thrown away: too high, and each cancellation would cost a search."""

    async def main() -> None:
        loop, made, fired = this_loop(), [], list[float]()
        for delay, cancel in program:
            made.append(loop.call_later(delay, lambda: fired.append(now())))
            if cancel:
                made.pop().cancel()
            cancelled = sum(timer.cancelled() for *_, timer in loop._timers)
            assert loop._timers_cancelled == cancelled
            if len(program) % 7 == delay:
                await asyncio.sleep(delay)
        await asyncio.sleep(10)
        assert (len(fired), loop._timers_cancelled) == (len(made), 0)

    virtualtime.run(main())


def test_cancelled_timers_do_not_pile_up() -> None:
    async def main() -> int:
        for _ in range(5_000):
            async with asyncio.timeout(1e9):
                await asyncio.sleep(0.001)
        return len(this_loop()._timers)

    assert virtualtime.run(main()) < 250


def test_a_function_that_sleeps_takes_no_virtual_time() -> None:
    async def main() -> float:
        time.sleep(0.001)
        await asyncio.to_thread(time.sleep, 0.001)
        return now()

    with pytest.warns(virtualtime.RealTimeWarning):
        assert virtualtime.run(main()) == 0.0


def test_a_deadline_that_is_not_a_number_is_refused() -> None:
    async def main() -> None:
        this_loop().call_at(math.nan, int)

    with pytest.raises(SpecError, match="when: expected a number of seconds, got nan"):
        virtualtime.run(main())


# Programs of sleeps against a naive oracle

programs = st.lists(
    st.lists(st.integers(0, 4).map(lambda ticks: ticks / 16), max_size=5), min_size=1, max_size=6
)
Event = tuple[float, int, int]


def sleepers(program: list[list[float]]) -> Coroutine[Any, Any, list[Event]]:
    """Runs a task for each list of sleeps; gives (time, task, sleeps so far) of each step."""

    async def sleeper(number: int, delays: list[float], log: list[Event]) -> None:
        log.append((now(), number, 0))
        for count, delay in enumerate(delays, 1):
            await asyncio.sleep(delay)
            log.append((now(), number, count))

    async def main() -> list[Event]:
        log: list[Event] = []
        await asyncio.gather(*(sleeper(i, delays, log) for i, delays in enumerate(program)))
        return log

    return main()


def expected(program: list[list[float]]) -> list[Event]:
    """The same, by looking for the earliest event, and the one that was asked for first."""
    waiting = [(0.0, number, number, 0) for number in range(len(program))]
    log: list[Event] = []
    asked = len(program)
    while waiting:
        when, _, number, count = event = min(waiting)
        waiting.remove(event)
        log.append((when, number, count))
        if count < len(program[number]):
            waiting.append((when + program[number][count], asked, number, count + 1))
            asked += 1
    return log


@given(programs)
def test_sleeps_end_when_and_in_the_order_that_a_naive_oracle_says(
    program: list[list[float]],
) -> None:
    assert virtualtime.run(sleepers(program)) == expected(program)


@given(programs, st.integers(0, 2**64))
def test_a_seed_changes_the_order_within_an_instant_and_no_time(
    program: list[list[float]], seed: int
) -> None:
    log = virtualtime.run(sleepers(program), seed=seed)
    assert [when for when, _, _ in log] == sorted(when for when, _, _ in log)
    assert sorted(log) == sorted(expected(program))
    assert virtualtime.run(sleepers(program), seed=seed) == log


class Step(NamedTuple):
    """A step of a task: its kind, and one of a few shared objects."""

    does: str
    which: int


DEEDS = ("yield", "put", "get", "lock", "set", "wait", "callback", "spawn")
steps = st.builds(Step, st.sampled_from(DEEDS), st.integers(0, 1))
plans = st.lists(st.lists(steps, max_size=6), min_size=1, max_size=4)


async def perform(plan: list[list[Step]]) -> list[tuple[object, ...]]:
    """Tasks that meet at queues, locks and events; those that wait for ever are cancelled."""
    log: list[tuple[object, ...]] = []
    queues: list[asyncio.Queue[int]] = [asyncio.Queue() for _ in range(2)]
    locks, events = [asyncio.Lock() for _ in range(2)], [asyncio.Event() for _ in range(2)]
    spawned: list[asyncio.Task[None]] = []

    async def take(name: object, steps: list[Step]) -> None:
        for number, (does, which) in enumerate(steps):
            if does == "yield":
                await asyncio.sleep(0)
            elif does == "put":
                queues[which].put_nowait(number)
            elif does == "get":
                log.append((name, await queues[which].get()))
            elif does == "lock":
                async with locks[which]:
                    await asyncio.sleep(0)
            elif does == "set":
                events[which].set()
            elif does == "wait":
                await events[which].wait()
            elif does == "callback":
                asyncio.get_running_loop().call_soon(log.append, (name, number, "called"))
            else:
                task = asyncio.create_task(take((name, number), steps[number + 1 :]))
                task.add_done_callback(lambda _, number=number: log.append((name, number, "end")))  # type: ignore[misc]
                spawned.append(task)
            log.append((name, number, does))

    tasks = [asyncio.create_task(take(name, steps)) for name, steps in enumerate(plan)]
    for _ in range(60):
        await asyncio.sleep(0)
    for task in tasks + spawned:
        task.cancel()
    await asyncio.gather(*tasks, *spawned, return_exceptions=True)
    return log


@given(plans)
def test_without_a_seed_the_order_is_that_of_asyncio(plan: list[list[Step]]) -> None:
    assert virtualtime.run(perform(plan)) == asyncio.run(perform(plan))


@given(plans, st.integers(0, 1000))
def test_one_seed_is_one_run(plan: list[list[Step]], seed: int) -> None:
    assert virtualtime.run(perform(plan), seed=seed) == virtualtime.run(perform(plan), seed=seed)


# Orders


def batch(kinds: str, seed: int | None) -> str:
    """The order in which callbacks (lower case) and tasks (upper case) run that become ready so."""
    seen: list[str] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        futures = {kind: loop.create_future() for kind in kinds if kind.isupper()}

        async def wait_for_it(kind: str) -> None:
            await futures[kind]
            seen.append(kind)

        async with asyncio.TaskGroup() as group:
            for kind in futures:
                group.create_task(wait_for_it(kind))
            await asyncio.sleep(1)
            for kind in kinds:
                if kind.isupper():
                    futures[kind].set_result(None)
                else:
                    loop.call_soon(seen.append, kind)

    virtualtime.run(main(), seed=seed)
    return "".join(seen)


def legal(kinds: str) -> set[str]:
    """All orders in which each callback runs before everything that became ready after it."""
    return {
        "".join(order)
        for order in itertools.permutations(kinds)
        if all(
            order.index(first) < order.index(second)
            for first, second in itertools.combinations(kinds, 2)
            if first.islower()
        )
    }


@pytest.mark.parametrize("kinds", ["ABC", "abc", "Aa", "aA", "AaBb", "ABaCb", "aAbBc"])
def test_seeds_give_every_order_that_the_rule_allows_and_no_other(kinds: str) -> None:
    assert {batch(kinds, seed) for seed in range(400)} == legal(kinds)


@given(st.permutations("abcdABCD").map("".join), st.integers(0, 2**32))
def test_a_callback_runs_before_everything_that_was_registered_after_it(
    kinds: str, seed: int
) -> None:
    order = batch(kinds, seed)
    for first, second in itertools.combinations(kinds, 2):
        if first.islower():
            assert order.index(first) < order.index(second)
    assert sorted(order) == sorted(kinds)


def test_without_a_seed_everything_is_first_in_first_out() -> None:
    assert batch("ABaCbDc", None) == "ABaCbDc"


@each_seed
def test_a_callback_has_run_before_its_task_goes_on(seed: int | None) -> None:
    async def main() -> list[int]:
        seen: list[int] = []
        this_loop().call_soon(seen.append, 1)
        await asyncio.sleep(0)
        return seen

    async def crowd() -> list[list[int]]:
        return await asyncio.gather(*(main() for _ in range(10)))

    assert virtualtime.run(crowd(), seed=seed) == [[1]] * 10


@each_seed
def test_calling_a_method_of_a_task_is_a_callback_like_any_other(seed: int | None) -> None:
    async def main() -> bool:
        seen: list[bool] = []
        task = asyncio.create_task(asyncio.sleep(5))
        await asyncio.sleep(1)
        for _ in range(5):
            this_loop().call_soon(lambda: seen.append(task.cancelling() > 0))
        this_loop().call_soon(task.cancel)
        this_loop().call_soon(lambda: seen.append(task.cancelling() > 0))
        await asyncio.sleep(1)
        return seen == [False] * 5 + [True]

    assert virtualtime.run(main(), seed=seed)


def timers(deadlines: list[float], seed: int | None) -> list[int]:
    """The order in which timers fire; each is known by its place in the list."""

    async def main() -> list[int]:
        seen: list[int] = []
        for number, when in enumerate(deadlines):
            this_loop().call_at(when, seen.append, number)
        await asyncio.sleep(100)
        return seen

    return virtualtime.run(main(), seed=seed)


@given(st.lists(st.integers(0, 5).map(float), max_size=8), st.none() | st.integers(0, 1000))
def test_timers_of_different_deadlines_never_change_places(
    deadlines: list[float], seed: int | None
) -> None:
    order = timers(deadlines, seed)
    assert [deadlines[number] for number in order] == sorted(deadlines)


def test_timers_of_one_deadline_fire_first_in_first_out_or_in_any_order_of_a_seed() -> None:
    assert timers([1.0] * 8, None) == list(range(8))
    orders = {tuple(timers([1.0] * 3, seed)) for seed in range(200)}
    assert orders == set(itertools.permutations(range(3)))


PROGRAM = """
import asyncio
from cellspec import virtualtime

async def main():
    log = []
    async def agen(name):
        try:
            yield 1
        finally:
            log.append(("closed", name))
    kept = []
    async def worker(name):
        try:
            kept.append(agen(name))
            await anext(kept[-1])
            await asyncio.to_thread(log.append, ("inline", name))
            await asyncio.sleep(len(name) % 2)
            log.append((name, asyncio.current_task().get_name()))
            await asyncio.sleep(1000)
        finally:
            log.append(("cancelled", name))
    names = {"a", "bb", "ccc", "dddd", "e5", "f66", "g777", "h8888"}
    main.tasks = [asyncio.create_task(worker(name)) for name in sorted(names)]
    await asyncio.sleep(5)
    return log, kept

for seed in (None, 1, 2, 3):
    log, kept = virtualtime.run(main, seed=seed)
    print(seed, log)
"""


def test_the_same_seed_is_the_same_run_in_any_process() -> None:
    outputs = [
        subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        for hash_seed in ("0", "1", "4321")
    ]
    assert len({output.stdout for output in outputs}) == 1
    assert {output.stderr for output in outputs} == {""}
    lines = [line.partition(" ")[2] for line in outputs[0].stdout.splitlines()]
    assert len(set(lines)) == 4, "each seed has an order of its own"


def test_tasks_without_a_name_are_numbered_by_the_loop() -> None:
    async def main() -> list[str]:
        current = asyncio.current_task()
        assert current is not None
        named = asyncio.create_task(asyncio.sleep(0), name="mine")
        other = asyncio.create_task(asyncio.sleep(0))
        await asyncio.gather(named, other)
        return [current.get_name(), named.get_name(), other.get_name()]

    assert virtualtime.run(main()) == virtualtime.run(main()) == ["Task-1", "mine", "Task-3"]


# asyncio's own things


@each_seed
def test_a_time_out_comes_when_it_is_due(seed: int | None) -> None:
    async def main() -> list[tuple[str, float]]:
        log: list[tuple[str, float]] = []
        try:
            async with asyncio.timeout(2.5):
                await asyncio.sleep(1000)
        except TimeoutError:
            log.append(("timeout", now()))
        try:
            await asyncio.wait_for(asyncio.Event().wait(), 1.5)
        except TimeoutError:
            log.append(("wait_for", now()))
        done, pending = await asyncio.wait(
            [asyncio.create_task(asyncio.sleep(n, n)) for n in (1, 9)], timeout=2
        )
        log.append((f"wait {len(done)} {len(pending)}", now()))
        return log

    assert virtualtime.run(main(), seed=seed) == [
        ("timeout", 2.5),
        ("wait_for", 4.0),
        ("wait 1 1", 6.0),
    ]


@each_seed
def test_a_queue_hands_on_everything_in_order(seed: int | None) -> None:
    async def main() -> list[int]:
        queue: asyncio.Queue[int] = asyncio.Queue(maxsize=2)
        taken: list[int] = []

        async def produce() -> None:
            for number in range(20):
                await queue.put(number)
                await asyncio.sleep(number % 3)

        async def consume() -> None:
            while True:
                taken.append(await queue.get())
                queue.task_done()

        consumer = asyncio.create_task(consume())
        await produce()
        await queue.join()
        consumer.cancel()
        return taken

    assert virtualtime.run(main(), seed=seed) == list(range(20))


@each_seed
def test_a_semaphore_holds_and_four_jobs_take_two_rounds(seed: int | None) -> None:
    async def main() -> tuple[int, float]:
        semaphore = asyncio.Semaphore(2)
        inside = most = 0

        async def job() -> None:
            nonlocal inside, most
            async with semaphore:
                inside += 1
                most = max(most, inside)
                await asyncio.sleep(3)
                inside -= 1

        async with asyncio.TaskGroup() as group:
            for _ in range(4):
                group.create_task(job())
        return most, now()

    assert virtualtime.run(main(), seed=seed) == (2, 6.0)


@each_seed
def test_a_condition_wakes_all_that_wait(seed: int | None) -> None:
    async def main() -> list[int]:
        condition, state, woken = asyncio.Condition(), [0], list[int]()

        async def wait(number: int) -> None:
            async with condition:
                await condition.wait_for(lambda: state[0] >= number)
                woken.append(number)

        async with asyncio.TaskGroup() as group:
            for number in (3, 1, 2):
                group.create_task(wait(number))
            for _ in range(3):
                await asyncio.sleep(1)
                async with condition:
                    state[0] += 1
                    condition.notify_all()
        return woken

    assert virtualtime.run(main(), seed=seed) == [1, 2, 3]


@each_seed
def test_as_completed_and_gather_keep_their_orders(seed: int | None) -> None:
    async def after(delay: float) -> float:
        await asyncio.sleep(delay)
        return delay

    async def main() -> tuple[list[float], list[float], float]:
        first = [await each for each in asyncio.as_completed([after(3), after(1), after(2)])]
        second = await asyncio.gather(after(3), after(1), after(2))
        return first, list(second), now()

    assert virtualtime.run(main(), seed=seed) == ([1, 2, 3], [3, 1, 2], 6.0)


@each_seed
def test_a_task_group_cancels_its_tasks_when_one_fails(seed: int | None) -> None:
    log: list[tuple[str, float]] = []

    async def fail() -> None:
        await asyncio.sleep(2)
        raise ValueError("two")

    async def other() -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            await asyncio.sleep(1)
            log.append(("cleaned up", now()))

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(other())
            group.create_task(fail())

    with pytest.raises(ExceptionGroup, match="in a TaskGroup") as raised:
        virtualtime.run(main(), seed=seed)
    assert [str(error) for error in raised.value.exceptions] == ["two"]
    assert log == [("cleaned up", 3.0)]


def test_asynchronous_generators_are_closed_in_the_order_in_which_they_began() -> None:
    closed: list[int] = []

    async def count(number: int) -> AsyncIterator[int]:
        try:
            yield number
        finally:
            await asyncio.sleep(1)
            closed.append(number)

    async def main() -> list[AsyncIterator[int]]:
        generators = [count(number) for number in range(20)]
        for generator in reversed(generators):
            await anext(generator)
        return generators

    assert len(virtualtime.run(main())) == 20
    assert closed == list(reversed(range(20)))


def test_a_generator_without_a_reference_is_closed_at_once() -> None:
    closed: list[float] = []

    async def count() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            closed.append(now())

    async def main() -> None:
        async for _ in count():
            break
        await asyncio.sleep(1)

    virtualtime.run(main())
    assert closed == [0.0]


def test_tasks_that_are_left_are_cancelled_in_the_order_of_their_creation() -> None:
    log: list[tuple[str, float]] = []

    async def left_over(name: str) -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            await asyncio.sleep(1)
            log.append((name, now()))

    async def main() -> str:
        this_loop().left = [asyncio.create_task(left_over(name)) for name in "zyxabc"]  # type: ignore[attr-defined]
        await asyncio.sleep(1)
        return "done"

    assert virtualtime.run(main()) == "done"
    assert log == [(name, 2.0) for name in "zyxabc"]


def test_a_failure_while_a_left_over_task_is_cancelled_is_reported(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def left_over() -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            raise ValueError("on the way out")

    async def main() -> None:
        this_loop().left = asyncio.create_task(left_over())  # type: ignore[attr-defined]
        await asyncio.sleep(1)

    virtualtime.run(main())
    assert "a task that was left over" in caplog.text
    assert "on the way out" in caplog.text
    caplog.clear()


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
@each_seed
def test_eager_tasks_begin_at_once(seed: int | None) -> None:
    async def main() -> tuple[list[str], float]:
        this_loop().set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined]
        log: list[str] = []

        async def child() -> None:
            log.append("begins")
            await asyncio.sleep(2)
            log.append("ends")

        async with asyncio.TaskGroup() as group:
            group.create_task(child())
            log.append("goes on")
        return log, now()

    assert virtualtime.run(main(), seed=seed) == (["begins", "goes on", "ends"], 2.0)


@each_seed
def test_tasks_in_pure_python_are_permuted_like_those_in_c(seed: int | None) -> None:
    def factory(loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> Any:
        return asyncio.tasks._PyTask(coro, loop=loop, **options)  # type: ignore[attr-defined]

    async def main(pure: bool) -> list[int]:
        log: list[int] = []
        if pure:
            this_loop().set_task_factory(factory)

        async def child(number: int) -> None:
            await asyncio.sleep(1)
            log.append(number)

        await asyncio.gather(*(asyncio.create_task(child(number)) for number in range(6)))
        return log

    order = virtualtime.run(main(pure=True), seed=seed)
    assert order == virtualtime.run(main(pure=False), seed=seed)
    assert (order == list(range(6))) == (seed is None)


def test_it_works_with_asyncio_runners_and_their_debug_mode() -> None:
    async def main() -> float:
        await asyncio.sleep(TEN_YEARS_S)
        return now()

    with asyncio.Runner(loop_factory=VirtualTimeLoop, debug=True) as runner:
        assert runner.run(main()) == TEN_YEARS_S
        assert runner.run(main()) == 2 * TEN_YEARS_S
    assert virtualtime.run(main(), debug=True) == TEN_YEARS_S


# Executors


@each_seed
def test_functions_for_threads_run_inline_in_their_turn(seed: int | None) -> None:
    variable = contextvars.ContextVar("variable", default="unset")
    log: list[object] = []

    def function(name: str) -> str:
        with pytest.raises(RuntimeError, match="no running event loop"):
            asyncio.get_running_loop()
        log.append((name, variable.get(), threading.current_thread() is threading.main_thread()))
        return name.upper()

    async def main() -> list[str]:
        variable.set("set")
        job = this_loop().run_in_executor(None, function, "plain")
        log.append("asked for")
        results = [await job, await asyncio.to_thread(function, "to_thread")]
        assert asyncio.get_running_loop() is not None
        return results

    assert virtualtime.run(main(), seed=seed) == ["PLAIN", "TO_THREAD"]
    assert log == ["asked for", ("plain", "unset", True), ("to_thread", "set", True)]


def test_an_exception_of_a_function_comes_out_where_it_is_awaited() -> None:
    def fail(error: BaseException) -> NoReturn:
        raise error

    async def main(error: BaseException) -> None:
        await asyncio.to_thread(fail, error)

    with pytest.raises(ValueError, match="inline"):
        virtualtime.run(main(ValueError("inline")))
    with pytest.raises(RuntimeError, match="raised StopIteration"):
        virtualtime.run(main(StopIteration()))
    with pytest.raises(asyncio.CancelledError):
        virtualtime.run(main(asyncio.CancelledError()))


def test_a_function_that_is_cancelled_before_its_turn_does_not_run() -> None:
    async def main() -> list[int]:
        seen: list[int] = []
        this_loop().run_in_executor(None, seen.append, 1).cancel()
        await asyncio.sleep(1)
        return seen

    assert virtualtime.run(main()) == []


def test_a_function_may_cancel_the_task_that_waits_for_it() -> None:
    async def main() -> str:
        async def wait() -> None:
            await this_loop().run_in_executor(None, lambda: task.cancel())

        task = asyncio.create_task(wait())
        await asyncio.wait([task])
        return "cancelled" if task.cancelled() else "not"

    assert virtualtime.run(main()) == "cancelled"


def test_a_function_may_run_a_loop_of_its_own() -> None:
    async def inner() -> float:
        await asyncio.sleep(5)
        return now()

    async def main() -> tuple[float, float]:
        return await asyncio.to_thread(virtualtime.run, inner), now()

    assert virtualtime.run(main()) == (5.0, 0.0)


def test_a_function_may_report_to_the_loop_without_waiting() -> None:
    async def main() -> list[int]:
        seen: list[int] = []
        loop = this_loop()
        await asyncio.to_thread(loop.call_soon_threadsafe, seen.append, 1)
        await asyncio.sleep(0)
        return seen

    assert virtualtime.run(main()) == [1]


def test_functions_for_threads_begin_in_any_order_of_a_seed() -> None:
    async def main() -> list[int]:
        seen: list[int] = []
        await asyncio.gather(*(this_loop().run_in_executor(None, seen.append, n) for n in range(3)))
        return seen

    assert virtualtime.run(main()) == [0, 1, 2]
    orders = {tuple(virtualtime.run(main(), seed=seed)) for seed in range(200)}
    assert orders == set(itertools.permutations(range(3)))


def test_a_custom_executor_is_refused_or_on_request_not_used() -> None:
    async def main() -> str:
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            this_loop().set_default_executor(pool)
            return await this_loop().run_in_executor(pool, lambda: threading.current_thread().name)

    assert virtualtime.run(main(), inline_executors=True) == threading.current_thread().name
    with pytest.raises(RealTimeError, match=r"set_default_executor\(ThreadPoolExecutor\)"):
        virtualtime.run(main())


# What cannot go on


def test_a_deadlock_names_each_task_its_line_and_the_awaited_object() -> None:
    async def empty() -> AsyncIterator[int]:
        await asyncio.Event().wait()
        yield 1

    async def consume(queue: asyncio.Queue[int]) -> None:
        await queue.get()

    async def iterate() -> None:
        async for _ in empty():
            pass

    async def bare() -> None:
        await asyncio.get_running_loop().create_future()

    async def gather(*others: Awaitable[object]) -> None:
        await asyncio.gather(*others)

    async def main() -> None:
        await asyncio.sleep(2.5)
        queue: asyncio.Queue[int] = asyncio.Queue()
        consumer = asyncio.create_task(consume(queue), name="consumer")
        tasks = [asyncio.create_task(iterate()), asyncio.create_task(bare())]
        tasks.append(asyncio.create_task(gather(*tasks)))
        await consumer

    with pytest.raises(Deadlock) as raised:
        virtualtime.run(main())
    assert raised.value.time_s == 2.5
    event_wait = raised.value.tasks[2]
    assert event_wait == WaitingTask("Task-3", line_of(empty, 1), "asyncio's Event.wait")
    assert str(raised.value).splitlines() == [
        "nothing can ever run at virtual time 2.5 s: nothing is ready, no timer",
        f"  Task-1 in {line_of(main, 6)} waits for task consumer",
        f"  consumer in {line_of(consume, 1)} waits for asyncio's Queue.get",
        f"  Task-3 in {line_of(empty, 1)} waits for asyncio's Event.wait",
        f"  Task-4 in {line_of(bare, 1)} waits for a future",
        f"  Task-5 in {line_of(gather, 1)} waits for asyncio.gather",
    ]


def test_a_deadlock_names_an_entered_object_by_its_own_class() -> None:
    async def main() -> None:
        async with asyncio.Semaphore(0):
            pass

    with pytest.raises(Deadlock, match=r"waits for asyncio's Semaphore\.__aenter__"):
        virtualtime.run(main())


def test_a_deadlock_of_a_crowd_lists_the_first_twenty() -> None:
    async def main() -> None:
        await asyncio.gather(*(asyncio.Event().wait() for _ in range(50)))

    with pytest.raises(Deadlock) as raised:
        virtualtime.run(main())
    assert len(raised.value.tasks) == 51
    lines = str(raised.value).splitlines()
    assert len(lines) == 22
    assert lines[-1] == "  and 31 more"


@pytest.mark.parametrize("forever", [lambda: asyncio.sleep(math.inf), asyncio.Event().wait])
def test_waiting_for_ever_is_a_deadlock(forever: Callable[[], Awaitable[object]]) -> None:
    async def main() -> None:
        await forever()

    with pytest.raises(Deadlock):
        virtualtime.run(main())


def test_a_deadlock_is_not_seen_by_the_code_that_is_stuck() -> None:
    seen: list[BaseException] = []

    async def main() -> None:
        try:
            await asyncio.Event().wait()
        except BaseException as error:
            seen.append(error)
            raise

    with pytest.raises(Deadlock):
        virtualtime.run(main())
    assert [type(error) for error in seen] == [virtualtime.Abandoned]


def test_a_deadlock_while_other_tasks_are_cancelled_is_reported() -> None:
    async def stubborn() -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            await asyncio.Event().wait()

    async def main() -> None:
        this_loop().left = asyncio.create_task(stubborn())  # type: ignore[attr-defined]
        await asyncio.sleep(1)

    with pytest.raises(Deadlock, match=r"stubborn .* waits for asyncio's Event\.wait"):
        virtualtime.run(main())


def test_a_runner_can_clean_up_after_a_deadlock() -> None:
    log: list[str] = []

    async def main() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(1)
            log.append("clean")

    with pytest.raises(Deadlock), asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(main())
    assert log == ["clean"]


def test_a_runner_can_clean_up_after_a_livelock() -> None:
    log: list[str] = []

    async def main() -> None:
        try:
            await spin_on_zero()
        finally:
            await asyncio.sleep(1)
            log.append("clean")

    def factory() -> VirtualTimeLoop:
        return VirtualTimeLoop(max_iterations=500)

    with pytest.raises(Livelock), asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())
    assert log == ["clean"]


async def spin_on_zero() -> None:
    while True:
        await asyncio.sleep(0)


async def spin_on_nearly_zero() -> None:
    while True:
        await asyncio.sleep(1e-300)


async def spin_on_a_callback() -> None:
    def again() -> None:
        asyncio.get_running_loop().call_soon(again)

    again()
    await asyncio.Event().wait()


@each_seed
@pytest.mark.parametrize("spin", [spin_on_zero, spin_on_nearly_zero, spin_on_a_callback])
def test_turning_in_circles_without_time_passing_is_a_livelock(
    spin: Callable[[], Coroutine[Any, Any, None]], seed: int | None
) -> None:
    with pytest.raises(Livelock, match="1,000 iterations without any time passing") as raised:
        virtualtime.run(spin, seed=seed, start_s=1, max_idle_iterations=1_000)
    assert spin.__name__ in str(raised.value)


def test_polling_for_ever_is_a_livelock_by_iterations_and_by_time() -> None:
    async def poll() -> None:
        while True:
            await asyncio.sleep(0.25)

    with pytest.raises(Livelock, match="does not end: 500 iterations of the loop") as raised:
        virtualtime.run(poll, max_iterations=500)
    assert raised.value.time_s == pytest.approx(500 / 2 * 0.25, abs=1)
    with pytest.raises(Livelock, match=r"timer is due at 10.25 s, past max_time_s") as raised:
        virtualtime.run(poll, max_time_s=10)
    assert raised.value.time_s == 10.0
    assert raised.value.tasks == (WaitingTask("Task-1", line_of(poll, 2), "asyncio's sleep"),)


def test_the_last_instant_still_runs() -> None:
    assert virtualtime.run(asyncio.sleep(10, "done"), max_time_s=10) == "done"


def test_iterations_at_an_instant_are_counted_anew_when_time_passes() -> None:
    async def main() -> float:
        for _ in range(50):
            for _ in range(8):
                await asyncio.sleep(0)
            await asyncio.sleep(1)
        return now()

    assert virtualtime.run(main(), max_idle_iterations=12) == 50.0


# What needs the world

SOCKET = socket.socket()
WORLD: dict[str, Callable[[VirtualTimeLoop], Any]] = {
    "create_connection": lambda _: asyncio.open_connection("localhost", 1),
    "create_server": lambda _: asyncio.start_server(print, port=1),
    "subprocess_exec": lambda _: asyncio.create_subprocess_exec("true"),
    "subprocess_shell": lambda _: asyncio.create_subprocess_shell("true"),
    "getaddrinfo": lambda loop: loop.getaddrinfo("localhost", 1),
    "create_datagram_endpoint": lambda loop: loop.create_datagram_endpoint(
        asyncio.DatagramProtocol, local_addr=("localhost", 1)
    ),
    "add_reader": lambda loop: loop.add_reader(0, int),
    "sock_connect": lambda loop: loop.sock_connect(SOCKET, ("localhost", 1)),
}


@pytest.mark.parametrize("name", WORLD)
def test_a_call_that_needs_the_operating_system_ends_the_run_past_every_except(name: str) -> None:
    log: list[str] = []

    async def main() -> None:
        try:
            await WORLD[name](this_loop())
        except Exception as error:
            log.append(type(error).__name__)
        await asyncio.sleep(1)
        log.append("went on")

    with pytest.raises(RealTimeError, match=rf"loop\.{name}\(\) needs a real"):
        virtualtime.run(main())
    assert log == ["RealTimeError"]


def test_no_call_of_a_loop_is_left_to_the_real_world() -> None:
    """Each public method is either ours, or known to work without the system."""
    harmless = {
        "add_signal_handler", "remove_signal_handler",  # not implemented, as on Windows
        "call_exception_handler", "call_later", "close", "create_future", "create_task",
        "default_exception_handler", "get_debug", "get_exception_handler", "get_task_factory",
        "is_closed", "is_running", "run_forever", "run_until_complete", "set_debug",
        "set_exception_handler", "set_task_factory", "shutdown_asyncgens",
        "shutdown_default_executor", "stop",
    }  # fmt: skip
    ours = {
        name for kind in VirtualTimeLoop.__mro__[:2] for name in vars(kind) if name[0].islower()
    }
    for name in dir(asyncio.SelectorEventLoop):
        if not name.startswith("_") and name != "slow_callback_duration":
            assert name in harmless | ours, name


def call_from_a_thread(call: Callable[[], object]) -> list[BaseException]:
    """Calls from another thread, waits for it in real time, and gives its exception."""
    raised: list[BaseException] = []

    def body() -> None:
        try:
            call()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=body, name="intruder")
    thread.start()
    thread.join()
    return raised


@pytest.mark.parametrize("method", ["call_soon_threadsafe", "call_soon", "call_later"])
def test_a_call_from_another_thread_is_refused_there_and_ends_the_run(method: str) -> None:
    seen: list[BaseException] = []

    async def main() -> None:
        call = getattr(this_loop(), method)
        arguments = [1, int] if method == "call_later" else [int]
        seen.extend(call_from_a_thread(lambda: call(*arguments)))
        await asyncio.sleep(1)
        seen.append(AssertionError("went on"))

    with pytest.raises(RealTimeError, match="a call from thread 'intruder' into the loop") as came:
        virtualtime.run(main())
    assert seen == [came.value]


def test_a_coroutine_from_another_thread_is_refused() -> None:
    async def main() -> None:
        loop, coroutine = this_loop(), asyncio.sleep(0)
        call_from_a_thread(lambda: asyncio.run_coroutine_threadsafe(coroutine, loop))
        coroutine.close()
        await asyncio.sleep(1)

    with pytest.raises(RealTimeError, match="from thread 'intruder'"):
        virtualtime.run(main())


def test_a_function_that_would_wait_for_the_loop_that_waits_for_it_is_refused() -> None:
    async def main() -> None:
        loop, coroutine = this_loop(), asyncio.sleep(0)

        def bridge() -> object:
            return asyncio.run_coroutine_threadsafe(coroutine, loop).result()

        try:
            await asyncio.to_thread(bridge)
        finally:
            coroutine.close()

    with pytest.raises(RealTimeError, match=r"run_coroutine_threadsafe\(\) from a function"):
        virtualtime.run(main())


@pytest.mark.parametrize("gathered", [False, True])
def test_waiting_for_the_result_of_a_thread_is_no_deadlock_but_refused(gathered: bool) -> None:
    async def main() -> None:
        never: concurrent.futures.Future[int] = concurrent.futures.Future()
        result = asyncio.wrap_future(never)
        await (asyncio.gather(result) if gathered else result)

    with pytest.raises(RealTimeError, match=r"(?s)only a real thread could go on .* a thread"):
        virtualtime.run(main())


def test_outside_of_a_run_a_refusal_is_only_an_error() -> None:
    loop = VirtualTimeLoop()
    with pytest.raises(RealTimeError, match="add_reader"):
        loop.add_reader(0, int)
    assert loop.aborted is None
    assert loop.run_until_complete(asyncio.sleep(1, "fine")) == "fine"
    loop.close()


# Crashes


def crash_scene(
    crash: Callable[[VirtualTimeLoop], Coroutine[Any, Any, None]], log: list[tuple[str, bool]]
) -> Coroutine[Any, Any, None]:
    """A run that crashes at 3 s, and the steps of its tasks: (step, whether the run was over)."""

    async def neighbour(name: str, delay: float) -> None:
        try:
            await asyncio.sleep(delay)
            log.append((f"{name} ran", over()))
            await asyncio.sleep(1000)
        finally:
            log.append((f"{name} unwound", over()))
            await asyncio.sleep(1)
            log.append((f"{name} went on after its unwinding", over()))

    def over() -> bool:
        return this_loop().aborted is not None

    async def victim() -> None:
        try:
            await asyncio.sleep(3)
            await crash(this_loop())
        finally:
            log.append(("victim unwound", over()))

    async def main() -> None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(neighbour("early", 2))
                group.create_task(victim())
                group.create_task(neighbour("late", 4))
        finally:
            log.append(("main unwound", over()))

    return main()


async def abort_it(loop: VirtualTimeLoop) -> None:
    loop.abort(Crash("now"))


async def freeze_it(loop: VirtualTimeLoop) -> None:
    await loop.freeze(Crash("now"))


async def abort_it_inline(loop: VirtualTimeLoop) -> None:
    await asyncio.to_thread(loop.abort, Crash("now"))


async def abort_it_in_a_callback(loop: VirtualTimeLoop) -> None:
    loop.call_soon(loop.abort, Crash("now"))
    await asyncio.sleep(0)


async def raise_it_in_a_callback(loop: VirtualTimeLoop) -> None:
    def crash() -> NoReturn:
        raise Crash("now")

    loop.call_soon(crash)
    await asyncio.sleep(0)


@each_seed
@pytest.mark.parametrize(
    "crash",
    [abort_it, freeze_it, abort_it_inline, abort_it_in_a_callback, raise_it_in_a_callback],
)
def test_nothing_of_a_run_is_executed_after_its_crash(
    crash: Callable[[VirtualTimeLoop], Coroutine[Any, Any, None]], seed: int | None
) -> None:
    log: list[tuple[str, bool]] = []
    with pytest.raises(Crash, match="now"):
        virtualtime.run(crash_scene(crash, log), seed=seed)
    assert log[0] == ("early ran", False)
    assert all(over for _, over in log[1:]), "what runs after the crash can tell"
    unwound = [what for what, _ in log[1:]]
    assert sorted(unwound) == ["early unwound", "late unwound", "main unwound", "victim unwound"]
    if crash is abort_it:
        assert unwound[0] == "victim unwound", "its frames are the way out"
    else:
        names = ("main", "early", "victim", "late")
        assert unwound == [f"{name} unwound" for name in names], "in the order of creation"


def test_code_that_swallows_a_crash_gets_no_further_than_its_next_await() -> None:
    log: list[str] = []

    async def main() -> None:
        try:
            this_loop().abort(Crash("first"))
        except BaseException:
            log.append("swallowed")
        with pytest.raises(Crash, match="first"):
            this_loop().abort(Crash("second"))
        await asyncio.sleep(0)
        log.append("went on")

    with pytest.raises(Crash, match="first"):
        virtualtime.run(main())
    assert log == ["swallowed"]


def test_an_aborted_run_wins_over_a_result_of_the_same_iteration() -> None:
    cancelled: list[int] = []

    async def crash() -> None:
        this_loop().abort(Crash("now"))

    async def left_over() -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            cancelled.append(tasks[0].cancelling())

    async def main() -> str:
        tasks.append(asyncio.create_task(left_over()))
        await asyncio.sleep(1)
        tasks.append(asyncio.create_task(crash()))
        return "done"

    tasks: list[asyncio.Task[None]] = []
    with pytest.raises(Crash, match="now"):
        virtualtime.run(main())
    assert cancelled == [0], "nothing is cleaned up as after a result"


def test_a_generator_that_was_to_be_closed_next_is_dropped() -> None:
    async def count() -> AsyncIterator[int]:
        yield 1

    async def main() -> str:
        generator = count()
        await anext(generator)
        this_loop().call_soon(this_loop().abort, Crash("now"))
        del generator
        return "done"

    with pytest.raises(Crash, match="now"):
        virtualtime.run(main())


def test_tasks_that_refuse_to_end_are_left_without_a_warning() -> None:
    log: list[str] = []

    async def swallow_everything() -> None:
        while True:
            try:
                await asyncio.sleep(1)
            except BaseException:
                log.append("again")

    async def fail_on_the_way_out() -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            raise ValueError

    async def start_more_on_the_way_out() -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            this_loop().task = asyncio.create_task(fail_on_the_way_out())  # type: ignore[attr-defined]
            never_awaited = fail_early()
            log.append(f"started more, and forgot {type(never_awaited).__name__}")

    async def fail_early() -> None:
        raise ValueError

    async def main() -> None:
        coroutines = [swallow_everything(), fail_on_the_way_out(), start_more_on_the_way_out()]
        tasks = [asyncio.create_task(each) for each in [*coroutines, fail_early()]]
        await asyncio.sleep(3)
        this_loop().abort(Crash(f"with {len(tasks)} tasks"))

    with pytest.raises(Crash, match="with 4 tasks"):
        virtualtime.run(main())
    assert "started more, and forgot coroutine" in log


def test_every_finally_block_runs_from_the_inside_out_even_if_some_await() -> None:
    log: list[str] = []

    async def main() -> None:
        try:
            try:
                this_loop().call_later(1, this_loop().abort, Crash("now"))
                await asyncio.sleep(1000)
            finally:
                await asyncio.sleep(1)
        finally:
            log.append("inner")
            await asyncio.sleep(0)
            log.append("not this far")

    async def outer() -> None:
        try:
            await main()
        finally:
            log.append("outermost")

    with pytest.raises(Crash, match="now"):
        virtualtime.run(outer())
    assert log == ["inner", "outermost"]


def test_a_crash_leaves_nothing_to_say_even_when_the_process_ends() -> None:
    code = """
import asyncio
from cellspec import virtualtime
async def cling():
    while True:
        try:
            await asyncio.sleep(1)
        finally:
            await asyncio.sleep(1)
async def numbers():
    while True:
        await asyncio.sleep(1)
        yield 1
async def iterate():
    async for _ in numbers():
        pass
async def main():
    tasks = [asyncio.create_task(c()) for c in (cling, iterate, iterate)]
    await asyncio.sleep(5.5)
    asyncio.get_running_loop().abort(SystemExit(7))
virtualtime.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "always", "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (7, "")


def test_an_aborted_loop_never_runs_again() -> None:
    loop = VirtualTimeLoop()
    with pytest.raises(Crash, match="now"):
        loop.run_until_complete(abort_it(loop))
    coroutine = asyncio.sleep(0)
    with pytest.raises(Crash, match="now"):
        loop.run_until_complete(coroutine)
    loop.abandon()
    assert loop.is_closed()
    loop.abandon()


def test_a_loop_that_is_abandoned_says_why() -> None:
    loop = VirtualTimeLoop()
    loop.abandon()
    assert isinstance(loop.aborted, VirtualTimeError)
    other = VirtualTimeLoop()
    other.abandon(Crash("why"))
    assert isinstance(other.aborted, Crash)


def test_a_running_loop_cannot_be_abandoned() -> None:
    async def main() -> None:
        this_loop().abandon()

    with pytest.raises(RuntimeError, match="a running loop cannot be abandoned"):
        virtualtime.run(main())


# Arguments


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": -1}, "seed: expected an integer from 0, or None, got -1"),
        ({"seed": "x"}, "seed: expected an integer from 0, or None, got 'x'"),
        ({"start_s": math.inf}, "start_s: expected a finite number of seconds, got inf"),
        ({"start_s": "0"}, "start_s: expected a finite number of seconds, got '0'"),
        ({"max_time_s": -1}, "max_time_s: expected seconds from start_s on, got -1"),
        ({"max_time_s": math.nan}, "max_time_s: expected seconds from start_s on, got nan"),
        ({"max_iterations": 0}, "max_iterations: expected a positive integer, got 0"),
        ({"max_idle_iterations": 1.5}, "max_idle_iterations: expected a positive integer, got 1.5"),
    ],
)
def test_an_argument_that_cannot_be_used_is_refused_in_one_line(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(SpecError) as raised:
        virtualtime.run(asyncio.sleep(0), **options)
    assert str(raised.value) == message


def test_an_argument_other_than_a_coroutine_is_refused() -> None:
    with pytest.raises(SpecError, match="main: expected a coroutine or a function of one, got int"):
        virtualtime.run(7)  # type: ignore[arg-type]
    with pytest.raises(SpecError, match="got NoneType"):
        virtualtime.run(lambda: None)  # type: ignore[arg-type, return-value]


def test_a_run_within_a_running_loop_is_refused() -> None:
    async def main() -> None:
        virtualtime.run(asyncio.sleep(0))

    with pytest.raises(RuntimeError, match="cannot be called while an event loop is running"):
        virtualtime.run(main())


def test_an_exception_of_main_comes_out_and_other_tasks_are_still_cleaned_up() -> None:
    log: list[str] = []

    async def left_over() -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            log.append("clean")

    async def main() -> None:
        this_loop().task = asyncio.create_task(left_over())  # type: ignore[attr-defined]
        await asyncio.sleep(1)
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        virtualtime.run(main())
    assert log == ["clean"]


async def _cancelled_by_a_group() -> list[int]:
    """The order in which a task group cancels 30 tasks, as one of them fails."""
    order = []

    async def sleeper(number: int) -> None:
        try:
            await asyncio.sleep(99)
        except asyncio.CancelledError:
            order.append(number)
            raise

    async def fails() -> None:
        await asyncio.sleep(1)
        raise ValueError

    with contextlib.suppress(ExceptionGroup):
        async with asyncio.TaskGroup() as group:
            for number in range(30):
                group.create_task(sleeper(number))
            group.create_task(fails())
    return order


async def _pending_in_threads() -> list[int]:
    """The order of a set of 30 futures of the default executor."""
    loop = asyncio.get_running_loop()
    jobs = [loop.run_in_executor(None, int, number) for number in range(30)]
    done, _ = await asyncio.wait(jobs)
    return [job.result() for job in done]


@pytest.mark.parametrize("order", [_cancelled_by_a_group, _pending_in_threads])
def test_sets_of_tasks_and_futures_have_the_same_order_in_each_run(
    order: Callable[[], Coroutine[Any, Any, list[int]]],
) -> None:
    assert virtualtime.run(order) == list(range(30))


def test_ctrl_c_finds_no_function_in_python_where_a_task_is_destroyed() -> None:
    # Python prints an exception out of such a function, and goes on.
    class Item:
        pass

    items = WeakInOrder()
    kept, gone, left = Item(), Item(), Item()
    for item in (kept, gone, left):
        items.add(item)
    items.discard(left)
    called: list[str] = []
    sys.setprofile(lambda frame, event, _: called.append(event + frame.f_code.co_name))
    del gone
    del left, item
    sys.setprofile(None)
    assert [each for each in called if each.startswith("call")] == []
    assert (list(items), len(items)) == ([kept], 1)
