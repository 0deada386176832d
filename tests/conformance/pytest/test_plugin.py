"""The conformance plugin, as a developer of an engine meets it: from a mistyped name to a
report."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from types import SimpleNamespace

import pytest

# Imported here, so that runs within this process find these modules and make no second ones.
import cellspec.conformance.pytest.session
from cellspec import ColumnDescriptor
from cellspec.clauses import clauses
from cellspec.conformance.campaign.options import MAX_EXAMPLES, Options
from cellspec.conformance.campaign.pins import pins_text
from cellspec.conformance.campaign.results import Campaign
from cellspec.conformance.campaign.scaling_shapes import Shape
from cellspec.conformance.campaign.suite import Suite
from cellspec.conformance.judge.evidence import Evidence
from cellspec.conformance.judge.profiles import PROFILES
from cellspec.conformance.pytest.session import Session
from cellspec.conformance.run.case import Case, read_case
from cellspec.conformance.run.workload import Workload
from cellspec.errors import SpecError
from cellspec.exit_codes import (
    BAD_INPUT,
    FINE,
    INCONCLUSIVE,
    INTERNAL,
    INTERRUPTED,
    VIOLATED,
)

pytest_plugins = ["pytester"]

ENGINE = '''
"""An engine that is right, a column at a time, and some that are not."""
import json

from cellspec.conformance import Table


class Backend:
    name = "columns"
    version = "1"
    capabilities = frozenset({"core"})

    async def run(self, probe):
        rules = probe.graph.rules
        cells = {}
        for rule in rules.columns:
            names = [rules.columns[need].name for need in rule.needs]

            def given(row, names=names):
                return {name: cells[name, row] for name in names if (name, row) in cells}

            for scope in range(rules.scope_count(rule.index)):
                rows = self.scope(range(*rules.scope_bounds(rule.index, scope)))
                made = await probe.barrier(rule.name, scope, rows, [given(row) for row in rows])
                cells.update({(rule.name, row): value for row, value in zip(rows, made)})
            for row in range(0 if rule.is_barrier else probe.rows):
                cells[rule.name, row] = await probe.cell(rule.name, row, given(row))
        rows = {row: {} for row in range(probe.rows)}
        for (column, row), value in cells.items():
            rows[row][column] = value
        self.save(probe, rows)
        probe.end("success")

    def scope(self, rows):
        return list(rows)

    def save(self, probe, rows):
        (probe.folder / "table.json").write_text(json.dumps(rows))

    def table(self, probe):
        path = probe.folder / "table.json"
        rows = json.loads(path.read_text()) if path.exists() else {}
        return Table({int(row): values for row, values in rows.items()})


class Forgetful(Backend):
    """A barrier over three rows or more reads its rows but the last."""

    name = "forgetful"

    def scope(self, rows):
        return list(rows)[:-1] if len(rows) > 2 else list(rows)


class Swapping(Backend):
    """With three rows or more, the first two change places in the table."""

    name = "swapping"

    def save(self, probe, rows):
        if len(rows) > 2:
            rows[0], rows[1] = rows[1], rows[0]
        super().save(probe, rows)


class Both(Forgetful, Swapping):
    name = "both"


class Lazy(Backend):
    """Never saves: the smallest workload shows it."""

    def save(self, probe, rows):
        pass


class Miswired(Backend):
    """The adapter asks for a column that is not there."""

    async def run(self, probe):
        await probe.cell("nonsense", 0, {})


class Hasty(Backend):
    """Claims success after the first cell."""

    async def run(self, probe):
        first = probe.graph.column_names[0]
        self.save(probe, {0: {first: await probe.cell(first, 0, {})}})
        probe.end("success")


class Unversioned:
    name = "unversioned"
    capabilities = frozenset({"core"})

    def run(self, probe):
        pass

    def table(self, probe):
        pass


class Boastful(Backend):
    capabilities = frozenset({"core", "telepathy"})


class Unmakeable(Backend):
    def __init__(self):
        raise RuntimeError("no licence")


backend = Backend()
'''

FEW = "--max-examples=40"
SHORT = "--max-examples=3"
# Options that mean nothing together, or would lose a file, and what is said of them.
TOGETHER = (
    (
        "--replay=case.json --seeds=2 --conformance-only=BARR-01",
        "--seeds, --conformance-only wo",
    ),
    ("--replay=case.json --conformance-report report", "--conformance-report would have no effect"),
    ("--conformance-first --keep-going", "give one of them"),
    ("--conformance-json=a --conformance-html=./a", "json and --conformance-html: both would be"),
    ("--conformance-clauses=link.json --conformance-json=new.json", "be the file new.json"),
    ("--conformance-report=r --conformance-json=r/results.json", "report and --conformance-json"),
    ("--conformance-report=r --conformance-html=r/index.html", "report and --conformance-html"),
    ("--conformance-xfails=case.json --conformance-json=case.json", "xfails and --conformance-js"),
    ("--conformance-json=a.xml --junitxml=./a.xml", "--conformance-json and --junitxml: both wou"),
    ("--conformance-report=case.json", "report: case.json: expected a folder, but it is no folder"),
    ("--conformance-report=case.json/r", "case.json/r: expected a folder, but "),
    ("--conformance-report=odd", "report: odd/cases: expected a folder, but it is no folder"),
    ("--conformance-json=site", "json: site: cannot be written: it is a folder"),
    ("--conformance-html=site", "html: site: cannot be written: it is a folder"),
    ("--conformance-json=case.json/a", "json: case.json: expected a folder, but it is no folder"),
    ("--conformance-json=pins.json", "pins.json: is there already and was written by no run"),
    ("--conformance-html=theirs.html", "theirs.html: is there already and was written by no run"),
    ("--conformance-report=site", "site: its index.html was written by no run of the suite"),
    ("--conformance-only=", "expected clauses with commas between, got ''"),
    ("--conformance-only=ENDP-01", "a rule for calls at endpoints; `cellspec check` judges"),
    ("--conformance-only=BARR-01,SKIP-01", "SKIP-01 needs that the backend claims 'skips'"),
    ("--conformance-only=SCHED-17", "is claimed in the attribute `bypass_bound`"),
    ("--conformance-baseline=", "--conformance-baseline: expected a file, got ''"),
    ("--conformance-report=", "--conformance-report: expected a folder, got ''"),
)
SUITE = ("--pyargs", "cellspec.conformance")


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A folder with an engine in it, as its developer has it."""
    pytester.makepyfile(engine=ENGINE)
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    # pytester's processes find what the developer's would: modules that are not in the folder.
    monkeypatch.delitem(sys.modules, "engine", raising=False)
    return pytester


