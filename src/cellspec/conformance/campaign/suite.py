"""One conformance run: a backend, what it is asked, and what may be said of it in the end.

The tests of ``pytest --pyargs cellspec.conformance`` hold no logic. They ask a `Suite`, which does
each thing once, when it is first asked for, and in this order:

1. *Smoke.* A few tiny workloads without anything special. If they fail, nothing else is run.
2. *Campaigns*, a profile at a time, simple ones first
   (`cellspec.conformance.judge.profiles.PROFILES`). A campaign mixes in the features of profiles
   that came before it. If ``core`` broke, no other is run, for all of them rest on it; if another
   broke, its feature is not mixed in any more. So one cause does not strike twice.
3. *Judgements*, clause by clause (`cellspec.conformance.judge.verdict.judge_clause`). A clause is
   judged when all campaigns are over, because any of them may break it.

What is read from the user (a backend's name, profiles, the list of expected failures) is refused in
one line if it cannot be used.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from cellspec.conformance.campaign.campaign import run_campaign
from cellspec.conformance.campaign.failures import Campaign, Failure, failure_of
from cellspec.conformance.campaign.scaling import CostCampaign, judge_cost, run_cost_campaign
from cellspec.conformance.campaign.scaling_shapes import COST_CLAUSES, COST_PROFILE
from cellspec.conformance.campaign.smoke import SmokeFailure, smoke
from cellspec.conformance.judge.harness import run_workload
from cellspec.conformance.judge.profiles import PROFILES, Judged, Profile
from cellspec.conformance.judge.run_result import RunResult
from cellspec.conformance.judge.verdict import Judgement, judge_clause
from cellspec.conformance.run.backend import CAPABILITIES, Backend, Fit, fit_of
from cellspec.conformance.run.case import Case, read_case
from cellspec.conformance.run.loading import expect_named, load_backend
from cellspec.conformance.run.registered import backend_path
from cellspec.conformance.run.workload import Workload
from cellspec.errors import SpecError
from cellspec.files import write_files
from cellspec.graph.columns import ColumnDescriptor
from cellspec.machine.limits import Limits

__all__ = [
    "MAX_EXAMPLES",
    "Options",
    "Suite",
    "judged_clauses",
    "parse_profiles",
    "read_expected_failures",
]

MAX_EXAMPLES = 250
"""Workloads of a campaign, unless the user says otherwise."""


_PYTEST = "pytest --pyargs cellspec.conformance"

COST_ROWS = (30, 240)
"""Rows of the two runs that are compared to see whether the cost of an event grows."""

_COST_RUNS = 3


@dataclass(frozen=True, slots=True)
class Options:
    """What the user asked for.

    Attributes:
        backend: a registered name, or ``module:attribute``.
        folder: where the user is; relative names are meant from there.
        profiles: names of profiles, or "all".
        max_examples: workloads of each campaign.
        seed: what they are drawn from.
        xfails: the list of expected failures.
        keep_going: go on after a violation, with that clause not judged.
        allow_inconclusive: a claimed clause that is inconclusive does not fail the run.
        replay: a case file to run, and nothing else.
        cases: the folder for case files.
    """

    backend: str
    folder: Path
    profiles: str = "default"
    max_examples: int = MAX_EXAMPLES
    seed: int = 0
    xfails: Path | None = None
    keep_going: bool = False
    allow_inconclusive: bool = False
    replay: Path | None = None
    cases: Path = Path(".cellspec/cases")


def parse_profiles(text: str) -> tuple[str, ...]:
    """The profiles that a list names, in the order in which they are judged.

    Args:
        text: names with commas between them; "all" and "default" mean all of them.

    Raises:
        SpecError: a profile that is not there.
    """
    known = [profile.name for profile in PROFILES]
    if text in ("all", "default"):
        return tuple(known)
    asked = [name.strip() for name in text.split(",")]
    for name in asked:
        if name not in known:
            raise SpecError(f"--profile: unknown profile {name!r}; there are {', '.join(known)}")
    return tuple(name for name in known if name in asked)


def read_expected_failures(path: Path) -> dict[str, str]:
    """Clauses that are expected to fail, each with the reason: lines ``CLAUSE  reason``.

    Raises:
        SpecError: the file cannot be read, or a line cannot be used; it names file and line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SpecError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SpecError(f"{path}: expected UTF-8 text") from None
    known = judged_clauses()
    expected: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        clause, _, reason = line.partition("#")[0].strip().partition(" ")
        if not clause:
            continue
        where = f"{path}: line {number}"
        if clause not in known:
            raise SpecError(f"{where}: expected a clause that runs are judged by, got {clause!r}")
        if not reason.strip():
            raise SpecError(f"{where}: {clause}: expected the reason after the clause")
        if clause in expected:
            raise SpecError(f"{where}: {clause} is listed twice")
        expected[clause] = reason.strip()
    return expected


