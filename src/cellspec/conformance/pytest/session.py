"""A pytest session that is about conformance: options in, tests' outcomes and reports out.

The hooks of this module are registered only when a backend was given
(`cellspec.conformance.pytest.plugin` sees to that).

Under pytest-xdist all conformance tests go to one worker process: each campaign depends on the
results of the one before, and two processes would each run all of them. The worker hands its
results to the process that reports.

The exit code of the process is that of `cellspec.exit_codes`: pytest knows that a test failed, and
this module why. What failed first in this order decides: a clause, or a test that is not ours;
cellspec itself; its input; too little evidence.
"""

from __future__ import annotations

import bdb
import contextlib
import importlib
import json
import math
import time
from collections.abc import Generator, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import pytest

from cellspec.clauses import Clause
from cellspec.conformance.campaign.options import seeds_words
from cellspec.conformance.campaign.suite import Suite
from cellspec.conformance.judge.profiles import Profile
from cellspec.conformance.judge.run_result import Interrupted
from cellspec.conformance.judge.verdict import Judgement, Verdict
from cellspec.conformance.pytest.accepted import Accepted
from cellspec.conformance.pytest.aside import Aside
from cellspec.conformance.pytest.given import Given
from cellspec.conformance.report.failure_text import failure_text, root_line
from cellspec.conformance.report.results import results
from cellspec.conformance.report.summary import summary
from cellspec.conformance.report.write import (
    RESULTS_NAME,
    clear_report,
    write_reports,
)
from cellspec.conformance.run.case import describe
from cellspec.conformance.run.recorder import AdapterError
from cellspec.conformance.run.users_exit import forget_debuggers, note_debugger
from cellspec.conformance.run.watchdog import Watchdog
from cellspec.errors import SpecError
from cellspec.exit_codes import BAD_INPUT, FINE, INCONCLUSIVE, INTERNAL, INTERRUPTED, VIOLATED

__all__ = ["Session"]

_HANDED_OVER = "cellspec_results"
HANDING_OVER_S = 10.0
"""Real seconds that a worker may take, after Ctrl-C, to hand over what it found."""
_ROOT = "root"
_TESTS = Path(__file__).with_name("test_conformance.py")
_WORST_FIRST = (VIOLATED, INTERNAL, BAD_INPUT, INCONCLUSIVE, FINE)


