"""The curated causes of a release matrix: what a person found behind the clauses that broke.

The suite finds that a clause breaks, with a workload; a script shows it without the suite. Which
line of the engine does it is found by reading. So the root causes are kept in a file beside the
list of releases, ``NAME.causes.toml``, and written by hand:

    [[causes]]
    id = "full-disk"
    harm = "lost or corrupt rows"
    title = "`create` returns normally although a row group could not be written"
    public = true
    since = "0.5.4"
    expected = "`create` raises, or the records are there"
    actual = "the error is logged, and the records of the group are missing"
    scripts = ["sched_10_full_disk_is_success.py"]
    clauses = ["SCHED-10"]

    [[causes.places]]
    file = "engine/async_scheduler.py"
    line = 1655
    text = 'logger.error("Failed to checkpoint")'

    [[causes.mends]]
    file = "engine/async_scheduler.py"
    old = 'logger.error("Failed to checkpoint")'
    new = 'raise'

A *place* is a line of the newest release, with its text, so that `check_place` can say when the
line moved. A *mend* is the smallest change of the engine's text after which the cause is gone; a
workload that breaks a clause, and no longer with the mend, belongs to the cause
(`simulations.releases.mended_runs`). A cause that a release mended names it (``mended``).

A *question* is behaviour that breaks a clause, and that the engine's authors may want: it is asked,
and not counted as a defect. It has an ``id``, a ``title``, ``text`` and the same lists.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from cellspec.clauses import clauses
from cellspec.errors import SpecError
from cellspec.text import did_you_mean
from simulations.releases.release_list import Engine

__all__ = [
    "HARMS",
    "Cause",
    "Causes",
    "Mend",
    "Place",
    "Question",
    "check_place",
    "mended_text",
    "read_causes",
]

Harm: TypeAlias = Literal["hang", "lost or corrupt rows", "wasted calls", "speed"]
HARMS: tuple[Harm, ...] = ("hang", "lost or corrupt rows", "wasted calls", "speed")
"""What a cause costs its user, the worst first."""

_Id = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
_Line = Annotated[str, Field(pattern=r"^[^\n]*\S[^\n]*$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Place(_Strict):
    """A line of the newest release.

    Attributes:
        file: the file, from the folder of installed packages.
        line: the number of the line, from 1.
        text: its text, without the white space around it.
    """

    file: _Line
    line: Annotated[int, Field(ge=1)]
    text: _Line


class Mend(_Strict):
    """A change of the newest release: one piece of a file's text, and what takes its place.

    Attributes:
        file: the file, from the folder of installed packages.
        old: the piece; it is in the file exactly once.
        new: the text in its place.
    """

    file: _Line
    old: Annotated[str, Field(min_length=1)]
    new: str


class _Shown(_Strict):
    """What shows a cause, or a question.

    Attributes:
        id: a short name.
        title: what happens, in one line.
        scripts: scripts that show it, the best to begin with first.
        clauses: clauses that it breaks.
        cases: case files that break for it, by name; those that its mends or its clauses tell
            need not be here.
    """

    id: _Id
    title: _Line
    scripts: tuple[str, ...] = ()
    clauses: Annotated[tuple[str, ...], Field(min_length=1)]
    cases: tuple[str, ...] = ()


class Cause(_Shown):
    """A root cause. See `simulations.releases.causes`.

    Attributes:
        harm: what it costs a user.
        public: True if the public interface leads there.
        reach: how the public interface leads there, or why not, in a sentence; "" to leave it out.
        since: the first release of the list that has it.
        mended: the first release of the list that has it no longer; "" if the newest has it.
        expected: what must happen.
        actual: what happens.
        places: where it is in the newest release; a mended cause needs none.
        mends: the change after which it is gone.
    """

    harm: Harm
    public: bool
    reach: str = ""
    since: str
    mended: str = ""
    expected: _Line
    actual: _Line
    places: tuple[Place, ...] = ()
    mends: tuple[Mend, ...] = ()

    @model_validator(mode="after")
    def _has_a_place(self) -> Self:
        if not self.mended and not self.places:
            raise ValueError(f"cause {self.id!r} is not mended, and so needs [[causes.places]]")
        return self


class Question(_Shown):
    """Behaviour that breaks a clause, and that may be meant.

    Attributes:
        text: the question, with what is known.
    """

    text: str


class Causes(_Strict):
    """All causes and questions of an engine; causes are sorted by harm, worst first.

    Attributes:
        causes: the causes.
        questions: the questions.
    """

    causes: tuple[Cause, ...] = ()
    questions: tuple[Question, ...] = ()

    @model_validator(mode="after")
    def _names_are_used_once(self) -> Self:
        entries: list[_Shown] = [*self.causes, *self.questions]
        for what, names in (
            ("id", [one.id for one in entries]),
            ("script", [name for one in entries for name in one.scripts]),
            ("case", [name for one in entries for name in one.cases]),
        ):
            twice = next((name for name, times in Counter(names).items() if times > 1), None)
            if twice is not None:
                raise ValueError(f"{what} {twice!r} is listed twice; one cause explains it")
        return self

    @property
    def live(self) -> list[Cause]:
        """The causes that the newest release has, by harm."""
        return self._by_harm(one for one in self.causes if not one.mended)

    @property
    def mended(self) -> list[Cause]:
        """The causes that the newest release has no longer, by harm."""
        return self._by_harm(one for one in self.causes if one.mended)

    @staticmethod
    def _by_harm(causes: Iterable[Cause]) -> list[Cause]:
        """Sorted by harm, then with those first that users can meet, then as in the file."""
        return sorted(causes, key=lambda one: (HARMS.index(one.harm), not one.public))


def read_causes(path: Path, engine: Engine, scripts: Iterable[str]) -> Causes:
    """Read the causes of an engine.

    Args:
        path: the file; a missing one has no cause.
        engine: the list that it belongs to.
        scripts: the names of the stand-alone scripts.

    Raises:
        SpecError: the file cannot be read or used; one line that names it and the field.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Causes()
    except OSError as error:
        raise SpecError(f"{path}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SpecError(f"{path}: not TOML: {error}") from None
    try:
        causes = Causes.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        said = first["msg"].removeprefix("Value error, ")
        raise SpecError(
            f"{path}: {place + ': ' if place else ''}{said}{_of(data, first)}"
        ) from None
    _check_names(path, causes, engine, list(scripts))
    return causes


def _of(data: Any, error: Any) -> str:
    """`` (cause 'x')`` for an error inside an entry that has an id; else ""."""
    try:
        kind, at = error["loc"][:2]
        return f" ({kind.removesuffix('s')} {data[kind][at]['id']!r})"
    except (LookupError, TypeError, ValueError, AttributeError):
        return ""


def _check_names(path: Path, causes: Causes, engine: Engine, scripts: Sequence[str]) -> None:
    """Refuse releases, clauses and scripts that there are not."""
    versions = [one.version for one in engine.releases]
    kinds = {"clause": list(clauses()), "script": list(scripts), "release": versions}
    for one in (*causes.causes, *causes.questions):
        named = [("clause", each) for each in one.clauses]
        named += [("script", each) for each in one.scripts]
        if isinstance(one, Cause):
            named += [("release", each) for each in (one.since, one.mended) if each]
        for kind, name in named:
            if name not in kinds[kind]:
                raise SpecError(
                    f"{path}: {one.id}: there is no {kind} {name!r}"
                    f"{did_you_mean(name, kinds[kind])}"
                )
    for cause in causes.mended:
        if versions.index(cause.mended) <= versions.index(cause.since):
            raise SpecError(
                f"{path}: {cause.id}: mended: expected a release after {cause.since}, "
                f"got {cause.mended!r}"
            )


def check_place(place: Place, packages: Path) -> int:
    """The line at which a place's text is now, in a folder of installed packages; 0 if nowhere.

    It is the place's own line if the text is still there, else the nearest line with this text.
    """
    try:
        lines = (packages / place.file).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return 0
    found = [at for at, line in enumerate(lines, 1) if line.strip() == place.text.strip()]
    return min(found, key=lambda at: (abs(at - place.line), at), default=0)


def mended_text(mend: Mend, text: str) -> str | None:
    """A file's text with the change in it; None if the old piece is not there exactly once."""
    return text.replace(mend.old, mend.new) if text.count(mend.old) == 1 else None