def judged_clauses() -> dict[str, Profile]:
    """Every clause that runs are judged by, with its home, in the order of reports."""
    return {judged.number: profile for profile in PROFILES for judged in profile.clauses}


@dataclass
class Suite:
    """A conformance run. See `cellspec.conformance.campaign.suite`.

    Attributes:
        options: what the user asked for.
        backend: whom.
        made_by_call: whether the backend's attribute was called to get it.
        profiles: the profiles that were asked for.
        expected: the clauses that are expected to fail, with their reasons.
        case: the case to replay, if that was asked for.
        saved: the case file of each clause that broke.
        campaigns: the campaigns that were run, by profile.
        errors: what went wrong in the suite itself, by profile, or in "smoke": no fault of the
            engine's.
        inconclusive: claimed clauses that were asked for and are inconclusive, with the reasons.
    """

    options: Options
    backend: Backend
    made_by_call: bool
    profiles: tuple[Profile, ...]
    expected: Mapping[str, str]
    case: Case | None = None
    saved: dict[str, Path] = field(default_factory=dict)
    campaigns: dict[str, Campaign] = field(default_factory=dict)
    errors: dict[str, Exception] = field(default_factory=dict)
    inconclusive: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, options: Options) -> Suite:
        """The suite for what the user asked for.

        Raises:
            SpecError: something in it cannot be used.
        """
        case = None if options.replay is None else read_case(options.replay)
        if case is not None:
            expect_named(options.backend, case, str(options.replay), "--engine-backend")
        backend, made = load_backend(options.backend, options.folder)
        asked = parse_profiles(options.profiles)
        return cls(
            options=options,
            backend=backend,
            made_by_call=made,
            profiles=tuple(profile for profile in PROFILES if profile.name in asked),
            expected={} if options.xfails is None else read_expected_failures(options.xfails),
            case=case,
        )

    # The backend

    @property
    def spec(self) -> str:
        """The backend as the user names it."""
        return self.options.backend

    @cached_property
    def claims(self) -> tuple[str, ...]:
        """What the backend claims, in the order of `CAPABILITIES`."""
        return tuple(name for name in CAPABILITIES if name in self.backend.capabilities)

    @cached_property
    def deterministic(self) -> bool:
        """Whether two runs of one workload must be equal to the byte.

        A backend that runs in virtual time and is not, says so by an attribute
        ``deterministic = False``.
        """
        return self._virtual and bool(getattr(self.backend, "deterministic", True))

    @property
    def _virtual(self) -> bool:
        return inspect.iscoroutinefunction(self.backend.run)

    @property
    def fit(self) -> Fit:
        """Brings a workload to one that the engine can be asked for."""
        return fit_of(self.backend)

    def run(self, work: Workload, waive: Collection[str] = ()) -> RunResult:
        """Run one workload."""
        return run_workload(self.backend, work, waive=tuple(waive))

    # Smoke, campaigns, judgements

    @cached_property
    def smoke(self) -> SmokeFailure | None:
        """What the smoke test found; None if everything is wired up."""
        try:
            found = smoke(self.run, self.fit)
        except Exception as error:
            self.errors["smoke"] = error
            raise
        if found is not None and found.blames == "engine":
            self._save(failure_of(found.result, profile="smoke"))
        return found

    def not_run(self, profile: Profile) -> str:
        """Why there is no campaign of a profile, as far as that is known now; "" if there is."""
        if profile not in self.profiles:
            return f"profile {profile.name} was not asked for"
        if profile.name not in self.claims:
            return f"the backend does not claim {profile.name!r}"
        if self.smoke is not None:
            return "the smoke test failed"
        if profile.name in self.errors:
            error = self.errors[profile.name]
            return f"the suite itself failed: {type(error).__name__}: {error}"
        core = self.campaigns.get("core")
        if profile.name != "core" and core is not None and core.evidence.stopped_at:
            return f"profile core broke {core.evidence.stopped_at}, and all others rest on it"
        return ""

    def campaign(self, profile: Profile) -> Campaign | None:
        """The campaign of a profile, run now if it was not run; None if `not_run`.

        Those that come before it are run first: what they find decides what this one mixes in.
        """
        for each in self.profiles:
            if each.name not in self.campaigns and not self.not_run(each):
                try:
                    self.campaigns[each.name] = self._run_campaign(each)
                except Exception as error:
                    self.errors[each.name] = error
            if each is profile:
                break
        return self.campaigns.get(profile.name)

    def _run_campaign(self, profile: Profile) -> Campaign:
        names = [each.name for each in PROFILES]
        earlier = names[: names.index(profile.name)]
        broken = {name for name, done in self.campaigns.items() if done.evidence.stopped_at}
        beside = [
            name
            for name in self.claims
            if name not in broken and (name in earlier or name not in names)
        ]
        campaign: Campaign
        if profile.name == COST_PROFILE:
            campaign = run_cost_campaign(
                self.backend,
                [name for name in self.claims if name not in broken],
                waive=self._known_broken(),
                with_cpu=True,
            )
        else:
            campaign = run_campaign(
                self.run,
                profile.name,
                beside=beside,
                max_examples=self.options.max_examples,
                seed=self.options.seed,
                deterministic=self.deterministic,
                may_waive=lambda clause: self.options.keep_going or clause in self.expected,
                waive=self._known_broken(),
                fit=self.fit,
            )
        unasked = frozenset(map(str, getattr(self.backend, "unasked", ())))
        campaign.evidence.unasked = tuple(
            one.what for one in profile.goals if str(one.what) in unasked
        )
        if not self._virtual and profile.drawn:
            campaign.evidence.unjudged = dict.fromkeys(
                ("SCHED-09", "GROUP-06"),
                "the engine runs in real time, where nobody can say that it started work too late",
            )
        for failure in campaign.failures.values():
            self._save(failure)
        return campaign

    def _known_broken(self) -> list[str]:
        """Clauses that broke in an earlier campaign, which then went on without them."""
        return sorted({name for done in self.campaigns.values() for name in done.evidence.waived})

    def run_all(self) -> None:
        """Run every campaign that was asked for and can be run."""
        for profile in self.profiles:
            self.campaign(profile)

    @property
    def failures(self) -> dict[str, Failure]:
        """What broke, in all campaigns so far: for each clause the first failure."""
        found: dict[str, Failure] = {}
        if self.smoke is not None and self.smoke.blames == "engine":
            failure = failure_of(self.smoke.result, profile="smoke")
            return {failure.clause: failure}
        for campaign in self.campaigns.values():
            for clause, failure in campaign.failures.items():
                found.setdefault(clause, failure)
        return found

    def judge(self, clause: Judged, profile: Profile) -> Judgement:
        """What may be said of a clause, as far as campaigns have been run."""
        campaign = self.campaigns.get(profile.name)
        failure = self.failures.get(clause.number)
        return judge_clause(
            clause,
            profile,
            self.claims,
            None if campaign is None else campaign.evidence,
            violation="" if failure is None else failure.detail,
            expected=self.expected.get(clause.number, ""),
            not_run=self.not_run(profile),
        )

    def judgements(self) -> list[tuple[Profile, Judged, Judgement]]:
        """What may be said of every clause of the profiles that were asked for."""
        return [
            (profile, clause, self.judge(clause, profile))
            for profile in self.profiles
            for clause in profile.clauses
        ]

    @property
    def fails_inconclusive(self) -> bool:
        """Whether a claimed clause that is inconclusive fails the run: it is of the default length
        at least, and nobody allowed it."""
        enough = self.options.max_examples >= MAX_EXAMPLES
        return bool(self.inconclusive) and enough and not self.options.allow_inconclusive

    def broken(self, failure: Failure) -> Judgement:
        """What may be said of a clause that broke, whether or not a profile is its home."""
        return judge_clause(
            Judged(failure.clause),
            PROFILES[0],
            self.claims,
            None,
            violation=failure.detail,
            expected=self.expected.get(failure.clause, ""),
        )

    def other_failures(self) -> list[Failure]:
        """What broke clauses that no profile that was asked for is the home of."""
        homes = {clause.number for profile in self.profiles for clause in profile.clauses}
        return [failure for clause, failure in self.failures.items() if clause not in homes]

    def replay(self) -> Failure | None:
        """Run the case that was asked for; what it broke, if anything."""
        assert self.case is not None
        assert self.options.replay is not None
        work, waived = self.case.workload, self.case.waived
        if self.case.clause in COST_CLAUSES:
            result = judge_cost(self.backend, self.case.clause, work, waive=waived)
        else:
            result = self.run(work, waived)
        if not result.violations:
            return None
        failure = failure_of(result, waived=waived)
        self.saved[failure.clause] = self.options.replay
        return failure

    def cost(self) -> dict[str, Any]:
        """What an event costs in a run with many rows, by what it costs in one with few.

        Where a tracker is scanned at each event this grows with the number of rows. CPU time is
        noisy: the best of a few runs counts, and it is a figure to look at and not a clause.
        Nothing if no campaign was run.
        """
        if not self.campaigns:
            return {}
        columns = (
            ColumnDescriptor("a"),
            ColumnDescriptor("b", dependencies=["a"]),
            ColumnDescriptor("c", dependencies=["b"]),
        )
        each = []
        for rows in COST_ROWS:
            drawn = Workload(columns, rows=rows, limits=Limits(workers=8))
            work = self.fit(drawn) or drawn
            costs = [self.run(work).cost for _ in range(_COST_RUNS)]
            cost = min(costs, key=lambda cost: cost.cpu_s)
            each.append(
                [cost.cpu_s / max(cost.events, 1), cost.graph_questions / max(cost.events, 1)]
            )
        (few_s, few_asked), (many_s, many_asked) = each
        return {
            "rows": list(COST_ROWS),
            "cpu_ratio": round(many_s / few_s, 3) if few_s else 0.0,
            "question_ratio": round(many_asked / few_asked, 3) if few_asked else 0.0,
            "counted": self._counted(),
        }

    def _counted(self) -> dict[str, Any]:
        """What an event costs in lines of the engine's code, by shape; nothing if not claimed."""
        campaign = self.campaigns.get(COST_PROFILE)
        if not isinstance(campaign, CostCampaign):
            return {}
        return {
            shape: {
                "clause": growth.clause,
                "lines": [round(growth.before.each, 1), round(growth.after.each, 1)],
                "ratio": round(growth.ratio, 3),
                "cpu_ratio": round(growth.cpu_ratio, 3),
            }
            for shape, growth in campaign.growths.items()
        }

    # Case files

    def case_of(self, failure: Failure) -> Case:
        """The case of a failure."""
        path = backend_path(self.spec, "--engine-backend")
        return Case(failure.workload, failure.clause, failure.detail, path, failure.waived)

    def _save(self, failure: Failure) -> None:
        folder = self.options.folder / self.options.cases
        name = f"{re.sub(r'[^A-Za-z0-9_.]+', '-', self.spec)}-{failure.clause}.json"
        write_files(folder, {name: self.case_of(failure).to_json()})
        self.saved[failure.clause] = folder / name

    def shown(self, path: Path) -> Path:
        """A file's name as the user would write it, who is in `Options.folder`."""
        folder = self.options.folder
        return path.relative_to(folder) if path.is_relative_to(folder) else path

    @property
    def command(self) -> str:
        """One line that does all of this run again."""
        options = self.options
        parts = [_PYTEST, f"--engine-backend={self.spec}", f"--seed={options.seed}"]
        if len(self.profiles) < len(PROFILES):
            parts.append(f"--profile={','.join(profile.name for profile in self.profiles)}")
        if options.max_examples != MAX_EXAMPLES:
            parts.append(f"--max-examples={options.max_examples}")
        if options.allow_inconclusive:
            parts.append("--conformance-allow-inconclusive")
        return " ".join(parts)

    def replay_command(self, clause: str) -> str:
        """One line that runs the case of a clause again."""
        text = str(self.shown(self.saved.get(clause, Path(f"{clause}.json"))))
        quoted = text if re.fullmatch(r"[\w@%+=:,./-]+", text) else "'" + text + "'"
        return (
            f"pytest --pyargs cellspec.conformance --engine-backend={self.spec} --replay {quoted}"
        )
