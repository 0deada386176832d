"""The options of a conformance run as the user gave them: read from pytest, and checked together.

Each value is checked where it is used (`cellspec.conformance.campaign.options`, the readers of
files). This module reads the values, and refuses what only several options together say: an option
beside ``--replay`` that a replay has no use for, and two options that name one file. It refuses
files and folders that cannot be written, too. All of it is checked before anything runs, so that a
long run does not end with a file that it cannot write.

Options in a configuration file stand there for every run, a replay too: only those on the command
line are refused beside ``--replay``.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from cellspec.conformance.campaign.options import MAX_EXAMPLES, SLOW_EXAMPLES, Options
from cellspec.conformance.report.write import (
    CASES,
    INDEX,
    RESULTS_NAME,
    check_page,
    check_report_folder,
    check_results_file,
)
from cellspec.errors import SpecError
from cellspec.files import check_folder, check_target, is_same_file
from cellspec.text import seconds_of

__all__ = ["Given"]

_SHORT = ("--profile", "--max-examples", "--seed", "--seeds", "--slow", "--keep-going")
"""The options that have a short name, but for those that a replay makes use of."""

_FILES = ("replay", "xfails", "baseline", "clauses", "report", "json", "html")
"""The options that name a file or a folder."""


@dataclass(frozen=True)
class Given:
    """The options of a run.

    Args:
        config: the configuration of pytest.
    """

    config: pytest.Config

    def check(self) -> None:
        """Refuse what the options say together, before anything is read or run.

        Raises:
            SpecError: one line that names the options.
        """
        for name in _FILES:
            if self.text(name) == "":
                what = "a folder" if name == "report" else "a file"
                raise SpecError(f"--conformance-{name}: expected {what}, got ''")
        if self.replay is not None:
            self._check_replay()
            return
        if self.config.getoption("cellspec_first") and self.config.getoption("cellspec_keep_going"):
            raise SpecError(
                "--conformance-first and --conformance-keep-going: the first stops where the "
                "second goes on; give one of them"
            )
        self._check_apart()
        if self.report is not None:
            self._expect("report", self.report, check_folder)
            self._expect("report", self.report / CASES, check_folder)
            for name in (RESULTS_NAME, INDEX):
                self._expect("report", self.report / name, check_target)
            check_report_folder(self.report, self._shown("report"))
        if self.json_file is not None:
            self._expect("json", self.json_file, check_target)
            check_results_file(self.json_file, self._shown("json"))
        if self.html_file is not None:
            self._expect("html", self.html_file, check_target)
            check_page(self.html_file, self._shown("html"))

    def _expect(self, name: str, path: Path, check: Callable[[Path], None]) -> None:
        """Refuse an option by which the run would write where it cannot."""
        try:
            check(path)
        except SpecError as error:
            folder = f"{self.config.invocation_params.dir}{os.sep}"
            raise SpecError(f"--conformance-{name}: {str(error).replace(folder, '')}") from None

    def _check_replay(self) -> None:
        """Refuse the options on the command line that a replay has no use for."""
        words = [str(word).partition("=")[0] for word in self.config.invocation_params.args]
        used = ("--conformance-replay", "--conformance-slack")
        idle = [
            word
            for word in dict.fromkeys(words)
            if (word.startswith("--conformance-") or word in _SHORT) and word not in used
        ]
        if idle:
            raise SpecError(
                f"--replay: one workload is run, and {', '.join(idle)} would have no effect; leave "
                f"{'it' if len(idle) == 1 else 'them'} out"
            )

    def _check_apart(self) -> None:
        """Refuse two options that name one file, of which the run would write one or both."""
        named: list[tuple[str, Path]] = []
        for option, path, is_written in self._named():
            for other, before in named if is_written else ():
                if option != other and is_same_file(path, before):
                    raise SpecError(
                        f"{other} and {option}: both would be the file {path.name}, and one would "
                        "be lost; give two files"
                    )
            named.append((option, path))

    def _named(self) -> list[tuple[str, Path, bool]]:
        """The files that options name, each with whether a run writes it; those read come first."""
        report = self.report
        junit = self.config.getoption("xmlpath", None)
        files: list[tuple[str, Path | None, bool]] = [
            ("--conformance-xfails", self._path("xfails"), False),
            ("--conformance-clauses", self._path("clauses"), True),
            *(
                ("--conformance-report", report and report / name, True)
                for name in (RESULTS_NAME, INDEX)
            ),
            ("--conformance-json", self.json_file, True),
            ("--conformance-html", self.html_file, True),
            ("--junitxml", self.config.invocation_params.dir / junit if junit else None, True),
        ]
        return [(option, path, written) for option, path, written in files if path is not None]

    def _shown(self, name: str) -> str:
        """An option and its file, as the user wrote them."""
        return f"--conformance-{name}: {self.text(name)}"

    # The values

    def text(self, name: str) -> str | None:
        """The value of an option as it was given; None if it was not."""
        given: str | None = self.config.getoption(f"cellspec_{name.replace('-', '_')}")
        return given

    def _path(self, name: str) -> Path | None:
        """A file or folder that was asked for, meant from where the user is."""
        given = self.text(name)
        return None if given is None else Path(self.config.invocation_params.dir, given)

    @property
    def replay(self) -> Path | None:
        """The case file to replay."""
        return self._path("replay")

    @property
    def report(self) -> Path | None:
        """The folder of reports."""
        return self._path("report")

    @property
    def json_file(self) -> Path | None:
        """The file for the results."""
        return self._path("json")

    @property
    def html_file(self) -> Path | None:
        """The file for the matrix page."""
        return self._path("html")

    def options(self) -> Options:
        """The options of the suite.

        Raises:
            SpecError: a value that cannot be used.
        """
        config, report = self.config, self.report
        slow = bool(config.getoption("cellspec_slow"))
        return Options(
            backend=config.getoption("--engine-backend"),
            folder=config.invocation_params.dir,
            profiles=config.getoption("cellspec_profile"),
            only=self.text("only"),
            max_examples=self._integer(
                "max-examples", SLOW_EXAMPLES if slow else MAX_EXAMPLES, least=1
            ),
            seed=self._integer("seed", 0, least=0),
            seeds=self._integer("seeds", 1, least=1),
            slow=slow,
            xfails=self._path("xfails"),
            first=config.getoption("cellspec_first"),
            allow_inconclusive=config.getoption("cellspec_allow_inconclusive"),
            slack_s=self._seconds("slack"),
            replay=self.replay,
            cases=Path(".cellspec/cases") if report is None else report / CASES,
        )

    def _seconds(self, name: str) -> float:
        """A length of time that was asked for; 0 without one."""
        given = self.text(name)
        value = 0.0 if given is None else seconds_of(given)
        if value is None:
            raise SpecError(f"--{name}: expected more than 0 to 1e9 seconds, got {given!r}")
        return value

    def _integer(self, name: str, default: int, *, least: int) -> int:
        given = self.text(name)
        if given is None:
            return default
        try:
            value = int(given)
        except ValueError:
            value = least - 1
        if value < least:
            raise SpecError(f"--{name}: expected an integer from {least} up, got {given!r}")
        return value
