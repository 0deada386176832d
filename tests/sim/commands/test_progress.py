"""The progress of many runs: what it says, where it is shown, and how an interrupt ends."""

from __future__ import annotations

import io
import re
import signal
import sys
from pathlib import Path

import pytest

from cellspec.parallel import in_parallel
from sim.cli import main
from sim.commands.progress import (
    RunProgress,
    begin_again,
    run_progress,
    runs_ahead,
    show_interval,
    time_words,
)
from sim.experiments.intervals import NO_MEAN, Mean
from sim.experiments.stopping import FixedRuns, Precision
from tests.sim.experiments.test_replication import BESIDE, SMALL


class Terminal(io.StringIO):
    """A stream that is a terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def shown_on_terminal(monkeypatch: pytest.MonkeyPatch) -> str:
    # Not a fixture: pytest puts a stderr of its own in place between a fixture and its test.
    found = Terminal()
    monkeypatch.setattr(sys, "stderr", found)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")
    three_of_five()
    return found.getvalue()


class Clock:
    """A clock that is set by hand."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def three_of_five() -> None:
    with run_progress(5) as progress:
        for _ in range(3):
            progress.done()
        progress.say("makespan_s ± 3.4 %")


def fail_after_two(error: BaseException) -> None:
    with run_progress(5, go_on=lambda made: f"{made} kept") as progress:
        progress.done()
        progress.done()
        raise error


def test_the_time_left_is_the_mean_time_of_a_run_for_each_that_is_left() -> None:
    clock = Clock()
    progress = RunProgress(10, clock=clock)
    assert progress.left_s() is None
    assert progress.words() == ["0 of 10 runs"]
    clock.now += 8
    progress.done(0, "a run")
    assert progress.left_s() == 72
    clock.now += 4
    progress.done(0, "a run")
    assert progress.left_s() == 48
    # It goes down while the next run goes on.
    clock.now += 3
    assert progress.left_s() == 45
    clock.now += 300
    assert progress.words() == ["2 of 10 runs", "0 s left"]


def test_an_estimate_of_the_runs_says_so() -> None:
    progress = RunProgress(thing="point")
    progress.done()
    assert progress.words() == ["1 point"]
    progress.expect(40, about=True)
    progress.say("makespan_s ± 3.4 %")
    assert progress.words()[:2] == ["1 of about 40 points", "makespan_s ± 3.4 %"]
    # No fewer than there are.
    progress.expect(0)
    assert progress.count_words() == "1 of 1 point"


def test_more_runs_than_were_expected_are_counted_as_they_are() -> None:
    progress = RunProgress(1)
    progress.done()
    progress.done()
    assert progress.count_words() == "2 of 2 runs"
    progress.expect(3, about=True)
    progress.done()
    assert progress.count_words() == "3 of about 3 runs"
    # The estimate was too small.
    progress.done()
    assert progress.words() == ["4 runs"]