def judge(suite: pytest.Pytester, name: str, *options: str) -> pytest.RunResult:
    return suite.runpytest(*SUITE, f"--engine-backend=engine:{name}", *options)


def text_of(result: pytest.RunResult) -> str:
    return result.stdout.str()


# Who is not concerned


def test_loading_the_plugin_imports_nothing_that_costs_time() -> None:
    heavy = ("hypothesis", "numpy", "pydantic", "msgspec", "asyncio", "simpy", "yaml")
    code = (
        "import sys, pytest; before = set(sys.modules); import cellspec.conformance.pytest.plugin; "
        f"print([name for name in {heavy!r} if name in set(sys.modules) - before])"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert found.stdout.strip() == "[]"


def test_a_run_that_is_about_something_else_is_left_alone(suite: pytest.Pytester) -> None:
    suite.makeconftest(
        """
        def pytest_addoption(parser):
            for name in ("--profile", "--seed", "--replay", "--max-examples", "--keep-going"):
                parser.addoption(name, default="mine")
        """
    )
    suite.makepyfile(
        test_mine="""
        def test_mine(request):
            assert request.config.getoption("--profile") == "theirs"
            assert request.config.getoption("--seed") == "mine"
        """
    )
    result = suite.runpytest("--profile=theirs", "test_mine.py")
    result.assert_outcomes(passed=1)
    assert "cellspec conformance" not in text_of(result)


def test_the_tests_of_the_suite_are_collected_with_a_backend_only(suite: pytest.Pytester) -> None:
    folder = str(Path(cellspec.conformance.__path__[0]))
    suite.makepyfile(test_mine="def test_mine(): pass")
    suite.runpytest(folder, "test_mine.py").assert_outcomes(passed=1)


def test_without_a_backend_one_line_names_the_option_to_pass(suite: pytest.Pytester) -> None:
    result = suite.runpytest_subprocess(*SUITE)
    assert result.ret == BAD_INPUT
    assert result.stderr.lines[0] == (
        "ERROR: cellspec.conformance tests an engine: pass --engine-backend=module:Backend"
    )
    assert suite.runpytest(*SUITE, "--help").ret == 0


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--engine-backend=engine"], "expected module:attribute, got 'engine'"),
        (["--engine-backend=nowhere:Backend"], "nowhere: cannot be imported: ModuleNotFoundError"),
        (["--engine-backend=engine:Nobody"], "engine has no attribute 'Nobody'"),
        (["--engine-backend=engine:json"], "cannot be made: TypeError"),
        (["--engine-backend=engine:Unversioned"], "Unversioned: version: expected a string"),
        (["--engine-backend=engine:Boastful"], "unknown telepathy; there are core, "),
        (["--engine-backend=engine:Unmakeable"], "cannot be made: RuntimeError: no licence"),
        (["--engine-backend=engine:Backend", "--profile=cor"], "unknown profile 'cor'; there are"),
        (["--engine-backend=engine:Backend", "--profile=core,"], "unknown profile ''"),
        (["--engine-backend=engine:Backend", "--conformance-only=BARR-60"], "mean 'BARR-0"),
        (["--engine-backend=engine:Backend", "--conformance-only=BARR-01,"], "between, got ''"),
        (["--engine-backend=engine:Backend", "--conformance-only=GRAPH-01"], "judged by GRAPH-01"),
        (
            [
                "--engine-backend=engine:Backend",
                "--conformance-only=DROP-01",
                "--profile=core",
            ],
            "DROP-01 is of profile drops, and --profile asks for core; leave --profile out",
        ),
        (["--engine-backend=engine:Backend", "--seed=x"], "--seed: expected an integer from 0"),
        (["--engine-backend=engine:Backend", "--seeds=0"], "--seeds: expected an integer from 1"),
        (["--engine-backend=engine:Backend", "--max-examples=0"], "an integer from 1 up, got '0'"),
        (["--engine-backend=engine:Backend", "--replay=no.json"], "no.json: cannot be read: No"),
        (["--engine-backend=engine:Backend", "--replay=bad.json"], "bad.json: line 1: not JSON"),
        (["--engine-backend=engine:Backend", "--replay=odd.json"], "odd.json: workload: rows: "),
        (["--engine-backend=engine:Backend", "--conformance-xfails=no.txt"], "cannot be read"),
        (["--engine-backend=engine:Backend", "--conformance-xfails=1.txt"], "1.txt: line 2: "),
        (["--engine-backend=engine:Backend", "--conformance-xfails=2.txt"], "2.txt: line 1: BARR"),
        (["--engine-backend=engine:Backend", "--conformance-xfails=3.txt"], "3.txt: line 3: BARR"),
        (["--engine-backend=engine:Backend", "--conformance-xfails=4.txt"], "expected UTF-8"),
        *(
            (["--engine-backend=engine:Backend", *options.split()], line)
            for options, line in TOGETHER
        ),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_in_one_line(
    suite: pytest.Pytester, options: list[str], line: str
) -> None:
    Path("bad.json").write_text("{")
    Path("odd.json").write_text('{"failure": 1, "workload": {"case": 1, "columns": []}}')
    Path("1.txt").write_text("# clauses\nGRAPH-01 is not about runs\n")
    Path("2.txt").write_text("BARR-01\n")
    Path("3.txt").write_text("BARR-01 once\n\nBARR-01 twice\n")
    Path("4.txt").write_bytes(b"\xff")
    Path("case.json").write_text(Case(Workload((ColumnDescriptor("a"),), rows=1)).to_json())
    Path("pins.json").write_text(pins_text())
    Path("theirs.html").write_text("<title>mine</title>")
    Path("site").mkdir()
    Path("site", "index.html").write_text("<title>mine</title>")
    Path("link.json").symlink_to("new.json")
    Path("odd").mkdir()
    Path("odd", "cases").write_text("mine")
    with pytest.raises(pytest.UsageError) as refused:
        suite.parseconfigure(*SUITE, *options)
    assert line in str(refused.value)
    assert "\n" not in str(refused.value)


def test_options_that_cannot_be_used_together_leave_every_file_as_it_was(
    suite: pytest.Pytester,
) -> None:
    Path("pins.json").write_text(pins_text())
    Path("site").mkdir()
    Path("site", "index.html").write_text("<title>mine</title>")
    for option in ("json=pins.json", "report=site", "html=site/index.html"):
        options = (f"--conformance-{option}", "--profile=core", "--max-examples=1")
        assert suite.runpytest_subprocess(
            *SUITE, "--engine-backend=engine:Backend", *options
        ).ret == (BAD_INPUT)
    assert Path("pins.json").read_text() == pins_text()
    assert [path.name for path in Path("site").iterdir()] == ["index.html"]
    assert Path("site", "index.html").read_text() == "<title>mine</title>"


def test_a_value_that_cannot_be_used_ends_the_process_with_the_code_of_bad_input(
    suite: pytest.Pytester,
) -> None:
    for options in (["--engine-backend=nowhere:Backend"], ["--engine-backend=engine:Backend", "x"]):
        result = suite.runpytest_subprocess(*SUITE, *options)
        assert result.ret == BAD_INPUT
        errors = [text for text in result.stderr.lines if text]
        assert len(errors) == 1
        assert errors[0].startswith("ERROR: ")


# What is said of an engine


def test_an_engine_that_is_right_passes_exactly_the_profiles_that_it_claims(
    suite: pytest.Pytester,
) -> None:
    result = judge(suite, "Backend", "--max-examples=60", "-rs")
    core = sum(not clause.needs for clause in PROFILES[0].clauses)
    others = sum(len(profile.clauses) for profile in PROFILES) - core
    # Smoke, the campaign of the only profile that it claims, its clauses, and the other clauses.
    result.assert_outcomes(passed=core + 3, skipped=others + len(PROFILES) - 1)
    assert "not claimed: the backend lacks the capability 'drops'" in text_of(result)
    result.stdout.fnmatch_lines(["core * 60 of 60 *", f"clauses: {core} pass, * not claimed"])


def test_a_backend_may_be_an_object_as_well_as_a_class(suite: pytest.Pytester) -> None:
    result = judge(suite, "backend", FEW, "-k", "smoke or TABLE-01")
    result.assert_outcomes(passed=2)


def test_one_cause_gives_one_failure(suite: pytest.Pytester) -> None:
    result = judge(suite, "Forgetful", FEW, "-rf")
    outcomes = result.parseoutcomes()
    assert outcomes["failed"] == 1
    text = text_of(result)
    assert "FAILED" in text
    assert "test_clause[BARR-06]" in text
    assert "inconclusive (it broke where root 1, BARR-06 did, and nowhere else): " in text


def test_a_failure_says_all_that_is_needed_to_see_it_again(suite: pytest.Pytester) -> None:
    text = text_of(judge(suite, "Forgetful", FEW))
    for part in (
        "BARR-06 is broken by forgetful 1 (workload ",
        f"the rule\n    {clauses()['BARR-06'].text}",
        "what happened\n    barrier 0 of 'a' reads rows 0–1, but of its scope rows 0–2 should ",
        "the smallest workload that breaks it\n    1 column × 3 rows\n",
        "how it came about\n    event 1 (line 2): t=0 s start barrier 0 of 'a' ",
        "run it again\n    pytest --pyargs cellspec.conformance --engine-backend=engine:Forgetful "
        "--replay .cellspec/cases/engine-Forgetful-BARR-06.json\n",
        "as a test of your own\n    from engine import Forgetful\n",
    ):
        assert part in text


def test_the_line_that_runs_it_again_does(suite: pytest.Pytester) -> None:
    text = text_of(judge(suite, "Forgetful", FEW))
    line = next(line for line in text.splitlines() if "--replay" in line)
    again = suite.runpytest(*line.split()[1:])
    again.assert_outcomes(failed=1)
    assert "BARR-06 is broken by forgetful 1 (replay of " in text_of(again)


def test_the_engine_that_a_case_names_is_not_run_unless_the_user_names_it_too(
    suite: pytest.Pytester,
) -> None:
    judge(suite, "Forgetful", FEW)
    case = ".cellspec/cases/engine-Forgetful-BARR-06.json"
    with pytest.raises(pytest.UsageError) as refused:
        suite.parseconfigure(*SUITE, f"--replay={case}")
    assert "name it with --engine-backend engine:Forgetful" in str(refused.value)
    judge(suite, "Forgetful", f"--replay={case}").assert_outcomes(failed=1)
    judge(suite, "Backend", f"--replay={case}").assert_outcomes(passed=1)


def test_the_file_of_a_workload_alone_is_replayed_too(suite: pytest.Pytester) -> None:
    judge(suite, "Forgetful", FEW)
    case = read_case(Path(".cellspec/cases/engine-Forgetful-BARR-06.json"))
    Path("work.json").write_text(case.workload.to_json())
    judge(suite, "Forgetful", "--replay=work.json").assert_outcomes(failed=1)


def test_the_test_to_paste_fails_as_long_as_the_engine_is_wrong(suite: pytest.Pytester) -> None:
    text = text_of(judge(suite, "Forgetful", FEW))
    block = text.partition("as a test of your own\n")[2].splitlines()
    end = next(place for place, line in enumerate(block) if line.startswith(("=", "_")))
    source = "\n".join(line[4:] for line in block[:end])
    suite.makepyfile(test_pasted=source)
    suite.runpytest("test_pasted.py").assert_outcomes(failed=1)
    suite.makepyfile(test_pasted=source.replace("Forgetful", "Backend"))
    suite.runpytest("test_pasted.py").assert_outcomes(passed=1)


def test_an_expected_failure_is_reported_as_one_and_the_rest_is_judged_on(
    suite: pytest.Pytester,
) -> None:
    Path("known.txt").write_text("TABLE-02  rows change places  # ticket 7\nTABLE-03  so\n")
    result = judge(suite, "Swapping", "--max-examples=50", "--conformance-xfails=known.txt", "-rx")
    outcomes = result.parseoutcomes()
    assert outcomes["xfailed"] == 2
    assert "failed" not in outcomes
    assert outcomes["passed"] > 10
    assert "rows change places" in text_of(result)
    assert "ticket" not in text_of(result)


def test_an_entry_for_a_clause_that_holds_or_is_not_claimed_is_an_error(
    suite: pytest.Pytester,
) -> None:
    Path("known.txt").write_text("TABLE-01 was broken once\nDROP-01 is not claimed\n")
    result = judge(suite, "Backend", "--max-examples=60", "--conformance-xfails=known.txt")
    assert result.parseoutcomes()["failed"] == 2
    assert "Take it off the list" in text_of(result)


def test_each_cause_is_told_once_the_first_in_full_and_the_others_in_a_line(
    suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A CI service is told by this name, and pytest cuts nothing off its short summary there.
    monkeypatch.setenv("CI", "1")
    result = judge(suite, "Both", FEW, "-rf")
    text = text_of(result)
    assert result.parseoutcomes()["failed"] == 2
    assert "test_clause[BARR-06]" in text
    assert "test_clause[TABLE-02]" in text
    assert text.count("the smallest workload that breaks it") == 1
    result.stdout.fnmatch_lines(
        ["root causes: 2 (clauses: *", "  1. * (1 column, 3 rows; in * workloads)"]
    )
    again = next(line for line in text.splitlines() if line.startswith("root 2: "))
    replay = again[again.index("pytest --pyargs") :].split()
    assert suite.runpytest(*replay[1:]).parseoutcomes()["failed"] == 1


def test_failures_stand_in_the_order_of_the_roots(suite: pytest.Pytester) -> None:
    # With this seed the clause whose test comes later is found to be broken before the other.
    result = judge(suite, "Both", "--max-examples=12", "--profile=core", "--seed=2", "-rf")
    text = text_of(result)
    first, second = "TABLE-02 is broken by both", "root 2: BARR-06: barrier 0 of "
    assert text.index("test_clause[TABLE-02] _") < text.index(first)
    assert text.index(first) < text.index("test_clause[BARR-06] _") < text.index(second)
    result.stdout.fnmatch_lines(["FAILED *TABLE-02]*", "FAILED *BARR-06]*", "  1. TABLE-02: *"])


def test_an_interrupted_run_ends_with_its_own_exit_code_and_says_what_it_found(
    suite: pytest.Pytester,
) -> None:
    suite.makepyfile(
        stopper="""
        def pytest_runtest_teardown(item):
            if "test_clause" in item.name:
                raise KeyboardInterrupt
        """
    )
    options = ("-p", "stopper", "--engine-backend=engine:Both", FEW)
    result = suite.runpytest_subprocess(*SUITE, *options)
    assert result.ret == INTERRUPTED
    result.stdout.fnmatch_lines(["root causes: 2*"])
    assert "AssertionError" not in text_of(result) + result.stderr.str()


def test_an_interrupt_in_the_middle_of_a_campaign_leaves_what_was_found_before(
    suite: pytest.Pytester,
) -> None:
    suite.makepyfile(
        stopped="""
        import engine

        class Backend(engine.Swapping):
            runs = 0

            async def run(self, probe):
                Backend.runs += 1
                if Backend.runs == 60:
                    raise KeyboardInterrupt
                await super().run(probe)
        """
    )
    options = ("--engine-backend=stopped:Backend", "--profile=core", FEW)
    result = suite.runpytest_subprocess(*SUITE, *options)
    assert result.ret == INTERRUPTED
    result.stdout.fnmatch_lines(
        [
            "core *the run was interrupted",
            "  inconclusive (the run was interrupted): SCHED-01, *",
            "root causes: 1*",
            "*!! KeyboardInterrupt !!*",
        ]
    )
    assert "Traceback" not in text_of(result) + result.stderr.str()
    (case,) = Path(".cellspec/cases").iterdir()
    result.stdout.fnmatch_lines([f"*--replay .cellspec/cases/{case.name}"])


def test_an_interrupt_in_the_search_for_a_smaller_workload_tells_what_was_found_in_full(
    suite: pytest.Pytester,
) -> None:
    suite.makepyfile(
        impatient="""
        from cellspec.conformance.campaign import causes
        from engine import Swapping

        def interrupted(*_, **__):
            raise KeyboardInterrupt

        causes.shrunk_workload = interrupted
        """
    )
    options = ("--engine-backend=impatient:Swapping", "--profile=core", FEW)
    result = suite.runpytest_subprocess(*SUITE, *options)
    (case,) = Path(".cellspec/cases").iterdir()
    result.stdout.fnmatch_lines(
        [
            "=* found before the run was interrupted =*",
            "TABLE-03 is broken by swapping * (workload * of profile core, seed 0)",
            "a workload that breaks it; the run was interrupted before a smaller one was found",
            f"*--replay .cellspec/cases/{case.name}",
            "as a test of your own",
            "=* cellspec conformance =*",
            "root causes: 1*",
        ]
    )
    assert result.ret == INTERRUPTED


def test_a_limit_of_time_that_ends_a_test_is_no_death_of_the_engine(
    suite: pytest.Pytester,
) -> None:
    suite.makepyfile(
        late="""
        import signal
        import pytest
        import engine

        def too_late(number, frame):
            pytest.fail("Timeout (>60.0s)")

        signal.signal(signal.SIGUSR1, too_late)

        class Backend(engine.Backend):
            runs = 0

            async def run(self, probe):
                Backend.runs += 1
                if Backend.runs >= 30:
                    signal.raise_signal(signal.SIGUSR1)
                await super().run(probe)
        """
    )
    options = ("--engine-backend=late:Backend", "--profile=core", FEW)
    result = suite.runpytest_subprocess(*SUITE, *options)
    assert result.ret == BAD_INPUT
    counts = result.parseoutcomes()
    assert (counts["failed"], counts["passed"]) == (1, 1)
    result.stdout.fnmatch_lines(["FAILED *::test_campaign?core? - Failed: Timeout *"])
    result.stdout.fnmatch_lines(["core *the run was interrupted"])
    assert "violated" not in text_of(result)


def test_an_interrupted_run_of_several_processes_says_that_its_findings_are_lost(
    suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cellspec.conformance.pytest.session, "HANDING_OVER_S", 0.0)
    said: list[str] = []
    reporter = SimpleNamespace(stats={}, section=said.append, write_line=said.append)
    for workers in ([], [SimpleNamespace()]):
        config = suite.parseconfigure(*SUITE, "--engine-backend=engine:Backend")
        session = config.pluginmanager.getplugin("cellspec-conformance")
        assert isinstance(session, Session)
        for worker in workers:
            session.pytest_testnodeready(worker)
        with pytest.raises(KeyboardInterrupt) as interrupt:
            raise KeyboardInterrupt
        session.pytest_keyboard_interrupt(interrupt)
        summary = session.pytest_terminal_summary(reporter)
        next(summary)
        with pytest.raises(StopIteration):
            next(summary)
        assert bool(said) == bool(workers)
    assert said[1].startswith("interrupted: -n has run the suite in another process, and what ")


def test_a_run_that_pytest_ends_at_a_failure_ends_with_the_code_of_that_failure(
    suite: pytest.Pytester,
) -> None:
    options = ("-n2", "-x", "--engine-backend=engine:Swapping", "--profile=core")
    result = suite.runpytest_subprocess(*SUITE, *options, "--max-examples=8")
    assert result.ret == VIOLATED
    result.stdout.fnmatch_lines(["root causes: 1*", "*Interrupted: stopping after 1 failures*"])


def test_a_run_may_stop_at_its_first_failure(suite: pytest.Pytester) -> None:
    result = judge(suite, "Both", FEW, "--conformance-first")
    assert result.parseoutcomes()["failed"] == 1
    result.stdout.fnmatch_lines(["core * stopped at *", "root causes: 1 (clauses: *"])


def test_the_first_failure_ends_the_campaigns_of_all_profiles(
    suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    few_are_enough(monkeypatch)
    suite.makepyfile(
        dies="""
        from engine import Backend

        class Dies(Backend):
            "Of the first failure of a call."
            capabilities = frozenset({"core", "retries", "drops"})
        """
    )
    options = ("--engine-backend=dies:Dies", "--profile=retries,drops", "--max-examples=3")
    result = suite.runpytest(*SUITE, *options, "--conformance-first")
    assert result.ret == VIOLATED
    result.stdout.fnmatch_lines(
        [
            "retries * stopped at *",
            "drops *–  the run stopped at *, as --conformance-first asks",
            "* judged clauses are inconclusive*. What helps: a run without --conformance-first; *",
        ]
    )
    assert "exit code 3" not in text_of(result)
    assert "examples may help" not in text_of(result)


def test_going_on_may_still_be_asked_for(suite: pytest.Pytester) -> None:
    assert judge(suite, "Both", FEW, "--keep-going").parseoutcomes()["failed"] == 2


def test_the_roots_and_the_verdicts_come_last_also_behind_a_list_of_skipped_tests(
    suite: pytest.Pytester,
) -> None:
    lines = text_of(judge(suite, "Both", FEW, "-ra")).splitlines()
    assert any(line.startswith("SKIPPED ") for line in lines)
    at = next(place for place, line in enumerate(lines) if line.startswith("root causes: "))
    assert lines[at].startswith("root causes: 2 (clauses: 2 violated, ")
    assert len(lines) - at <= 8
    assert all(line.startswith("  ") for line in lines[at + 1 : -1])
    assert "2 failed" in lines[-1]


def test_a_cause_that_several_seeds_show_is_told_once_with_the_seeds(
    suite: pytest.Pytester,
) -> None:
    options = ("--seed=3", "--seeds=2", "--max-examples=20", "--conformance-json=r.json")
    result = judge(suite, "Both", *options)
    assert result.ret == VIOLATED
    assert result.parseoutcomes()["failed"] == 2
    seeds = "in * workloads of seeds 3, 4)"
    result.stdout.fnmatch_lines(["cellspec: both 1; *, seeds 3 to 4", f"root 2: * {seeds}: *"])
    result.stdout.fnmatch_lines(["core * 40 of 40 *", f"  1. * {seeds}", f"  2. * {seeds}"])
    causes = json.loads(Path("r.json").read_text())["backends"][0]["causes"]
    assert [(cause["seed"], cause["seeds"]) for cause in causes] == [(3, [3, 4])] * 2
    assert judge(suite, "Backend", "--seeds=2", "--max-examples=3").ret == FINE


def test_a_slow_engine_is_put_to_few_workloads(suite: pytest.Pytester) -> None:
    asked = suite.parseconfigure(*SUITE, "--engine-backend=engine:Backend", "--slow")
    session = asked.pluginmanager.getplugin("cellspec-conformance")
    assert isinstance(session, Session)
    usual = session.suite.options
    assert (usual.max_examples, usual.enough) == (20, 20)
    result = judge(suite, "Forgetful", "--slow", "--max-examples=6", "--conformance-json=r.json")
    assert result.ret == VIOLATED
    result.stdout.fnmatch_lines(["core * 6 of 6 *", "root causes: 1 (clauses: *"])
    command = json.loads(Path("r.json").read_text())["backends"][0]["command"]
    assert "--slow --max-examples=6" in command


def test_an_adapter_that_is_wired_wrong_is_told_from_an_engine_that_is_wrong(
    suite: pytest.Pytester,
) -> None:
    for name in ("Miswired", "Lazy"):
        result = judge(suite, name, FEW)
        assert result.parseoutcomes()["failed"] == 1
        assert "smoke: your adapter is wrong: " in text_of(result)
        assert "all other tests are not run" in text_of(result)
        result.stdout.fnmatch_lines(["core *–  the smoke test failed"])
        assert result.ret == BAD_INPUT
    result = judge(suite, "Hasty", SHORT, "-rf")
    result.stdout.fnmatch_lines(["FAILED *test_clause?SCHED-10?*", "core *3 of 3 *"])
    assert "smoke:" not in text_of(result)
    assert result.ret == VIOLATED


UNFIT = """
    from engine import Backend

    class GivesNone(Backend):
        def fit(self, work):
            return 5

    class FailsLater(Backend):
        def fit(self, work):
            return work if work.rows < 3 else work.nope
    """
"""Backends that cannot fit a workload: any, or those of three rows or more."""


def test_a_fit_that_fails_is_told_in_a_line_and_is_bad_input(suite: pytest.Pytester) -> None:
    suite.makepyfile(unfit=UNFIT)
    for name, test, wrong in (
        ("GivesNone", "test_smoke", "expected a Workload or None, got 5"),
        ("FailsLater", "test_campaign[core]", "AttributeError: 'Workload' object has no attribute"),
    ):
        options = (f"--engine-backend=unfit:{name}", "--profile=core", SHORT)
        result = suite.runpytest_inprocess(*SUITE, *options)
        assert result.ret == BAD_INPUT
        assert result.parseoutcomes()["failed"] == 1
        told = text_of(result).partition(f"_ {test} _")[2].splitlines()
        assert told[1].startswith(f"backend {name}: fit: {wrong}")
        assert told[2].startswith("====")
        assert "the suite itself failed" not in text_of(result)


WAITS = """
    import asyncio
    from engine import Backend

    class Waits(Backend):
        "It waits before each workload of two rows or more; with one row too if it is told so."
        least = 2

        async def run(self, probe):
            if probe.rows >= self.least:
                await asyncio.sleep(0.25)
            await super().run(probe)

    class WaitsAlways(Waits):
        least = 1
    """
"""Engines that break SCHED-15 in the smoke test."""


def waits(suite: pytest.Pytester, name: str, *options: str) -> pytest.RunResult:
    suite.makepyfile(waits=WAITS)
    return suite.runpytest(*SUITE, f"--engine-backend=waits:{name}", *options)


@pytest.mark.parametrize("name", ["Waits", "WaitsAlways"])
def test_what_an_engine_breaks_in_the_smoke_test_hides_nothing_else(
    suite: pytest.Pytester, name: str
) -> None:
    result = waits(suite, name, SHORT, "-rf")
    result.stdout.fnmatch_lines(["FAILED *SCHED-15*", "core *3 of 3 *", "clauses: 1 violated, *"])
    assert result.ret == VIOLATED


def test_what_breaks_in_the_smoke_test_fails_no_run_that_did_not_ask_for_it(
    suite: pytest.Pytester,
) -> None:
    result = waits(suite, "WaitsAlways", SHORT, "--conformance-only=BARR-06")
    result.stdout.fnmatch_lines(
        ["clauses: 1 inconclusive", "  broken too, and not asked for: SCHED-15 *"]
    )
    assert result.ret == FINE


def test_an_expected_failure_may_be_one_of_the_smoke_test(suite: pytest.Pytester) -> None:
    Path("known.txt").write_text("SCHED-15 known\nSCHED-10 never saves\n")
    result = waits(suite, "WaitsAlways", SHORT, "--conformance-xfails=known.txt", "-k", "SCHED-15")
    result.assert_outcomes(xfailed=1)
    assert result.ret == FINE
    result = judge(suite, "Lazy", SHORT, "--conformance-xfails=known.txt", "-k", "SCHED-10")
    assert result.parseoutcomes()["xfailed"] == 1
    result.stdout.fnmatch_lines(["core *3 of 3 *"])


def test_a_run_that_stops_at_its_first_failure_stops_in_the_smoke_test_too(
    suite: pytest.Pytester,
) -> None:
    result = waits(suite, "Waits", SHORT, "--conformance-first")
    assert result.parseoutcomes()["failed"] == 1
    result.stdout.fnmatch_lines(
        [
            "SCHED-15 is broken by columns 1 (workload 2 of the smoke test)",
            "core *–  the smoke test broke SCHED-15, and all profiles rest on it",
        ]
    )


def test_a_run_that_broke_a_clause_in_the_smoke_test_is_a_baseline(suite: pytest.Pytester) -> None:
    waits(suite, "Waits", SHORT, "--conformance-json=base.json")
    result = waits(suite, "Waits", SHORT, "--conformance-baseline=base.json")
    result.stdout.fnmatch_lines(["  still broken: SCHED-15"])
    assert result.ret == FINE


def test_a_bug_of_the_suite_in_the_smoke_test_is_reported_once(
    suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a bug of the suite")

    monkeypatch.setattr("cellspec.conformance.campaign.suite.smoke", fail)
    result = judge(suite, "Backend", FEW)
    outcomes = result.parseoutcomes()
    assert (outcomes["failed"], outcomes.get("passed", 0)) == (1, 0)


def test_a_clause_that_is_listed_keeps_its_reason_also_away_from_its_home(
    suite: pytest.Pytester,
) -> None:
    suite.makepyfile(
        other="""
        from engine import Forgetful

        class Ordered(Forgetful):
            capabilities = frozenset({"core", "ordered"})
        """
    )
    Path("known.txt").write_text("BARR-06 known since spring\n")
    result = suite.runpytest(
        *SUITE,
        "--engine-backend=other:Ordered",
        "--profile=ordered",
        "--conformance-xfails=known.txt",
        FEW,
    )
    result.stdout.fnmatch_lines(["*xfail (known since spring): BARR-06"])


def test_a_profile_that_was_not_asked_for_is_not_run(suite: pytest.Pytester) -> None:
    result = judge(suite, "Backend", FEW, "--profile=core", "-v")
    # Two are skipped: it promises no bound on overtaking, and there is nothing to expect.
    result.assert_outcomes(passed=len(PROFILES[0].clauses) + 1, skipped=2)
    assert "test_clause[DROP-01]" not in text_of(result)


def test_a_few_clauses_are_judged_alone_whatever_else_is_broken(
    suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Suite, "cost", lambda _: {})
    few = "--max-examples=12"
    result = judge(suite, "Both", few, "--conformance-only=table-02", "--conformance-json=r.json")
    assert result.ret == VIOLATED
    assert result.parseoutcomes() == {"failed": 1, "passed": 2, "skipped": 1}
    (backend,) = json.loads(Path("r.json").read_text())["backends"]
    assert {name: one["verdict"] for name, one in backend["clauses"].items()} == {
        "TABLE-02": "violated"
    }
    assert list(backend["profiles"]) == ["core"]
    assert backend["command"].endswith(" --conformance-only=TABLE-02 --max-examples=12")
    result = judge(suite, "Forgetful", few, "--conformance-only=TABLE-03")
    assert result.ret == FINE
    none = "root causes: 1, of clauses that were not asked for, which fail no run (clauses: 1 *"
    result.stdout.fnmatch_lines(["  broken too, and not asked for: BARR-06 (barrier 0 of *", none])


def test_a_clause_alone_is_judged_by_all_campaigns_that_draw_workloads(
    suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Suite, "cost", lambda _: {})
    suite.makepyfile(
        other="""
        from engine import Backend

        class Fragile(Backend):
            "Dies by the first call that fails."
            capabilities = frozenset({"core", "drops", "counted_work"})
        """
    )
    alone = ("--engine-backend=other:Fragile", "--conformance-only=SCHED-12", SHORT)
    result = suite.runpytest(*SUITE, *alone, "--conformance-json=r.json")
    assert result.ret == VIOLATED
    (backend,) = json.loads(Path("r.json").read_text())["backends"]
    assert list(backend["profiles"]) == ["core", "drops"]
    assert list(backend["clauses"]) == ["SCHED-12"]
    core = suite.runpytest(*SUITE, *alone, "--profile=core", "--conformance-json=r.json")
    assert core.ret == FINE
    (backend,) = json.loads(Path("r.json").read_text())["backends"]
    assert "--conformance-only=SCHED-12 --profile=core" in backend["command"]


def test_a_clause_alone_fails_the_run_that_broke_as_a_consequence_of_another(
    suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Suite, "cost", lambda _: {})
    result = judge(suite, "Swapping", "--max-examples=6", "--conformance-only=TABLE-02")
    assert result.ret == VIOLATED
    result.stdout.fnmatch_lines(["root 1: TABLE-03: a[[]0] holds *", "root causes: 1 (clauses: *"])


def test_a_clause_alone_that_is_known_of_behind_another_only_is_inconclusive(
    suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    few_are_enough(monkeypatch)
    monkeypatch.setattr(Suite, "cost", lambda _: {})
    result = judge(suite, "Forgetful", "--max-examples=12", "--conformance-only=BARR-01")
    assert result.ret == INCONCLUSIVE
    helps = "What helps: an engine without that root cause; *"
    result.stdout.fnmatch_lines([f"1 judged clause is inconclusive: exit code 3. {helps}"])


def test_of_the_clauses_about_cost_those_asked_for_are_measured_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    measured: list[str] = []

    def measure(*_: object, shapes: tuple[Shape, ...], **__: object) -> Campaign:
        measured.extend(shape.clause for shape in shapes)
        return Campaign("counted_work", Evidence())

    monkeypatch.setattr("cellspec.conformance.campaign.suite.run_cost_campaign", measure)
    suite = Suite.of(Options("reference", Path(), only="COST-03"))
    suite.run_all()
    assert list(suite.campaigns) == ["counted_work"]
    assert set(measured) == {"COST-03"}


# Exit codes


def few_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three workloads are the default number."""
    for module in ("campaign.options", "report.summary"):
        monkeypatch.setattr(f"cellspec.conformance.{module}.MAX_EXAMPLES", 3)


def test_a_claimed_clause_that_is_inconclusive_fails_a_run_of_the_default_number(
    suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    few_are_enough(monkeypatch)
    result = judge(suite, "Backend", "--max-examples=3", "--conformance-json=r.json")
    assert result.ret == INCONCLUSIVE
    assert "failed" not in result.parseoutcomes()
    helps = "What helps: more workloads (--max-examples), or `unasked` in the backend *"
    result.stdout.fnmatch_lines([f"* judged clauses are inconclusive: exit code 3. {helps}"])
    entry = json.loads(Path("r.json").read_text())["backends"][0]["inconclusive"]
    assert (entry["fails"], entry["allowed"]) == (True, False)
    assert entry["clauses"]["SCHED-01"].startswith("it never happened that ")
    assert "DROP-01" not in entry["clauses"]


@pytest.mark.parametrize(
    ("ends", "code"),
    [
        ("raise KeyboardInterrupt", INTERRUPTED),
        ("import shutil; shutil.rmtree('out'); open('out', 'w').close()", BAD_INPUT),
    ],
)
def test_no_exit_code_is_told_that_the_run_does_not_end_with(
    suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, ends: str, code: int
) -> None:
    few_are_enough(monkeypatch)
    monkeypatch.setattr(Suite, "cost", lambda _: {})
    suite.makepyfile(test_last=f"def test_last(): {ends}")
    suite.mkdir("out")
    options = ("--max-examples=3", "--conformance-json=out/r.json", "test_last.py")
    result = judge(suite, "Backend", *options)
    assert result.ret == code
    result.stdout.fnmatch_lines(["* judged clauses are inconclusive. What helps: *"])


IN_DOUBT = """
    from engine import Backend

    class Threads(Backend):
        "In real time."

        def run(self, probe):
            rows = {row: {} for row in range(probe.rows)}
            for rule in probe.graph.rules.columns:
                needs = [probe.graph.rules.columns[need].name for need in rule.needs]
                given = [{name: rows[row][name] for name in needs} for row in rows]
                if rule.is_barrier:
                    made = probe.barrier_sync(rule.name, 0, list(rows), given)
                else:
                    made = [probe.cell_sync(rule.name, row, given[row]) for row in rows]
                for row in rows:
                    rows[row][rule.name] = made[row]
            self.save(probe, rows)
            probe.end("success")
    """


def test_what_helps_follows_from_the_reason(
    suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    few_are_enough(monkeypatch)
    monkeypatch.setattr(Suite, "cost", lambda _: {})
    suite.makepyfile(doubt=IN_DOUBT)
    only = "--conformance-only=SCHED-15"
    threads = ("--engine-backend=doubt:Threads", "--max-examples=3", only)
    result = suite.runpytest(*SUITE, *threads)
    helps = "1 judged clause is inconclusive: exit code 3. What helps: --slack 200ms, *"
    result.stdout.fnmatch_lines(["  inconclusive (the engine runs in real time, *", helps])
    assert "more workloads" not in text_of(result)
    result = suite.runpytest(*SUITE, *threads, "--slack=200ms")
    assert "--slack" not in text_of(result)


def test_an_inconclusive_clause_is_allowed_if_it_is_said(
    suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    few_are_enough(monkeypatch)
    allow = "--conformance-allow-inconclusive"
    result = judge(suite, "Backend", "--max-examples=3", allow, "--junitxml=junit.xml")
    assert result.ret == FINE
    result.stdout.fnmatch_lines([f"* are inconclusive, which {allow} allows"])
    cases = ElementTree.parse("junit.xml").getroot().iter("testcase")
    properties = [{p.get("name"): p.get("value") for p in c.iter("property")} for c in cases]
    reasons = [said["reason"] for said in properties if said.get("verdict") == "inconclusive"]
    assert reasons
    assert all(reasons)


def test_a_shorter_run_says_that_its_inconclusive_clauses_would_fail_a_long_one(
    suite: pytest.Pytester,
) -> None:
    result = judge(suite, "Backend", "--max-examples=3")
    assert result.ret == FINE
    enough = f"* inconclusive; with {MAX_EXAMPLES} workloads of each profile or more *"
    result.stdout.fnmatch_lines([enough])


def test_a_run_in_which_nothing_is_inconclusive_says_nothing_of_it(
    suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    few_are_enough(monkeypatch)
    result = judge(suite, "Backend", "--max-examples=60")
    assert result.ret == FINE
    assert "inconclusive: " not in text_of(result)


def test_a_violation_counts_for_more_than_an_inconclusive_clause(
    suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    few_are_enough(monkeypatch)
    assert judge(suite, "Forgetful", FEW).ret == VIOLATED


def test_an_adapter_that_is_wrong_and_a_list_that_is_stale_are_bad_input(
    suite: pytest.Pytester,
) -> None:
    assert judge(suite, "Miswired", FEW).ret == BAD_INPUT
    assert judge(suite, "Hasty", FEW).ret == VIOLATED
    Path("known.txt").write_text("TABLE-01 was broken once\n")
    assert judge(suite, "Backend", FEW, "--conformance-xfails=known.txt").ret == BAD_INPUT
    Path("file").write_text("")
    options = ("--engine-backend=engine:Backend", "--conformance-report=file")
    result = suite.runpytest_subprocess(*SUITE, *options)
    assert result.ret == BAD_INPUT
    assert judge(suite, "Backend", FEW, "-k", "nothing").ret == BAD_INPUT


def test_a_mistake_of_the_suite_or_of_pytest_has_a_code_of_its_own(
    suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        # It is bad input only where it is told of an input.
        raise SpecError("a bug of the suite")

    with monkeypatch.context() as patch:
        patch.setattr("cellspec.conformance.campaign.suite.run_campaign", fail)
        result = judge(suite, "Backend", FEW)
        assert result.ret == INTERNAL
        result.stdout.fnmatch_lines(["E *SpecError: a bug of the suite"])
    suite.makeconftest("def pytest_runtest_protocol(item): raise RuntimeError('a bug of pytest')")
    assert judge(suite, "Backend", FEW).ret == INTERNAL


def test_a_test_of_the_users_own_that_fails_beside_the_suite_fails_the_run(
    suite: pytest.Pytester,
) -> None:
    suite.makepyfile(test_mine="def test_mine(): assert False")
    assert judge(suite, "Backend", FEW, "test_mine.py").ret == VIOLATED


# Reports


def test_a_seed_gives_the_same_results_in_every_process(suite: pytest.Pytester) -> None:
    found = []
    for number, hash_seed in enumerate(("0", "1")):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PYTHONHASHSEED", hash_seed)
            suite.runpytest_subprocess(
                *SUITE,
                "--engine-backend=engine:Forgetful",
                FEW,
                f"--conformance-json={number}.json",
            )
        data = json.loads(Path(f"{number}.json").read_text())
        data["backends"][0]["evidence"].pop("cost")
        found.append(data)
    assert found[0] == found[1]


def test_a_folder_of_reports_holds_one_run(suite: pytest.Pytester) -> None:
    for name in ("Swapping", "Forgetful"):
        judge(suite, name, "--max-examples=8", "--profile=core", "--conformance-report=out")
    found = json.loads(Path("out/results.json").read_text())
    assert [backend["name"] for backend in found["backends"]] == ["forgetful"]
    names = sorted(str(path.relative_to("out")) for path in Path("out").rglob("*.*"))
    assert names == [
        "cases/engine-Forgetful-BARR-06.json",
        "failure-forgetful-BARR-06.html",
        "index.html",
        "results.json",
    ]
    Path("out/results.json").write_text("{}")
    with pytest.raises(pytest.UsageError, match="was written by no run of the suite"):
        suite.parseconfigure(*SUITE, "--engine-backend=engine:Backend", "--conformance-report=out")


def test_a_report_that_cannot_be_written_at_last_is_said_in_a_line(
    suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill_the_folder_with_something_else(_: Suite) -> dict[str, object]:
        Path("file").write_text("")
        return {}

    monkeypatch.setattr(Suite, "cost", fill_the_folder_with_something_else)
    result = judge(suite, "Backend", "--max-examples=5", "--conformance-report=file")
    assert "cannot be written: " in text_of(result)
    assert "INTERNALERROR" not in text_of(result)


@pytest.mark.parametrize("more", [[], ["-n1"]], ids=["one process", "xdist"])
def test_case_files_that_cannot_be_written_end_no_run(
    suite: pytest.Pytester, more: list[str]
) -> None:
    Path(".cellspec").write_text("")
    options = ("--engine-backend=engine:Swapping", "--profile=core", "--max-examples=8", *more)
    result = suite.runpytest_subprocess(*SUITE, *options)
    assert result.ret == VIOLATED
    assert result.parseoutcomes()["failed"] == 1
    result.stdout.fnmatch_lines(
        [
            "core *8 of 8 *",
            "     no case file: *cannot be written: *",
            "report: *cannot be written: *",
        ]
    )
    assert "Traceback" not in text_of(result)


def test_junit_says_of_each_clause_its_verdict_and_profile(suite: pytest.Pytester) -> None:
    result = judge(suite, "Forgetful", FEW, "--junitxml=junit.xml")
    assert "warnings" not in result.parseoutcomes()
    said = {}
    for case in ElementTree.parse("junit.xml").getroot().iter("testcase"):
        properties = {item.get("name"): item.get("value") for item in case.iter("property")}
        if "verdict" in properties:
            said[properties["clause"]] = (properties["verdict"], properties["profile"])
    assert said["BARR-06"] == ("violated", "core")
    assert said["BARR-01"] == ("inconclusive", "core")
    assert said["DROP-01"] == ("not claimed", "drops")
    assert len(said) == sum(len(profile.clauses) for profile in PROFILES)


def test_over_several_processes_the_outcome_is_the_same(suite: pytest.Pytester) -> None:
    pytest.importorskip("xdist")
    options = (
        *SUITE,
        "--engine-backend=engine:Forgetful",
        "--max-examples=15",
        "--seed=1",
        "--conformance-json=results.json",
    )
    alone = suite.runpytest(*options)
    alone_found = json.loads(Path("results.json").read_text())
    spread = suite.runpytest_subprocess(*options, "-n2")
    spread_found = json.loads(Path("results.json").read_text())
    assert spread.parseoutcomes() == alone.parseoutcomes()
    for found in (alone_found, spread_found):
        found["backends"][0]["evidence"].pop("cost")
    assert spread_found == alone_found
    assert spread.ret == alone.ret == VIOLATED
    assert "cellspec conformance" in text_of(spread)


def test_options_may_stand_in_the_configuration(suite: pytest.Pytester) -> None:
    suite.makeini(
        "[pytest]\naddopts = --engine-backend=engine:Backend --profile=core --max-examples=5"
    )
    result = suite.runpytest(*SUITE)
    assert "5 workloads each" in text_of(result)