class Session:
    """The hooks of a conformance run, and the methods that its tests call.

    Raises:
        SpecError: an option that cannot be used.
    """

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        given = Given(config)
        given.check()
        with _captured(config):
            # The module of the backend is imported, and may print something.
            self.suite = Suite.of(given.options())
        self.report, self.json_file, self.html_file = given.report, given.json_file, given.html_file
        if self.report is not None:
            self.suite.before_saving = partial(clear_report, self.report)
        self.accepted = self._accepted(config)
        self.done: list[dict[str, Any]] = []
        self.written: list[Path] = []
        self.refused = ""
        self.code = FINE
        self._ended_by: type[BaseException] | None = None
        self._failed = False
        self._failing = 0
        self._aside = Aside()
        self.suite.say = self._aside.say
        self._workers: list[Any] = []
        self._shown: set[int] = set()
        self.unshown: list[str] = []
        self._cut_short = ""
        self._others_failed = False

    @pytest.fixture
    def conformance(self) -> Session:
        """The run, for the tests of the suite."""
        return self

    def _accepted(self, config: pytest.Config) -> Accepted:
        written = [] if self.report is None else [self.report / RESULTS_NAME]
        written += [] if self.json_file is None else [self.json_file]
        return Accepted(config, self.suite, written)

    # Called by the tests

    def smoke(self) -> None:
        """Fail if the adapter is wrong; what the engine breaks fails the tests of its clauses."""
        found = self.suite.smoke
        if found is not None:
            self._note(BAD_INPUT)
            workload = [f"    {line}" for line in describe(found.workload)]
            lines = [f"    {line}" for line in found.explanation]
            parts = [f"smoke: {found}", "\n".join(["the workload", *workload]), "\n".join(lines)]
            text = "\n\n".join([*filter(None, parts), "all other tests are not run"])
            pytest.fail(text, pytrace=False)

    def campaign(self, profile: Profile) -> dict[str, Any]:
        """Run the campaign of a profile, and return its evidence; skip one that cannot run."""
        self._expect_sound()
        campaign = self.suite.campaign(profile)
        if profile.name in self.suite.errors:
            raise self.suite.errors[profile.name]
        if campaign is None:
            pytest.skip(_not_run(self.suite.not_run(profile)))
        found = campaign.evidence
        if found.stopped_at:
            pytest.skip(f"stopped at {found.stopped_at} after {found.workloads} workloads")
        uncovered = found.uncovered(profile, self.suite.capabilities)
        if uncovered:
            pytest.skip(f"inconclusive: not covered: {'; '.join(uncovered)}")
        return found.to_json()

    def judge(self, clause: Clause, profile: Profile) -> Judgement:
        """The judgement of a clause, when all campaigns are over."""
        self._expect_sound()
        if self.suite.smoke is None:
            self.suite.run_all()
        return self.suite.judge(clause, profile)

    def note(self, clause: Clause, judgement: Judgement) -> None:
        """End the test of a clause with the outcome that its judgement has in pytest."""
        if self.suite.smoke is not None and judgement.verdict is not Verdict.NOT_CLAIMED:
            pytest.skip("not run: the smoke test failed")
        stale = judgement.passed or judgement.verdict is Verdict.NOT_CLAIMED
        xfails = self.suite.options.xfails
        if stale and xfails is not None and clause.number in self.suite.expected:
            self._note(BAD_INPUT)
            pytest.fail(
                f"{clause.number} is listed in {self.suite.shown(xfails)} as expected to fail, "
                f"and did not: {judgement.verdict.value} ({judgement.reason}). Take it off the "
                "list",
                pytrace=False,
            )
        if judgement.passed:
            return
        accepted = self.accepted.why(clause.number, judgement)
        number = self.suite.consequences.get(clause.number)
        behind = number is not None and self._is_asked_for(number)
        if judgement.verdict is Verdict.INCONCLUSIVE and not accepted and not behind:
            self.suite.inconclusive[clause.number] = judgement
        if not judgement.broken:
            pytest.skip(f"{judgement.verdict.value}: {judgement.reason}")
        if clause.number in self.suite.expected:
            pytest.xfail(judgement.reason)
        if accepted:
            pytest.xfail(accepted)
        if number is not None and self._fails(number):
            # The run fails by the test of its root.
            pytest.skip(f"{judgement.verdict.value}: {judgement.reason}")
        self.fail(clause.number)

    def _expect_sound(self) -> None:
        """Skip if the smoke test could not be run to its end; that test has reported it."""
        if "smoke" in self.suite.errors:
            pytest.skip("not run: the smoke test ended with an error")

    def fail(self, clause: str) -> NoReturn:
        """Fail with the roots that broke a clause: the first of the run in full, others in a line.

        A consequence fails with the line of its root, which fails no run.
        """
        self._note(VIOLATED)
        roots = self.suite.roots
        numbers = [n for n, root in enumerate(roots, 1) if root.failure.clause == clause]
        if clause in self.suite.consequences:
            numbers = [self.suite.consequences[clause]]
        self._fail_by_roots(numbers)

    def _fail_by_roots(self, numbers: list[int]) -> NoReturn:
        self._failing = numbers[0]
        self._shown.update(numbers)
        pytest.fail("\n\n\n".join(map(self._text, numbers)), pytrace=False)

    def _text(self, number: int) -> str:
        """The text of a root: in full if it is the first that fails the run."""
        failing = (other for other in range(1, number) if self._fails(other))
        if self._fails(number) and not any(failing):
            return failure_text(self.suite, self.suite.roots[number - 1].failure)
        return root_line(self.suite, number)

    def _fails(self, number: int) -> bool:
        """Whether a root fails the run: it is asked for, and neither expected nor accepted."""
        failure = self.suite.roots[number - 1].failure
        if not self._is_asked_for(number) or failure.clause in self.suite.expected:
            return False
        return not self.accepted.why_root(failure)

    def _is_asked_for(self, number: int) -> bool:
        """Whether the run may fail by a root; else what broke with it counts by itself."""
        clause = self.suite.roots[number - 1].failure.clause
        return not self.suite.options.only or clause in self.suite.homes

    def others(self) -> None:
        """Fail if a clause broke whose test is not in this run."""
        self._expect_sound()
        if self.suite.smoke is not None:
            pytest.skip("not run: the smoke test failed")
        self.suite.run_all()
        if self.suite.options.only:
            pytest.skip(f"only {', '.join(sorted(self.suite.homes))} was asked for")
        others = {failure.clause for failure in self.suite.other_failures()}
        broken = [
            number
            for number, root in enumerate(self.suite.roots, 1)
            if root.failure.clause in others and self._fails(number)
        ]
        if broken:
            self._note(VIOLATED)
            self._fail_by_roots(broken)

    def replay(self) -> None:
        """Run the case that was asked for, and fail if it breaks anything."""
        failure = self.suite.replay()
        if failure is not None:
            self._note(VIOLATED)
            pytest.fail(failure_text(self.suite, failure), pytrace=False)

    def _note(self, code: int) -> None:
        """Something is wrong that ends the run with this exit code, unless worse is found."""
        self.code = min((code, self.code), key=_WORST_FIRST.index)

    # Hooks

    def pytest_report_header(self) -> str:
        suite = self.suite
        if suite.case is not None:
            assert suite.options.replay is not None
            case = suite.shown(suite.options.replay)
            return f"cellspec: replay of {case} on {suite.backend.name}"
        names = [profile.name for profile in suite.profiles if profile.name in suite.capabilities]
        return (
            f"cellspec: {suite.backend.name} {suite.backend.version}; "
            f"{', '.join(names) or 'no profile that it has the capability for'}; "
            f"{suite.options.max_examples} workloads each, {seeds_words(suite.options)}"
        )

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        if not _is_ours(metafunc.definition):
            return
        profiles = [] if self.suite.case is not None else list(self.suite.profiles)
        if "clause" in metafunc.fixturenames:
            pairs = [(clause, profile) for profile in profiles for clause in profile.clauses]
            names = [clause.number for clause, _ in pairs]
            metafunc.parametrize(("clause", "profile"), pairs, ids=names)
        elif "profile" in metafunc.fixturenames:
            metafunc.parametrize("profile", profiles, ids=[profile.name for profile in profiles])

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Of a replay only the replay is there; of anything else, all but the replay."""
        only = self.suite.case is not None
        items[:] = [
            item for item in items if not _is_ours(item) or (item.name == "test_replay") == only
        ]

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Any) -> Any:
        if config.getvalue("dist") == "each":
            return None
        return importlib.import_module("xdist.scheduler").LoadFileScheduling(config, log)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodeready(self, node: Any) -> None:
        self._workers.append(node)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Take over what a worker process found; one that was interrupted goes down twice."""
        if node not in self._workers:
            return
        self._workers.remove(node)
        text = getattr(node, "workeroutput", {}).get(_HANDED_OVER)
        if text:
            found = json.loads(text)
            self._note(found["code"])
            self.refused = self.refused or found["refused"]
            self.unshown += found["unshown"]
            self.done += [found["results"]] if found["results"] else []

    @pytest.hookimpl(wrapper=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> Generator[None, object, object]:
        """End the run as ``q`` at a breakpoint of pytest does, however a debugger was quit.

        In a worker of pytest-xdist nobody quit it: it has no terminal, and reads its end at once.
        Where a run was cut short, each test that follows would begin it anew; none does.
        """
        if not _is_ours(pyfuncitem):
            return (yield)
        if self._cut_short:
            pytest.skip(f"not run: {self._cut_short}")
        try:
            with Watchdog(self._aside.say):
                return (yield)
        except pytest.fail.Exception as error:
            expected = isinstance(error, pytest.xfail.Exception)
            if self.code == FINE and not expected:
                # Not from here, where each failure is noted before: a limit of time, perhaps.
                self._cut_short = str(error).partition("\n")[0]
                self.suite.interrupted = True
                self._note(BAD_INPUT)
            raise
        except Interrupted:
            # As pytest knows it.
            raise KeyboardInterrupt from None
        except AdapterError as error:
            # Only a workload shows that a backend's `fit` cannot be used.
            self._note(BAD_INPUT)
            raise pytest.fail.Exception(str(error), pytrace=False) from None
        except bdb.BdbQuit:
            self._cut_short = "a breakpoint was met"
            self.suite.interrupted = True
        if not hasattr(self.config, "workerinput"):
            pytest.exit("Quitting debugger")
        self._note(BAD_INPUT)
        pytest.fail("a breakpoint needs a terminal, and -n has none; leave -n out", pytrace=False)

    def pytest_unconfigure(self) -> None:
        self._aside.close()

    def pytest_enter_pdb(self, pdb: Any) -> None:
        note_debugger(pdb)

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """The run ends early: by Ctrl-C, or by an exception of pytest or of pytest-xdist."""
        self._ended_by = excinfo.type
        self.suite.interrupted = True
        if excinfo.type is KeyboardInterrupt:
            self._await_workers()

    def _await_workers(self) -> None:
        """Give workers, which Ctrl-C interrupts too, a moment to hand over what they found.

        pytest-xdist ends them next. A second Ctrl-C ends the wait.
        """
        with contextlib.suppress(KeyboardInterrupt):
            until = time.monotonic() + HANDING_OVER_S
            while not all(hasattr(node, "workeroutput") for node in self._workers):
                if time.monotonic() > until:
                    break
                time.sleep(0.05)
        for node in [node for node in self._workers if hasattr(node, "workeroutput")]:
            self.pytest_testnodedown(node)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Leave a failure its first line in the short summary, and say which root it tells.

        On a CI service pytest cuts no message there, and each finding would be printed twice.
        """
        report = yield
        crash = getattr(report.longrepr, "reprcrash", None)
        if crash is not None and _is_ours(item):
            crash.message = crash.message.partition("\n")[0]
        if report.failed and self._failing:
            report.user_properties.append((_ROOT, self._failing))
            self._failing = 0
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._failed |= report.failed
        if report.failed and Path(report.nodeid.partition("::")[0]).name != _TESTS.name:
            self._others_failed = True

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        for error in self.suite.errors.values():
            self._note(BAD_INPUT if isinstance(error, AdapterError) else INTERNAL)
        if self.suite.fails_inconclusive:
            self._note(INCONCLUSIVE)
        self._report(session.exitstatus)
        forget_debuggers()
        # A worker of pytest-xdist hands its code over; the process that reports ends with it.
        if not hasattr(self.config, "workerinput"):
            session.exitstatus = self._exit_code(session.exitstatus)

    def _exit_code(self, status: int) -> int:
        """The exit code of the process, which pytest would end with its own `status`."""
        if status == pytest.ExitCode.INTERRUPTED:
            if self._ended_by in (KeyboardInterrupt, pytest.exit.Exception):
                # By Ctrl-C, or the user quit a debugger.
                return INTERRUPTED
            if not self._failed:
                # Not all could be collected.
                return BAD_INPUT
            # By pytest-xdist, after as many failures as --maxfail allows.
            status = pytest.ExitCode.TESTS_FAILED
        if status == pytest.ExitCode.INTERNAL_ERROR:
            return INTERNAL
        if status in (pytest.ExitCode.USAGE_ERROR, pytest.ExitCode.NO_TESTS_COLLECTED):
            return BAD_INPUT
        if status == pytest.ExitCode.TESTS_FAILED:
            if self._others_failed:
                return VIOLATED
            # A test of ours failed that should have said why.
            return self.code if self.code not in (FINE, INCONCLUSIVE) else INTERNAL
        return self.code if status == pytest.ExitCode.OK else status

    def _say_what_ends_it(self, status: int) -> None:
        """Note in the results whether something else than inconclusive clauses ends the run."""
        worse = self._exit_code(status) not in (FINE, INCONCLUSIVE)
        for found in self.done:
            found["backends"][0]["inconclusive"]["worse"] = worse

    def _report(self, status: int) -> None:
        if self.suite.unsaved:
            self.refused = self.suite.unsaved
            self._note(BAD_INPUT)
        if self.suite.interrupted:
            roots = range(1, len(self.suite.roots) + 1)
            unshown = (n for n in roots if n not in self._shown and self._fails(n))
            self.unshown += map(self._text, unshown)
        if self.suite.campaigns or "smoke" in vars(self.suite):
            with _captured(self.config):
                found = results(self.suite)
            self.accepted.add_to(found)
            self.done.append(found)
        self._say_what_ends_it(status)
        handed_over = getattr(self.config, "workeroutput", None)
        if handed_over is not None:
            mine = self.done[0] if self.done else None
            found_here = {"code": self.code, "results": mine, "unshown": self.unshown}
            handed_over[_HANDED_OVER] = json.dumps({**found_here, "refused": self.refused})
            return
        try:
            self.written += self.accepted.write_pins() if self.done else []
            for found in self.done:
                self.written += write_reports(
                    found,
                    folder=self.report,
                    json_file=self.json_file,
                    html_file=self.html_file,
                )
        except SpecError as error:
            self.refused = str(error)
            self._note(BAD_INPUT)
            self._say_what_ends_it(status)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_terminal_summary(self, terminalreporter: Any) -> Generator[None, None, None]:
        """Print the summary of the run last, behind the list of skipped tests that -ra asks for.

        The failures stand in the order of the roots, so the first root comes first, and in full.
        """
        terminalreporter.stats.get("failed", []).sort(key=_root_of)
        yield
        if self.unshown:
            terminalreporter.section("found before the run was interrupted")
            terminalreporter.write_line("\n\n\n".join(self.unshown))
        if not self.done and not self.refused:
            if self._ended_by is not None and self._workers:
                terminalreporter.section("cellspec conformance")
                terminalreporter.write_line(
                    "interrupted: -n has run the suite in another process, and what that one found "
                    "is lost, for it was not interrupted too; no report was written"
                )
            return
        terminalreporter.section("cellspec conformance")
        lines = [line for found in self.done for line in summary(found)]
        lines += [f"written: {self.suite.shown(path)}" for path in self.written]
        if lines:
            # At once: threads of an engine that are still at work may print something meanwhile.
            terminalreporter.write_line("\n".join(lines))
        if self.refused:
            terminalreporter.write_line(f"report: {self.refused}", red=True)


@contextlib.contextmanager
def _captured(config: pytest.Config) -> Iterator[None]:
    """Capture what an engine prints outside of a test, too; it is let go of.

    Its runs in tests are captured by pytest. Its module is imported before, and results measure the
    cost of an event by a few runs more.
    """
    capture: Any = config.pluginmanager.getplugin("capturemanager")
    if capture is None or not capture.is_globally_capturing():
        yield
        return
    capture.resume_global_capture()
    try:
        yield
    finally:
        # Of a run that was interrupted, pytest has ended the capture before.
        with contextlib.suppress(AssertionError):
            capture.suspend_global_capture()
            capture.read_global_capture()


def _root_of(report: pytest.TestReport) -> float:
    """The number of the root by which a test failed; other failures come behind them all."""
    return next((float(str(n)) for name, n in report.user_properties if name == _ROOT), math.inf)


def _is_ours(item: pytest.Item) -> bool:
    return item.path == _TESTS


def _not_run(why: str) -> str:
    return f"not claimed: {why}" if why.startswith("the backend lacks") else f"not run: {why}"