def test_runs_until_a_precision_are_expected_to_be_as_many_as_the_interval_says() -> None:
    rule = Precision(0.02, most_runs=300)
    assert (runs_ahead(rule), runs_ahead(Precision(0.02, 5)), runs_ahead(FixedRuns(7))) == (
        20,
        5,
        7,
    )
    progress = RunProgress(2 * runs_ahead(rule))
    show_interval(progress, Mean(5, 100.0, 1.0, 50.0), rule, "x {} of A", each=2)
    # Five runs say too little of how many it takes.
    assert progress.words() == ["0 of 40 runs", "x ± 50 % of A"]
    show_interval(progress, Mean(10, 100.0, 1.0, 4.0), rule, "x {} of A", each=2)
    assert progress.words() == ["0 of about 100 runs", "x ± 4 % of A"]
    show_interval(progress, Mean(10, 100.0, 1.0, 400.0), rule, "x {}", each=2)
    assert progress.words() == ["0 of about 600 runs", "x ± 400 %"]
    show_interval(progress, NO_MEAN, rule, "x {}", each=2)
    assert progress.words() == ["0 of about 600 runs", "x ± 400 %"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "a.yaml", "--precision", "5%", "--most", "24"],
        ["compare", "a.yaml", "--set-b", "limits.resources.chat=5", "--precision", "1%"],
        ["compare", "a.yaml", "--set-b", "limits.resources.chat=5", "--replications", "3"],
    ],
    ids=" ".join,
)
def test_a_terminal_shows_how_sure_the_figure_is_so_far(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.yaml").write_text(SMALL)
    found = Terminal()
    monkeypatch.setattr(sys, "stderr", found)
    for name, value in {"NO_COLOR": "1", "COLUMNS": "100", "TERM": "xterm-256color"}.items():
        monkeypatch.setenv(name, value)
    assert main(arguments) == 0
    of_a = " of A" * (arguments[0] == "compare")
    # Of an estimate that was too small nothing is left to say: "22 runs".
    last = re.findall(
        rf"(\d+)(?: of (?:about )?(\d+))? runs  makespan_s ± [\d.]+ %{of_a}", found.getvalue()
    )[-1]
    assert int(last[0]) <= int(last[1] or last[0])


def test_a_terminal_counts_runs_of_a_pipeline_alone_and_beside_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.yaml").write_text(SMALL)
    (tmp_path / "b.yaml").write_text(BESIDE)
    found = Terminal()
    monkeypatch.setattr(sys, "stderr", found)
    monkeypatch.setenv("TERM", "xterm-256color")
    figure = ("--figure", "pipeline.small.makespan_s", "--replications", "3")
    assert main(["compare", "a.yaml", "b.yaml", *figure]) == 0
    assert " of 6 runs" in found.getvalue()


def ignores_interrupts(_number: int) -> bool:
    return signal.getsignal(signal.SIGINT) == signal.SIG_IGN


def test_an_interrupt_is_for_this_process_and_for_no_other_one() -> None:
    # One that was just beginning would show a traceback of its imports.
    assert list(in_parallel(ignores_interrupts, range(2), jobs=2)) == [True, True]
    assert not ignores_interrupts(0)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == set()


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "0 s"), (99.4, "99 s"), (99.6, "2 min"), (5900, "98 min"), (7800, "2 h 10 min")],
)
def test_a_time_to_come_is_told_roughly(seconds: float, words: str) -> None:
    assert time_words(seconds) == words


def test_nothing_is_shown_where_stderr_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    three_of_five()
    assert capsys.readouterr() == ("", "")


def test_a_terminal_shows_a_bar_and_is_left_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    text = shown_on_terminal(monkeypatch)
    assert "3 of 5 runs" in text
    assert "makespan_s ± 3.4 %" in text
    assert re.search(r"\x1b\[[0-9;]*9[0-9]m━", text)
    assert text.endswith("\x1b[2K")


def test_no_color_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    text = shown_on_terminal(monkeypatch)
    assert "3 of 5 runs" in text
    assert not re.search(r"\x1b\[[0-9;]*m", text)


def test_without_rich_it_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("rich", "rich.console", "rich.live"):
        monkeypatch.setitem(sys.modules, name, None)
    text = shown_on_terminal(monkeypatch)
    assert "0 of 5 runs" in text
    assert "\x1b" not in text
    assert re.search(r"\r +\r$", text)


def test_runs_that_are_not_kept_are_asked_for_by_their_number() -> None:
    assert begin_again(FixedRuns(9), 1).startswith(
        "nothing is kept, and the same command begins again; a sweep"
    )
    assert "; --replications 7 ends with as many; " in begin_again(FixedRuns(9), 7)
    # The two options exclude each other.
    assert "; --replications 7 instead of --precision ends" in begin_again(Precision(0.1), 7)


def test_an_estimate_is_called_one() -> None:
    progress = RunProgress(20, about=True)
    assert progress.count_words() == "0 of about 20 runs"
    for _ in range(21):
        progress.done()
    assert progress.count_words() == "21 runs"


def test_an_interrupt_says_how_to_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt):
        fail_after_two(KeyboardInterrupt())
    assert capsys.readouterr().err == "2 of 5 runs made; 2 kept\n"


def test_an_error_says_only_itself(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="no"):
        fail_after_two(ValueError("no"))
    assert capsys.readouterr().err == ""
