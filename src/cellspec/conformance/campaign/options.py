"""The options of a conformance run: backend, profiles, seed, expected failures, and files."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

from cellspec.clauses import clauses
from cellspec.conformance.judge.profiles import PROFILES, Profile
from cellspec.conformance.judge.verdict import missing_for
from cellspec.conformance.run.backend import CAPABILITIES
from cellspec.errors import SpecError
from cellspec.text import did_you_mean, quoted

__all__ = [
    "MAX_EXAMPLES",
    "SLOW_CHOSEN_BELOW",
    "SLOW_DRAWN_FOR_ONE",
    "SLOW_EXAMPLES",
    "SLOW_RUNS",
    "SLOW_SHRINK_RUNS",
    "Options",
    "command_of",
    "expect_claimed",
    "judged_clauses",
    "parse_clauses",
    "parse_profiles",
    "profiles_of",
    "read_expected_failures",
    "seeds_words",
]

MAX_EXAMPLES = 400
"""Workloads of a campaign, unless the user says otherwise."""

SLOW_EXAMPLES = 20
"""The same for a slow engine."""

SLOW_DRAWN_FOR_ONE = 8
"""Of so many workloads that are drawn for a slow engine, one is run."""

SLOW_CHOSEN_BELOW = 40
"""A slow engine that runs at least so many workloads of a campaign runs them as they are drawn. To
choose among others takes longer than to run more, unless a run takes seconds."""

SLOW_SHRINK_RUNS = 60
"""Runs of a slow engine in search of a smaller workload for one violation."""

SLOW_RUNS = 240
"""Runs of a slow engine in search of smaller workloads, for all violations together."""


@dataclass(frozen=True, slots=True)
class Options:
    """The options of the user.

    Attributes:
        backend: a registered name, or ``module:attribute``.
        folder: the working directory of the user; relative names start there.
        profiles: names of profiles, or "all".
        only: numbers of clauses with commas between; None is every clause of the profiles.
        max_examples: workloads of each campaign.
        seed: the seed of the draws; of several the first.
        seeds: how many seeds there are; their evidence counts together.
        slow: run few workloads, each dense, for an engine that needs seconds for a run; of
            `SLOW_CHOSEN_BELOW` or more each as it is drawn.
        xfails: the list of expected failures.
        first: stop a campaign at its first violation.
        allow_inconclusive: let a run pass with inconclusive clauses.
        slack_s: in real time, how long in seconds work may wait that could start; 0 judges no
            engine there for being idle.
        replay: a case file to run in place of the campaigns.
        cases: the folder for case files.
    """

    backend: str
    folder: Path
    profiles: str = "default"
    only: str | None = None
    max_examples: int = MAX_EXAMPLES
    seed: int = 0
    seeds: int = 1
    slow: bool = False
    xfails: Path | None = None
    first: bool = False
    allow_inconclusive: bool = False
    slack_s: float = 0.0
    replay: Path | None = None
    cases: Path = Path(".cellspec/cases")

    @property
    def enough(self) -> int:
        """The usual number of workloads of a campaign; fewer of them end with no exit code 3."""
        return SLOW_EXAMPLES if self.slow else MAX_EXAMPLES


def seeds_words(options: Options) -> str:
    """The seed of a run in words, or its seeds."""
    if options.seeds == 1:
        return f"seed {options.seed}"
    return f"seeds {options.seed} to {options.seed + options.seeds - 1}"


def parse_profiles(text: str) -> tuple[str, ...]:
    """The profiles that a list names, in the order in which they are judged.

    Args:
        text: names with commas between them; "all" and "default" mean all of them.

    Raises:
        SpecError: an unknown profile.
    """
    known = [profile.name for profile in PROFILES]
    if text in ("all", "default"):
        return tuple(known)
    asked = [name.strip() for name in text.split(",")]
    for name in asked:
        if name not in known:
            raise SpecError(f"--profile: unknown profile {name!r}; there are {', '.join(known)}")
    return tuple(name for name in known if name in asked)


def parse_clauses(text: str | None) -> tuple[str, ...]:
    """The clauses that a list names, in the order in which they are judged; none without a list.

    Args:
        text: numbers with commas between them, in capital letters or not.

    Raises:
        SpecError: a clause that is unknown, or by which no engine is judged.
    """
    if text is None:
        return ()
    known = judged_clauses()
    asked = [name.strip().upper() for name in text.split(",")]
    for name in asked:
        if name in clauses() and name not in known:
            what = "a rule for the parts of cellspec"
            if clauses()[name].chapter == "endpoints":
                what = "a rule for calls at endpoints; `cellspec check` judges a trace by it"
            raise SpecError(f"--conformance-only: no engine is judged by {name}, {what}")
        if name not in known:
            raise SpecError(
                f"--conformance-only: expected clauses with commas between, got {name!r}"
                f"{did_you_mean(name, known)}"
            )
    return tuple(name for name in known if name in asked)


def command_of(options: Options, profiles: Collection[Profile]) -> str:
    """The command line of a run with these options and profiles."""
    parts = [
        "pytest --pyargs cellspec.conformance",
        f"--engine-backend={options.backend}",
        f"--seed={options.seed}",
    ]
    if options.only:
        asked = (one.number for profile in profiles for one in profile.clauses)
        parts.append(f"--conformance-only={','.join(asked)}")
    if len(names := parse_profiles(options.profiles)) < len(PROFILES):
        parts.append(f"--profile={','.join(names)}")
    if options.seeds > 1:
        parts.append(f"--seeds={options.seeds}")
    if options.slow:
        parts.append("--slow")
    if options.max_examples != options.enough:
        parts.append(f"--max-examples={options.max_examples}")
    if options.slack_s:
        parts.append(f"--slack={options.slack_s:g}s")
    if options.first:
        parts.append("--conformance-first")
    if options.allow_inconclusive:
        parts.append("--conformance-allow-inconclusive")
    return " ".join(parts)


def profiles_of(options: Options, capabilities: Collection[str]) -> tuple[Profile, ...]:
    """The profiles that were asked for, each with the clauses that were.

    Clauses that are asked for alone need the campaigns of other profiles too: whatever a workload
    is about, it may break them. The few workloads about cost may, too, but take long: they are run
    only for the clauses about cost, which are judged by no others.

    Args:
        options: the options of the user.
        capabilities: of the backend; a profile without one is left out where it has no clause.

    Raises:
        SpecError: a profile or a clause that cannot be asked for.
    """
    only = parse_clauses(options.only)
    names = parse_profiles(options.profiles)
    asked = tuple(profile for profile in PROFILES if profile.name in names)
    if not only:
        return asked
    homes = judged_clauses()
    for clause in only:
        if homes[clause].name not in names:
            raise SpecError(
                f"--conformance-only: {clause} is of profile {homes[clause].name}, and --profile "
                f"asks for {options.profiles}; leave --profile out"
            )
    chosen = [
        replace(profile, clauses=tuple(one for one in profile.clauses if one.number in only))
        for profile in asked
    ]
    drawn = any(profile.drawn and profile.clauses for profile in chosen)
    return tuple(
        profile
        for profile in chosen
        if profile.clauses or (drawn and profile.drawn and profile.name in capabilities)
    )


def expect_claimed(profiles: Collection[Profile], promises: Collection[str], backend: str) -> None:
    """Refuse clauses that were asked for alone and do not judge this engine: all would look fine.

    Args:
        profiles: the profiles with the clauses that were asked for.
        promises: the capabilities of the backend, and what else it promises.
        backend: the backend as the user names it.

    Raises:
        SpecError: such a clause, with the capabilities that it needs and how to claim them.
    """
    for profile in profiles:
        for clause in profile.clauses:
            missing = missing_for(clause, profile, promises)
            if missing:
                where = "`capabilities`" if missing[0] in CAPABILITIES else f"`{missing[0]}`"
                raise SpecError(
                    f"--conformance-only: {clause.number} needs that the backend claims "
                    f"{quoted(missing)}, and {backend} does not; it is claimed in the attribute "
                    f"{where}"
                )


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
    """Every clause that judges engines, with its profile, in the order of reports."""
    return {judged.number: profile for profile in PROFILES for judged in profile.clauses}
