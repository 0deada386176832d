"""Latency models that replay a recorded trace: seconds, or token counts at a measured speed.

=============  ====================================================================================
trace          replays recorded seconds from a file
tokens         replays recorded token counts: TTFT(prompt) + (output - 1) x TPOT
=============  ====================================================================================
"""

from __future__ import annotations

import csv
import math
import zlib
from abc import abstractmethod
from array import array
from bisect import bisect_left
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import Field, PrivateAttr, ValidationInfo, model_validator

from cellspec.errors import SpecError
from sim.scenario.distributions import LatencyModel, below
from sim.scenario.strict import Seconds, field_error
from sim.scenario.trace_file import FAILURES, Kind, read_columns

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from sim.draws import Draws, Floats

__all__ = ["Counts", "Replay", "Tokens", "Trace"]

TokenCount = Annotated[int, Field(ge=1)]


class Replay(LatencyModel):
    """A latency model that reads a recorded trace, whose file is read when it is validated.

    A relative path is looked up in the folder that the validation context names (the scenario
    file's), else in the working directory.
    """

    file: str = Field(
        min_length=1,
        description="a CSV file with a header, or one JSON object a line; .csv, .csv.gz, .jsonl or "
        ".jsonl.gz; relative to the scenario's folder",
    )
    order: Literal["sequential", "bootstrap"] = Field(
        "sequential",
        description="sequential: consecutive rows take consecutive entries, from a place that "
        "depends on seed, column and attempt, and round again; bootstrap: each row draws any entry",
    )
    from_start: bool = Field(
        False,
        description="row i takes entry i (of those that are not left out), in every attempt, and "
        "round again; in place of a place that is drawn",
    )
    failed_column: str | None = Field(
        None,
        min_length=1,
        description="the file's column that says that a request failed, such as its error code; "
        "blank, null and 0 say that it did not",
    )
    failed: Literal["leave_out", "fail"] = Field(
        "leave_out",
        description="requests that failed are left out, or the calls that replay them fail: with "
        "back-pressure where failed_column says 429, else so that they may be tried again",
    )

    _seconds: array[float] = PrivateAttr(default_factory=lambda: array("d"))
    _failures: array[int] = PrivateAttr(default_factory=lambda: array("b"))
    _read_entries: int = PrivateAttr(0)
    _bounds: tuple[float, float] | None = PrivateAttr(None)
    _sorted: Floats | None = PrivateAttr(None)

    @model_validator(mode="after")
    def _load(self, info: ValidationInfo) -> Self:
        if self.failed == "fail" and self.failed_column is None:
            raise field_error("failed", "expected failed_column too: it says which requests failed")
        if self.from_start and self.order == "bootstrap":
            raise field_error(
                "from_start", "expected order: sequential; bootstrap draws each entry"
            )
        if self.from_start and self.failed == "fail":
            text = "expected failed: leave_out; each attempt of a row would fail as the first did"
            raise field_error("from_start", text)
        folder = (info.context or {}).get("folder", Path())
        try:
            self._keep(*self._read(folder / self.file))
        except OSError as error:
            reason = error.strerror or str(error)
            raise field_error("file", f"trace {self.file!r} cannot be read: {reason}") from None
        except (EOFError, UnicodeDecodeError, csv.Error, zlib.error) as error:
            text = f"trace {self.file!r} is damaged or of another format: {error}"
            raise field_error("file", text) from None
        except SpecError as error:
            raise field_error("file", f"trace {self.file!r}: {error}") from None
        return self

    @abstractmethod
    def _read(self, path: Path) -> tuple[array[float], array[int]]:
        """The latencies of the trace, in its order, in seconds, and which of them failed.

        Failures are places in `FAILURES`; empty if no column records them.

        Raises:
            SpecError: if the file holds no rows, or a row without a usable number.
        """

    def _columns(self, kinds: dict[str, Kind]) -> dict[str, Kind]:
        """The columns to read, with the one that records failures at the end."""
        if self.failed_column is None:
            return kinds
        if self.failed_column in kinds:
            raise field_error("failed_column", "expected another column than those of numbers")
        return {**kinds, self.failed_column: "failure"}

    def _keep(self, seconds: array[float], failures: array[int]) -> None:
        self._read_entries = len(seconds)
        if failures and all(failures):
            raise SpecError("all its requests failed")
        if self.failed == "leave_out" and any(failures):
            seconds = array("d", (s for s, f in zip(seconds, failures, strict=True) if not f))
        self._seconds, self._failures = seconds, failures

    @property
    def is_drawn(self) -> bool:
        return not self.from_start

    @property
    def fails(self) -> bool:
        return self.failed == "fail" and any(self._failures)

    def remark(self) -> str:
        total = f"of {self._read_entries:,} requests in {self.file!r}"
        if self.failed_column is None:
            zeros = self._seconds.count(0.0)
            if not zeros or self.unit != "seconds":
                return ""
            return (
                f"{zeros:,} {total} took 0 s, and are replayed so; if they failed, name the "
                "column that says it as failed_column"
            )
        count = sum(map(bool, self._failures))
        if not count:
            return ""
        if self.failed == "leave_out":
            return f"{count:,} {total} failed, and are left out"
        full = self._failures.count(FAILURES.index("backpressure"))
        return f"{count:,} {total} failed, {full:,} with 429: the calls that replay them fail too"

    @property
    def seconds(self) -> Sequence[float]:
        """The recorded latencies, in the trace's order, in seconds."""
        return self._seconds

    def bounds(self, row: int) -> tuple[float, float]:  # noqa: ARG002
        if self._bounds is None:
            self._bounds = min(self._seconds), max(self._seconds)
        return self._bounds

    def sample(self, draws: Draws, start: int, count: int) -> Floats:
        import numpy as np

        found: Floats = np.frombuffer(self._seconds)[self._picks(draws, start, count)]
        return found

    def sample_failures(self, draws: Draws, start: int, count: int) -> list[int]:
        """How the requests failed whose latencies `sample` gives: places in `FAILURES`."""
        import numpy as np

        failures = np.frombuffer(self._failures, dtype=np.int8)
        found: list[int] = failures[self._picks(draws, start, count)].tolist()
        return found

    def _picks(self, draws: Draws, start: int, count: int) -> NDArray[np.int64]:
        import numpy as np

        entries = len(self._seconds)
        if self.order == "bootstrap":
            return (draws.rng.random(count) * entries).astype(np.int64)
        first = (start if self.from_start else draws.origin + start) % entries
        found: NDArray[np.int64] = (first + np.arange(count)) % entries
        return found

    has_quantile: ClassVar[bool] = True

    def quantile(self, z: Floats) -> Floats:
        """The recorded number below which such a part of the trace lies."""
        import numpy as np

        if self._sorted is None:
            self._sorted = np.sort(np.frombuffer(self._seconds))
        entries = len(self._sorted)
        places = (below(z) * entries).astype(np.int64)
        found: Floats = self._sorted[np.minimum(places, entries - 1)]
        return found

    def expected(self) -> float:
        return math.fsum(self._seconds) / len(self._seconds)


