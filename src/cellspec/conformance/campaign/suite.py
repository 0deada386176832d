"""The suite: one conformance run of a backend, from smoke test to judgements.

The tests of ``pytest --pyargs cellspec.conformance`` hold no logic. They ask a `Suite`, which does
each step once, when a test first asks for it, in this order:

1. *Smoke.* A few tiny workloads. If they show that the adapter is wrong, the suite stops. If they
   show that the engine is, that is a violation like any other.
2. *Campaigns*, a profile at a time, simple ones first
   (`cellspec.conformance.judge.profiles.PROFILES`). A campaign mixes in the features of the
   profiles before it. What breaks is sorted by its root
   (`cellspec.conformance.campaign.causes`), over all campaigns together. If the user wants the
   first failure alone, the run stops there. A campaign also stops behind too many runs that stood
   still: if it is of ``core``, the other campaigns are left out, for all of them rest on it; if it
   is of another, its feature is left out of later workloads.
3. *Judgements*, clause by clause (`cellspec.conformance.judge.verdict.judge_clause`). A clause is
   judged when all campaigns are over, because any of them may break it.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from cellspec.clauses import Clause, clauses
from cellspec.conformance.campaign.campaign import run_campaign
from cellspec.conformance.campaign.causes import Causes, Place, Root
from cellspec.conformance.campaign.event_cost import cost_ratios
from cellspec.conformance.campaign.options import (
    SLOW_CHOSEN_BELOW,
    SLOW_DRAWN_FOR_ONE,
    SLOW_RUNS,
    SLOW_SHRINK_RUNS,
    Options,
    command_of,
    expect_claimed,
    profiles_of,
    read_expected_failures,
)
from cellspec.conformance.campaign.patience import Patience
from cellspec.conformance.campaign.rehearsal import Rehearsal
from cellspec.conformance.campaign.results import Campaign, Failure, failure_of
from cellspec.conformance.campaign.scaling import CostCampaign, judge_cost, run_cost_campaign
from cellspec.conformance.campaign.scaling_shapes import COST_CLAUSES, COST_PROFILE, SHAPES
from cellspec.conformance.campaign.smoke import SMOKE, SmokeFailure, smoke
from cellspec.conformance.campaign.smoke import failure_of as smoke_failure_of
from cellspec.conformance.judge.harness import run_workload
from cellspec.conformance.judge.profiles import PROFILES, Profile, profile_of
from cellspec.conformance.judge.run_result import Interrupted, RunResult
from cellspec.conformance.judge.verdict import TO_THE_END, Judgement, judge_clause
from cellspec.conformance.run.backend import (
    CAPABILITIES,
    Backend,
    Fit,
    bypass_bound_of,
    fit_of,
)
from cellspec.conformance.run.case import Case, read_case
from cellspec.conformance.run.loading import expect_named, load_backend
from cellspec.conformance.run.recorder import AdapterError
from cellspec.conformance.run.registered import backend_path
from cellspec.conformance.run.users_exit import pass_on
from cellspec.conformance.run.workload import Workload
from cellspec.errors import SpecError
from cellspec.files import write_files

__all__ = ["Suite"]


@dataclass
class Suite:
    """One conformance run.

    Attributes:
        options: the options of the user.
        backend: the backend to judge.
        made_by_call: whether the backend's attribute was called to get it.
        profiles: the profiles that were asked for.
        expected: the clauses that are expected to fail, with their reasons.
        case: the case to replay; None for a whole run.
        saved: the case file of each failure, by its name.
        campaigns: the campaigns that were run, by profile.
        errors: errors of the suite itself, by profile or in "smoke"; the engine is not to blame.
        inconclusive: judged clauses that were asked for and are inconclusive.
        before_saving: called before the first case file of the run is written.
        is_accepted: whether the run does not fail if this clause is broken.
        say: called with a line for the user that cannot wait for the end of the run.
        interrupted: whether the run ended early, so that nothing more is run.
        smoke_stopped_at: the clause that broke in the smoke test, if the run stops there.
        unsaved: why case files cannot be written; the run goes on without them.
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
    inconclusive: dict[str, Judgement] = field(default_factory=dict)
    before_saving: Callable[[], None] = lambda: None
    is_accepted: Callable[[str], bool] = lambda _: False
    say: Callable[[str], None] = lambda _: None
    interrupted: bool = False
    smoke_stopped_at: str = ""
    unsaved: str = ""

    @classmethod
    def of(cls, options: Options) -> Suite:
        """The suite for the options of the user.

        Raises:
            SpecError: an option cannot be used.
        """
        case = None if options.replay is None else read_case(options.replay)
        if case is not None:
            expect_named(options.backend, case, str(options.replay), "--engine-backend")
        backend, made = load_backend(options.backend, options.folder)
        suite = cls(
            options=options,
            backend=backend,
            made_by_call=made,
            profiles=profiles_of(options, backend.capabilities),
            expected={} if options.xfails is None else read_expected_failures(options.xfails),
            case=case,
        )
        if case is None and options.only is not None:
            expect_claimed(suite.profiles, suite.promises, options.backend)
        return suite

    # The backend

    @property
    def spec(self) -> str:
        """The backend as the user names it."""
        return self.options.backend

    @cached_property
    def capabilities(self) -> tuple[str, ...]:
        """The backend's capabilities, in the order of `CAPABILITIES`."""
        return tuple(name for name in CAPABILITIES if name in self.backend.capabilities)

    @cached_property
    def deterministic(self) -> bool:
        """Whether two runs of one workload must be equal to the byte.

        A backend in virtual time that differs from run to run sets ``deterministic = False``.
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
        return self._patience.run(work, waive)

    @cached_property
    def _patience(self) -> Patience:
        return Patience(self._run, lambda line: self.say(line))

    def _run(self, work: Workload, waive: Collection[str], stall_s: float) -> RunResult:
        slack_s = self.options.slack_s
        return run_workload(
            self.backend, work, waive=tuple(waive), slack_s=slack_s, stall_s=stall_s
        )

    # Smoke, campaigns, judgements

    @cached_property
    def smoke(self) -> SmokeFailure | None:
        """The failure of the smoke test; None if everything is wired up."""
        try:
            return smoke(self.run, self.fit, self._goes_on)
        except Interrupted as stop:
            self.causes.add_interrupted(stop.result, Place(SMOKE, stop.example, self.options.seed))
            # Else whoever asks next would run into it again.
            vars(self)["smoke"] = smoke_failure_of(stop.result.work, stop.result)
            raise
        except Exception as error:
            pass_on(error)
            self.errors["smoke"] = error
            raise
        finally:
            for root in self.roots:
                self._save(root.failure)

    def _goes_on(self, number: int, found: SmokeFailure) -> bool:
        """Sort what broke in a workload of the smoke test; False if the adapter is to blame.

        A clause that is expected to fail says nothing of the wires, however simple the workload.
        """
        if found.blames != "engine" and found.clause not in self.expected:
            return False
        if not self.smoke_stopped_at:
            place = Place(SMOKE, number, self.options.seed)
            done = self.causes.sort(found.result, place, stops_at=self._stops_at)
            self.smoke_stopped_at = done.stopped_at
        return True

    @cached_property
    def causes(self) -> Causes:
        """The roots of all that broke."""
        most = {"shrink_runs": SLOW_SHRINK_RUNS, "runs": SLOW_RUNS} if self.options.slow else {}
        return Causes(self.run, fit=self.fit, patient=self._patience.run_in_full, **most)

    def not_run(self, profile: Profile) -> str:
        """The reason why a profile has no campaign, as far as known now; "" if it has one."""
        if profile not in self.profiles:
            return f"profile {profile.name} was not asked for"
        if profile.name not in self.capabilities:
            return f"the backend lacks the capability {profile.name!r}"
        if self.smoke is not None:
            return "the smoke test failed"
        if self.smoke_stopped_at:
            return f"the smoke test broke {self.smoke_stopped_at}, and all profiles rest on it"
        if profile.name in self.errors:
            error = self.errors[profile.name]
            if isinstance(error, AdapterError):
                return str(error)
            return f"the suite itself failed: {type(error).__name__}: {error}"
        if self._first and profile.name not in self.campaigns:
            return f"the run stopped at {self._first}, as --conformance-first asks"
        core = self.campaigns.get("core")
        if profile.name != "core" and core is not None and core.evidence.stopped_at:
            return f"profile core broke {core.evidence.stopped_at}, and all others rest on it"
        if self.interrupted and profile.name not in self.campaigns:
            return "the run was interrupted"
        return ""

    def campaign(self, profile: Profile) -> Campaign | None:
        """The campaign of a profile, run now if need be; None if `not_run`.

        Earlier campaigns run first: their violations decide which features this one mixes in.
        """
        for each in self.profiles:
            if each.name not in self.campaigns and not self.not_run(each):
                try:
                    self.campaigns[each.name] = self._run_campaign(each)
                except Exception as error:
                    pass_on(error)
                    self.errors[each.name] = error
                finally:
                    # What was found before Ctrl-C can be replayed too.
                    for root in self.roots:
                        self._save(root.failure)
            if each is profile:
                break
        return self.campaigns.get(profile.name)

    def _run_campaign(self, profile: Profile) -> Campaign:
        names = [each.name for each in PROFILES]
        earlier = names[: names.index(profile.name)]
        broken = {name for name, done in self.campaigns.items() if done.evidence.stopped_at}
        beside = [
            name
            for name in self.capabilities
            if name not in broken and (name in earlier or name not in names)
        ]
        unasked = frozenset(map(str, getattr(self.backend, "unasked", ())))
        campaign: Campaign
        if profile.name == COST_PROFILE:
            campaign = run_cost_campaign(
                self.backend,
                [name for name in self.capabilities if name not in broken],
                waive=self.broken_clauses(),
                with_cpu=not self.options.slow,
                shapes=tuple(shape for shape in SHAPES if shape.clause in self.homes),
            )
        else:
            campaign = run_campaign(
                self.run,
                profile.name,
                beside=beside,
                max_examples=self.options.max_examples,
                seed=self.options.seed,
                seeds=self.options.seeds,
                rehearsal=self._rehearsal(profile, unasked),
                deterministic=self.deterministic,
                causes=self.causes,
                stops_at=self._stops_at,
                fit=self.fit,
            )
        campaign.evidence.unasked = tuple(
            one.what for one in profile.goals if str(one.what) in unasked
        )
        if not self._virtual and profile.drawn and not self.options.slack_s:
            campaign.evidence.unjudged = dict.fromkeys(
                ("SCHED-09", "GROUP-06", "GROUP-07", "CKPT-19", "SCHED-15"),
                "the engine runs in real time, where nobody can say that it started work too late, "
                "unless --slack says how long work may wait, as --slack 200ms",
            )
        if profile.name == COST_PROFILE:
            for failure in campaign.failures.values():
                self.causes.add(failure)
        return campaign

    def _rehearsal(self, profile: Profile, unasked: Collection[str]) -> Rehearsal | None:
        """Chooses the workloads of a campaign of a slow engine, if they are few."""
        if not self.options.slow or self.options.max_examples >= SLOW_CHOSEN_BELOW:
            return None
        fast, _ = load_backend("reference", self.options.folder)
        goals = [
            one.what
            for one in profile.goals
            if one.needs <= frozenset(self.capabilities) and str(one.what) not in unasked
        ]
        # Of a few clauses that were asked for too, so that their verdicts are those of a whole run.
        wanted = [*goals, *(clause.number for clause in profile_of(profile.name).clauses)]
        return Rehearsal(partial(run_workload, fast), SLOW_DRAWN_FOR_ONE, wanted)

    def _stops_at(self, clause: str) -> bool:
        """Whether a campaign stops when this clause broke."""
        if clause in self.expected or self.is_accepted(clause):
            return False
        return self.causes.waited_enough or self._is_first(clause)

    def _is_first(self, clause: str) -> bool:
        """Whether the run stops when this clause broke: the user wants the first failure alone."""
        # Who asks for a few clauses wants their verdicts, whatever else is broken.
        return self.options.first and (not self.options.only or clause in self.homes)

    @property
    def _first(self) -> str:
        """The clause at which the run stopped so; "" if it did not."""
        campaigns = (done.evidence.stopped_at for done in self.campaigns.values())
        stops = filter(None, [self.smoke_stopped_at, *campaigns])
        return next(filter(self._is_first, stops), "")

    def broken_clauses(self) -> list[str]:
        """The clauses that broke so far, as roots or as consequences of roots."""
        return sorted({*self.failures, *self.consequences})

    def run_all(self) -> None:
        """Run every campaign that was asked for and can be run."""
        for profile in self.profiles:
            self.campaign(profile)

    @property
    def failures(self) -> dict[str, Failure]:
        """The failures that stand for roots, so far: the first of each clause."""
        found: dict[str, Failure] = {}
        for root in self.roots:
            found.setdefault(root.failure.clause, root.failure)
        return found

    @property
    def roots(self) -> list[Root]:
        """The bugs found so far, in the order in which they were found."""
        return self.causes.roots

    @property
    def consequences(self) -> dict[str, int]:
        """The clauses that broke only as consequences, each with the number of the root, from 1."""
        roots = {root.failure.clause for root in self.roots}
        found: dict[str, int] = {}
        for number, root in enumerate(self.roots, 1):
            for clause in root.consequences:
                if clause not in roots:
                    found.setdefault(clause, number)
        return found

    def _violation(self, clause: str) -> str:
        """How a clause broke with every clause judged, in one line; "" if it did not."""
        failure = self.failures.get(clause)
        if failure is not None:
            return failure.detail
        alone = any(clause in root.alone for root in self.roots)
        return f"a consequence of {self._named(clause)}" if alone else ""

    def _behind(self, clause: str) -> str:
        """Why a clause is not known to hold that broke only behind another; "" if it did not."""
        named = self._named(clause)
        return f"it broke where {named} did, and nowhere else" if named else ""

    def _named(self, clause: str) -> str:
        """The root that a clause is a consequence of, in words; "" if it is none."""
        number = self.consequences.get(clause)
        return "" if number is None else f"root {number}, {self.roots[number - 1].failure.clause}"

    @property
    def promises(self) -> tuple[str, ...]:
        """The capabilities, and what else the backend promises by an attribute of its own."""
        bound = bypass_bound_of(self.backend)
        return (*self.capabilities, *(() if bound is None else ("bypass_bound",)))

    def judge(self, clause: Clause, profile: Profile) -> Judgement:
        """The judgement of a clause by the campaigns that have been run."""
        campaign = self.campaigns.get(profile.name)
        return judge_clause(
            clause,
            profile,
            self.promises,
            None if campaign is None else campaign.evidence,
            violation=self._violation(clause.number),
            behind=self._behind(clause.number),
            expected=self.expected.get(clause.number, ""),
            not_run=self.not_run(profile),
            remedy=TO_THE_END if self._first else "",
        )

    def judgements(self) -> list[tuple[Profile, Clause, Judgement]]:
        """The judgements of every clause of the profiles asked for."""
        return [
            (profile, clause, self.judge(clause, profile))
            for profile in self.profiles
            for clause in profile.clauses
        ]

    @property
    def fails_inconclusive(self) -> bool:
        """Whether an inconclusive clause fails the run: the run has at least the default length,
        and the user did not allow it."""
        enough = self.options.max_examples >= self.options.enough
        return bool(self.inconclusive) and enough and not self.options.allow_inconclusive

    def broken(self, failure: Failure) -> Judgement:
        """The judgement of a clause that broke, whether or not a profile is its home."""
        return judge_clause(
            clauses()[failure.clause],
            PROFILES[0],
            self.promises,
            None,
            violation=failure.detail,
            expected=self.expected.get(failure.clause, ""),
        )

    def other_failures(self) -> list[Failure]:
        """The failures of clauses outside the profiles asked for."""
        return [failure for clause, failure in self.failures.items() if clause not in self.homes]

    @cached_property
    def homes(self) -> frozenset[str]:
        """The clauses that were asked for."""
        return frozenset(one.number for profile in self.profiles for one in profile.clauses)

    def replay(self) -> Failure | None:
        """Run the case that was asked for; its failure, if it breaks a clause."""
        assert self.case is not None
        assert self.options.replay is not None
        work, waived = self.case.workload, self.case.waived
        if self.case.clause in COST_CLAUSES:
            result = judge_cost(self.backend, self.case.clause, work, waive=waived)
        else:
            try:
                result = self.run(work, waived)
            except Interrupted as stop:
                self.causes.add_interrupted(stop.result, Place(), waived)
                self.saved[self.roots[0].failure.name] = self.options.replay
                raise
        if not result.violations:
            return None
        failure = failure_of(result, waived=waived)
        self.saved[failure.name] = self.options.replay
        return failure

    def cost(self) -> dict[str, Any]:
        """The cost of an event as figures to look at; empty without campaigns, if each run is dear,
        and if the run ended early."""
        if not self.campaigns or self.options.slow or self.interrupted:
            return {}
        counted = _counted(self.campaigns.get(COST_PROFILE))
        return {**cost_ratios(self.run, self.fit), "counted": counted}

    # Case files

    def case_of(self, failure: Failure) -> Case:
        """The case of a failure."""
        path = backend_path(self.spec, "--engine-backend")
        return Case(failure.workload, failure.clause, failure.detail, path, failure.waived)

    def _save(self, failure: Failure) -> None:
        if failure.name in self.saved or self.unsaved:
            return
        folder = self.options.folder / self.options.cases
        name = f"{re.sub(r'[^A-Za-z0-9_.]+', '-', self.spec)}-{failure.name}.json"
        try:
            if not self.saved:
                self.before_saving()
            write_files(folder, {name: self.case_of(failure).to_json()})
        except SpecError as error:
            self.unsaved = str(error)
            return
        self.saved[failure.name] = folder / name

    def shown(self, path: Path) -> Path:
        """A file's name as the user would write it in `Options.folder`."""
        folder = self.options.folder
        return path.relative_to(folder) if path.is_relative_to(folder) else path

    @property
    def command(self) -> str:
        """The command line of this run."""
        return command_of(self.options, self.profiles)

    def replay_command(self, failure: Failure) -> str:
        """The command line that runs the case of a failure again, or why there is none."""
        if failure.name not in self.saved and self.unsaved:
            return f"no case file: {self.unsaved}"
        text = str(self.shown(self.saved.get(failure.name, Path(f"{failure.name}.json"))))
        quoted = text if re.fullmatch(r"[\w@%+=:,./-]+", text) else "'" + text + "'"
        return (
            f"pytest --pyargs cellspec.conformance --engine-backend={self.spec} --replay {quoted}"
        )


def _counted(campaign: Campaign | None) -> dict[str, Any]:
    """Lines of the engine's code for an event, by shape; empty without that campaign."""
    if not isinstance(campaign, CostCampaign):
        return {}
    return {
        shape: {
            "clause": scaling.clause,
            "lines": [round(scaling.before.each, 1), round(scaling.after.each, 1)],
            "ratio": round(scaling.ratio, 3),
            "cpu_ratio": round(scaling.cpu_ratio, 3),
        }
        for shape, scaling in campaign.scalings.items()
    }