class Trace(Replay):
    """Replay of recorded seconds."""

    model: Literal["trace"] = "trace"
    column_s: str = Field(min_length=1, description="the file's column of seconds")

    def _read(self, path: Path) -> tuple[array[float], array[int]]:
        seconds, *failures = read_columns(path, self._columns({self.column_s: "seconds"}))
        return seconds, array("b", map(int, failures[0] if failures else ()))


class Counts(Replay):
    """Replay of a column of recorded token counts; a part of a request (`sim.scenario.tokens`)."""

    model: Literal["trace"] = "trace"
    column: str = Field(min_length=1, description="the file's column of token counts")

    def _read(self, path: Path) -> tuple[array[float], array[int]]:
        counts, *failures = read_columns(path, self._columns({self.column: "tokens"}))
        return counts, array("b", map(int, failures[0] if failures else ()))


class Tokens(Replay):
    """Replay of recorded token counts, turned into seconds by an endpoint's measured speed.

    latency = TTFT(prompt tokens) + (output tokens - 1) x TPOT. TTFT, the time to the first token,
    is a table over prompt tokens with straight lines between and beyond its points (one point:
    the same for all prompts). TPOT, the time of each further token, is one number, or a table over
    the number of requests that the endpoint serves together, read at ``batch``.
    """

    model: Literal["tokens"] = "tokens"
    prompt_tokens: str = Field(min_length=1, description="the file's column of prompt tokens")
    output_tokens: str = Field(min_length=1, description="the file's column of output tokens")
    ttft_s: dict[TokenCount, Seconds] = Field(
        min_length=1, description="prompt tokens to seconds until the first token"
    )
    tpot_s: Seconds | None = Field(None, description="seconds for each output token but the first")
    tpot_by_batch_s: dict[TokenCount, Seconds] | None = Field(
        None, min_length=1, description="requests served together to tpot_s"
    )
    batch: int | None = Field(
        None, ge=1, description="requests served together, within tpot_by_batch_s"
    )

    def _read(self, path: Path) -> tuple[array[float], array[int]]:
        tpot = self.tpot()
        kinds: dict[str, Kind] = {self.prompt_tokens: "tokens", self.output_tokens: "tokens"}
        if len(kinds) == 1:
            text = f"expected another column than prompt_tokens ({self.prompt_tokens!r})"
            raise field_error("output_tokens", text)
        prompts, outputs, *failures = read_columns(path, self._columns(kinds))
        points = sorted(self.ttft_s.items())
        found = array("d")
        for prompt, output in zip(prompts, outputs, strict=True):
            ttft = _straight(points, prompt)
            if ttft < 0:
                text = f"its line falls below 0 s at {prompt:g} prompt tokens; give a point nearer"
                raise field_error("ttft_s", text)
            found.append(ttft + max(output - 1, 0) * tpot)
        return found, array("b", map(int, failures[0] if failures else ()))

    def loads(self) -> Sequence[int]:
        return () if self.batch is None else (self.batch,)

    def tpot(self) -> float:
        """Seconds for each output token but the first, at ``batch`` requests served together."""
        if (self.tpot_s is None) == (self.tpot_by_batch_s is None):
            got = "none" if self.tpot_s is None else "both"
            raise field_error("", f"expected exactly one of tpot_s, tpot_by_batch_s, got {got}")
        if self.tpot_by_batch_s is None:
            assert self.tpot_s is not None
            if self.batch is not None:
                raise field_error(
                    "batch", "is read only with tpot_by_batch_s; tpot_s is one number"
                )
            return self.tpot_s
        points = sorted(self.tpot_by_batch_s.items())
        low, high = points[0][0], points[-1][0]
        if self.batch is None or not low <= self.batch <= high:
            got = "nothing" if self.batch is None else str(self.batch)
            text = f"expected a number within tpot_by_batch_s ({low} to {high}), got {got}"
            raise field_error("batch", text)
        return _straight(points, self.batch)


def _straight(points: Sequence[tuple[int, float]], x: float) -> float:
    """Straight lines through sorted points, the outer ones continued; one point is a constant."""
    if len(points) == 1:
        return points[0][1]
    right = min(max(bisect_left(points, (x,)), 1), len(points) - 1)
    (x0, y0), (x1, y1) = points[right - 1], points[right]
    return y0 + (y1 - y0) * (x - x0) / (x1 - x0)
