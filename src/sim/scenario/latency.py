"""How long a cell takes: latency models, and numbers that do not depend on who asks first.

**One number per cell.** In this package a latency is a *fact about a cell*, not a step of a shared
random sequence. It is a pure function of (seed, column name, row, attempt). Two schedules of one
workload therefore meet the same latencies, whatever they start first; a crash and a resume meet
them again; and a difference between two policies is a difference between the policies, because
both ran on the same numbers. More rows never change earlier ones, and a column that is added or
removed changes no other column.

**How.** A counter-based generator (Philox) maps (key, counter) to random numbers with no state to
carry along. The key is a digest of (seed, column, attempt), the counter holds the number of a
*block* of consecutive rows, and a whole block is always drawn, even if the dataset ends inside it.
A block exists because one scalar draw costs some twenty microseconds and a vector of a thousand
some fifty: `BLOCK_ROWS` rows for a first attempt. Later attempts are sparse, and so are barriers
(one draw for each scope), so theirs are blocks of `SPARSE_ROWS`.

**Models.** Each is a small frozen record, chosen by its field ``model``. All parameters are in
seconds (names end in ``_s``) or plain numbers, and are checked when a scenario is read:

=============  ====================================================================================
constant       ``value_s``
uniform        ``low_s`` to ``high_s``
exponential    ``mean_s``
lognormal      ``median_s`` and one of ``sigma``, ``p90_s``, ``p99_s``
gamma          ``mean_s`` and ``shape``
weibull        ``scale_s`` and ``shape``
pareto         ``minimum_s`` and ``alpha``
mixture        ``components``, each a ``weight`` and a ``latency``
quantiles      ``quantiles_s``: a table, probability to seconds
trace          replays recorded seconds from a file
tokens         replays recorded token counts: TTFT(prompt) + (output - 1) x TPOT
=============  ====================================================================================

`LatencySource` serves a simulator: it draws blocks, keeps the few that are in use, and hands out
plain Python floats.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import math
import zlib
from abc import abstractmethod
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Self, TypeAlias

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationInfo,
    model_validator,
)
from pydantic_core import PydanticCustomError

from cellspec.errors import SpecError
from cellspec.machine.actions import Failure

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]

__all__ = [
    "BLOCK_MASK",
    "BLOCK_ROWS",
    "BLOCK_SHIFT",
    "LATENCY_MODELS",
    "MAX_SECONDS",
    "SPARSE_ROWS",
    "ColumnLatency",
    "Component",
    "Constant",
    "Draws",
    "Exponential",
    "Gamma",
    "Latency",
    "LatencyModel",
    "LatencySource",
    "Lognormal",
    "Mixture",
    "Pareto",
    "Quantiles",
    "StrictModel",
    "Tokens",
    "Trace",
    "Uniform",
    "Weibull",
    "field_error",
]

BLOCK_SHIFT = 10
BLOCK_ROWS = 1 << BLOCK_SHIFT
"""Rows of one block of first attempts."""
BLOCK_MASK = BLOCK_ROWS - 1
SPARSE_ROWS = 128
"""Rows (or barrier scopes) of one block of everything else: later attempts and barriers."""

MAX_SECONDS = 1e9
"""The largest time that a parameter or a trace may hold: with it no draw can overflow."""

Z90 = 1.2815515655446004
Z99 = 2.3263478740408408
"""Standard normal quantiles at 0.90 and 0.99."""

Seconds = Annotated[float, Field(ge=0, le=MAX_SECONDS, allow_inf_nan=False)]
PositiveSeconds = Annotated[float, Field(gt=0, le=MAX_SECONDS, allow_inf_nan=False)]
TokenCount = Annotated[int, Field(ge=1)]


def field_error(path: str, message: str) -> PydanticCustomError:
    """An error about a field below the model that raises it, in the words that the user reads.

    Args:
        path: the field, from the model that is validated, such as ``columns[2].resource``.
        message: what was expected and what was given, in one line.
    """
    return PydanticCustomError("field", "{message}", {"message": message, "path": path})


class StrictModel(BaseModel):
    """A frozen record of a scenario file: unknown fields refused, no value silently converted."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    @model_validator(mode="before")
    @classmethod
    def _known_fields(cls, data: Any) -> Any:
        """Refuse an unknown field by name: a typo must not be read as a default."""
        if isinstance(data, Mapping):
            known = [item.alias or name for name, item in cls.model_fields.items()]
            for name in data:
                if name not in known:
                    text = f"unknown field; expected one of: {', '.join(known)}"
                    raise field_error(str(name), text)
        return data


class Draws:
    """The random numbers of one stream, one block at a time.

    Attributes:
        rng: the generator, at the start of the current block.
        origin: a number below 2**64 that is the same in all blocks of the stream; a replayed trace
            starts there.

    Args:
        key: the stream's two words.
        origin: see above.
        part: which of several independent streams of one key; see `part`.
    """

    __slots__ = ("_bits", "_key", "_parts", "_state", "origin", "rng")

    def __init__(self, key: NDArray[np.uint64], origin: int, part: int = 0) -> None:
        import numpy as np

        self._key = key
        self._bits = np.random.Philox(key=key, counter=np.array([0, 0, part, 0], np.uint64))
        self._state: Any = self._bits.state
        self._parts: dict[int, Draws] = {}
        self.origin = origin
        self.rng = np.random.Generator(self._bits)

    def at(self, block: int) -> Draws:
        """These draws, moved to the start of a block, whatever was drawn before."""
        self._state["state"]["counter"][3] = block
        # A new generator takes eight times as long as a new state: it asks for entropy first.
        self._bits.state = self._state
        return self

    def part(self, index: int) -> Draws:
        """Further numbers for the same block, independent of these and of other parts."""
        found = self._parts.get(index)
        if found is None:
            found = self._parts[index] = Draws(self._key, self.origin, index + 1)
        return found.at(int(self._state["state"]["counter"][3]))


class LatencyModel(StrictModel):
    """What all latency models offer."""

    @property
    def fails(self) -> bool:
        """True if calls fail where what is replayed did; see `Replay.sample_failures`."""
        return False

    def remark(self) -> str:
        """What a reader of the scenario must be told, as one line; "" if nothing."""
        return ""

    def loads(self) -> Sequence[int]:
        """How many requests were served together when its times were measured, where known."""
        return ()

    @abstractmethod
    def sample(self, draws: Draws, start: int, count: int) -> Floats:
        """Latencies in seconds of `count` consecutive rows from row `start`.

        Every call with equal arguments gives equal numbers; callers pass whole blocks.
        """

    @abstractmethod
    def mean_s(self) -> float:
        """The expected latency in seconds; infinite if the distribution has no finite mean."""


class Constant(LatencyModel):
    """Always the same time."""

    model: Literal["constant"] = "constant"
    value_s: Seconds = Field(description="seconds")

    def sample(self, draws: Draws, start: int, count: int) -> Floats:  # noqa: ARG002
        import numpy as np

        return np.full(count, self.value_s)

    def mean_s(self) -> float:
        return self.value_s


class Uniform(LatencyModel):
    """Any time between two bounds, all equally likely."""

    model: Literal["uniform"] = "uniform"
    low_s: Seconds = Field(description="smallest latency, seconds")
    high_s: Seconds = Field(description="largest latency, seconds; at least low_s")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.high_s < self.low_s:
            raise field_error(
                "high_s", f"expected at least low_s ({self.low_s:g}), got {self.high_s:g}"
            )
        return self

    def sample(self, draws: Draws, start: int, count: int) -> Floats:  # noqa: ARG002
        return self.low_s + (self.high_s - self.low_s) * draws.rng.random(count)

    def mean_s(self) -> float:
        return (self.low_s + self.high_s) / 2


class Exponential(LatencyModel):
    """Memoryless: how long it took so far says nothing about how long it will take."""

    model: Literal["exponential"] = "exponential"
    mean: PositiveSeconds = Field(alias="mean_s", description="mean, seconds")

    def sample(self, draws: Draws, start: int, count: int) -> Floats:  # noqa: ARG002
        return self.mean * draws.rng.standard_exponential(count)

    def mean_s(self) -> float:
        return self.mean


class Lognormal(LatencyModel):
    """The usual shape of a request's latency: its logarithm is normal.

    Given by its median and how far the tail reaches: ``sigma`` (of the logarithm), or the time
    that 90 % or 99 % of requests stay below.
    """

    model: Literal["lognormal"] = "lognormal"
    median_s: PositiveSeconds = Field(description="median, seconds")
    sigma: float | None = Field(
        None,
        gt=0,
        le=20,
        allow_inf_nan=False,
        description="standard deviation of the natural logarithm; no unit",
    )
    p90_s: PositiveSeconds | None = Field(None, description="90th percentile, seconds")
    p99_s: PositiveSeconds | None = Field(None, description="99th percentile, seconds")

    @model_validator(mode="after")
    def _one_spread(self) -> Self:
        given = [x for x in ("sigma", "p90_s", "p99_s") if getattr(self, x) is not None]
        if len(given) != 1:
            got = " and ".join(given) or "none"
            raise field_error("", f"expected exactly one of sigma, p90_s, p99_s, got {got}")
        for name in ("p90_s", "p99_s"):
            value = getattr(self, name)
            if value is not None and value <= self.median_s:
                raise field_error(
                    name, f"expected more than median_s ({self.median_s:g}), got {value:g}"
                )
        return self

    @property
    def log_sigma(self) -> float:
        """Standard deviation of the latency's natural logarithm."""
        if self.sigma is not None:
            return self.sigma
        if self.p90_s is not None:
            return math.log(self.p90_s / self.median_s) / Z90
        assert self.p99_s is not None
        return math.log(self.p99_s / self.median_s) / Z99

    def sample(self, draws: Draws, start: int, count: int) -> Floats:  # noqa: ARG002
        import numpy as np

        return self.median_s * np.exp(self.log_sigma * draws.rng.standard_normal(count))

    def mean_s(self) -> float:
        return self.median_s * math.exp(self.log_sigma**2 / 2)


class Gamma(LatencyModel):
    """The sum of ``shape`` exponential stages (``shape`` need not be whole)."""

    model: Literal["gamma"] = "gamma"
    mean: PositiveSeconds = Field(alias="mean_s", description="mean, seconds")
    shape: float = Field(ge=0.01, le=1e6, description="1 is exponential, more is narrower; no unit")

    def sample(self, draws: Draws, start: int, count: int) -> Floats:  # noqa: ARG002
        return draws.rng.standard_gamma(self.shape, count) * (self.mean / self.shape)

    def mean_s(self) -> float:
        return self.mean


class Weibull(LatencyModel):
    """Exponential with a rate that falls (shape below 1) or rises (above 1) with time."""

    model: Literal["weibull"] = "weibull"
    scale_s: PositiveSeconds = Field(description="the time that 63.2 % stay below, seconds")
    shape: float = Field(
        ge=0.05, le=1e3, allow_inf_nan=False, description="1 is exponential; no unit"
    )

    def sample(self, draws: Draws, start: int, count: int) -> Floats:  # noqa: ARG002
        found: Floats = self.scale_s * draws.rng.standard_exponential(count) ** (1 / self.shape)
        return found

    def mean_s(self) -> float:
        return self.scale_s * math.gamma(1 + 1 / self.shape)


class Pareto(LatencyModel):
    """A heavy tail: P(latency > t) = (minimum_s / t) ** alpha."""

    model: Literal["pareto"] = "pareto"
    minimum_s: PositiveSeconds = Field(description="smallest latency, seconds")
    alpha: float = Field(
        ge=0.1,
        le=1e3,
        allow_inf_nan=False,
        description="tail index; no finite mean at 1 and below; no unit",
    )

    def sample(self, draws: Draws, start: int, count: int) -> Floats:  # noqa: ARG002
        import numpy as np

        # 1 - u lies in (0, 1], so no draw divides by zero.
        found: Floats = self.minimum_s * np.power(1 - draws.rng.random(count), -1 / self.alpha)
        return found

    def mean_s(self) -> float:
        if self.alpha <= 1:
            return math.inf
        return self.minimum_s * self.alpha / (self.alpha - 1)


class Quantiles(LatencyModel):
    """A published table of quantiles, and a straight line between its points.

    The table must say the smallest (probability 0) and the largest latency (1): a tail that is
    not known is not made up.
    """

    model: Literal["quantiles"] = "quantiles"
    quantiles_s: dict[float, Seconds] = Field(
        description="probability (0 to 1, in increasing order, both ends included) to seconds"
    )
    interpolation: Literal["linear", "log"] = Field(
        "linear", description="straight in seconds, or in the logarithm of seconds"
    )

    @property
    def points(self) -> list[tuple[float, float]]:
        """The table as (probability, seconds), by probability."""
        return sorted(self.quantiles_s.items())

    @model_validator(mode="after")
    def _increasing(self) -> Self:
        points = self.points
        if len(points) < 2 or points[0][0] != 0 or points[-1][0] != 1:
            ends = f"{points[0][0]:g} to {points[-1][0]:g}" if points else "an empty table"
            raise field_error("quantiles_s", f"expected probabilities from 0 to 1, got {ends}")
        for (p, s), (q, t) in pairwise(points):
            if t < s:
                text = f"expected increasing seconds, got {t:g} at {q:g} after {s:g} at {p:g}"
                raise field_error("quantiles_s", text)
        if self.interpolation == "log" and points[0][1] == 0:
            text = "expected more than 0 seconds everywhere for interpolation: log, got 0 at 0"
            raise field_error("quantiles_s", text)
        return self

    def sample(self, draws: Draws, start: int, count: int) -> Floats:  # noqa: ARG002
        import numpy as np

        table: Floats = np.array(self.points)
        probabilities, seconds = table[:, 0], table[:, 1]
        u = draws.rng.random(count)
        if self.interpolation == "linear":
            return np.interp(u, probabilities, seconds)
        found: Floats = np.exp(np.interp(u, probabilities, np.log(seconds)))
        # exp(log(x)) may miss x by a rounding error; a latency must not leave its table.
        return np.clip(found, seconds[0], seconds[-1])

    def mean_s(self) -> float:
        total = 0.0
        for (p, s), (q, t) in pairwise(self.points):
            if self.interpolation == "log" and t > s:
                total += (q - p) * (t - s) / math.log(t / s)
            else:
                total += (q - p) * (s + t) / 2
        return total


# Replay of what was recorded

Kind: TypeAlias = Literal["seconds", "tokens", "failure"]
FAILURES: tuple[Failure | None, ...] = (None, "retryable", "backpressure")
"""How a recorded request may have failed, by the number that is kept of it."""


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

    @model_validator(mode="after")
    def _load(self, info: ValidationInfo) -> Self:
        if self.failed == "fail" and self.failed_column is None:
            raise field_error("failed", "expected failed_column too: it says which requests failed")
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

        Failures are places in `FAILURES`; empty if no column tells them.

        Raises:
            SpecError: if the file holds no rows, or a row without a usable number.
        """

    def _columns(self, kinds: dict[str, Kind]) -> dict[str, Kind]:
        """The columns to read, with the one that tells failures at the end."""
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
    def fails(self) -> bool:
        return self.failed == "fail" and any(self._failures)

    def remark(self) -> str:
        total = f"of {self._read_entries:,} requests in {self.file!r}"
        if self.failed_column is None:
            zeros = self._seconds.count(0.0)
            if not zeros:
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
        first = (draws.origin + start) % entries
        found: NDArray[np.int64] = (first + np.arange(count)) % entries
        return found

    def mean_s(self) -> float:
        return math.fsum(self._seconds) / len(self._seconds)


class Trace(Replay):
    """Replay of recorded seconds."""

    model: Literal["trace"] = "trace"
    column_s: str = Field(min_length=1, description="the file's column of seconds")

    def _read(self, path: Path) -> tuple[array[float], array[int]]:
        seconds, *failures = read_columns(path, self._columns({self.column_s: "seconds"}))
        return seconds, array("b", map(int, failures[0] if failures else ()))


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


# Reading a trace file

_EXPECTED = {
    "seconds": f"seconds from 0 to {MAX_SECONDS:g}",
    "tokens": f"a whole number from 0 to {MAX_SECONDS:g}",
}


def read_columns(path: Path, columns: Mapping[str, Kind]) -> tuple[array[float], ...]:
    """Columns of numbers from a trace file, each in the file's order.

    Args:
        path: a file whose name ends in .csv, .csv.gz, .jsonl or .jsonl.gz.
        columns: each column's name, and what its numbers are.

    Raises:
        SpecError: another file type, no rows, an unknown column, or a value that is not of its
            kind; the message names the line.
        OSError: the file cannot be opened; other errors if it is damaged.
    """
    status = path.stat()
    return _read_columns(path, tuple(columns.items()), status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=16)
def _read_columns(
    path: Path,
    columns: tuple[tuple[str, Kind], ...],
    _mtime_ns: int,
    _size: int,
) -> tuple[array[float], ...]:
    """`read_columns`; several columns of a pipeline often replay one file, so it is kept."""
    found = tuple(array("d") for _ in columns)
    slots = [(name, kind, found[i]) for i, (name, kind) in enumerate(columns)]
    teller = next((name for name, kind in columns if kind == "failure"), None)
    for line, record in _records(path):
        for name, kind, values in slots:
            if name not in record:
                names = ", ".join(str(x) for x in record)
                raise SpecError(f"line {line} has no column {name!r}; its columns are: {names}")
            given = record[name]
            if kind == "failure":
                values.append(_failure(given))
                continue
            value = _number(given)
            if math.isnan(value) and teller is not None and _failure(record.get(teller)):
                # Of a request that failed not everything is known.
                value = 0.0
            if not 0 <= value <= MAX_SECONDS or (kind == "tokens" and value != int(value)):
                text = f"line {line}, column {name!r}: expected {_EXPECTED[kind]}, got {given!r}"
                raise SpecError(text)
            values.append(value)
    if not found[0]:
        raise SpecError("it holds no rows")
    return found


def _number(given: object) -> float:
    """A cell of a trace as a number; NaN, which no check accepts, if it is none."""
    if isinstance(given, bool) or not isinstance(given, int | float | str):
        return math.nan
    try:
        return float(given)
    except (ValueError, OverflowError):
        return math.nan


def _failure(given: object) -> int:
    """What a trace says of how a request ended, as a place in `FAILURES`."""
    if given is None or given is False or (isinstance(given, str) and not given.strip()):
        return 0
    value = _number(given)
    return 0 if value == 0 else FAILURES.index("backpressure" if value == 429 else "retryable")


def _records(path: Path) -> Iterator[tuple[int, Mapping[str, object]]]:
    """The rows of a trace file, each with its line number."""
    name = path.name.lower().removesuffix(".gz")
    if not name.endswith((".csv", ".jsonl")):
        raise SpecError("expected a file named .csv, .csv.gz, .jsonl or .jsonl.gz")
    opened = gzip.open if path.name.lower().endswith(".gz") else open
    with opened(path, "rt", encoding="utf-8-sig", newline="") as lines:
        if name.endswith(".csv"):
            reader = csv.DictReader(lines, strict=True)
            for row in reader:
                yield reader.line_num, row
            return
        for line, text in enumerate(lines, start=1):
            if not text.strip():
                continue
            try:
                record = json.loads(text)
            except (ValueError, RecursionError):
                record = None
            if not isinstance(record, dict):
                raise SpecError(f"line {line}: expected a JSON object")
            yield line, record


# A mixture of the above

Plain = Annotated[
    Constant
    | Uniform
    | Exponential
    | Lognormal
    | Gamma
    | Weibull
    | Pareto
    | Quantiles
    | Trace
    | Tokens,
    Field(discriminator="model"),
]


class Component(StrictModel):
    """One part of a mixture."""

    weight: float = Field(
        gt=0,
        le=1e9,
        allow_inf_nan=False,
        description="share of the cells; weights need not sum to 1",
    )
    latency: Plain = Field(description="any model but a mixture")


class Mixture(LatencyModel):
    """Each cell follows one of several models, chosen with the given weights."""

    model: Literal["mixture"] = "mixture"
    components: Annotated[tuple[Component, ...], Field(strict=False, min_length=1, max_length=64)]

    @model_validator(mode="after")
    def _ends_well(self) -> Self:
        for place, item in enumerate(self.components):
            if item.latency.fails:
                text = "expected leave_out: calls of a mixture do not fail as their parts did"
                raise field_error(f"components[{place}].latency.failed", text)
        return self

    def remark(self) -> str:
        found = dict.fromkeys(item.latency.remark() for item in self.components)
        return "; ".join(text for text in found if text)

    def loads(self) -> Sequence[int]:
        return [load for item in self.components for load in item.latency.loads()]

    def sample(self, draws: Draws, start: int, count: int) -> Floats:
        import numpy as np

        ends = np.cumsum([item.weight for item in self.components])
        picks = np.searchsorted(ends, draws.rng.random(count) * ends[-1], side="right")
        found = np.empty(count)
        for index, item in enumerate(self.components):
            # Each part draws the whole block: then a weight changes who is picked, and no number.
            mine = item.latency.sample(draws.part(index), start, count)
            np.copyto(found, mine, where=picks == index)
        return found

    def mean_s(self) -> float:
        total = math.fsum(item.weight for item in self.components)
        return math.fsum(item.weight * item.latency.mean_s() for item in self.components) / total


Latency = Annotated[
    Constant
    | Uniform
    | Exponential
    | Lognormal
    | Gamma
    | Weibull
    | Pareto
    | Mixture
    | Quantiles
    | Trace
    | Tokens,
    Field(discriminator="model"),
]
"""Any latency model, chosen by its field ``model``."""

LATENCY_MODELS = (
    "constant",
    "uniform",
    "exponential",
    "lognormal",
    "gamma",
    "weibull",
    "pareto",
    "mixture",
    "quantiles",
    "trace",
    "tokens",
)


# Serving a simulator


class ColumnLatency(NamedTuple):
    """How long a column's nodes take.

    For a barrier column the latency is the barrier node's, and grows by `per_row_s` for each row
    that it reads; its output cells are there when the barrier is done and take no time.

    Attributes:
        name: the column's name, which keys its random numbers.
        latency: the model.
        per_row_s: further seconds for each row that a barrier reads.
        scope_rows: rows of one full scope of a barrier column; 0 for a column without barriers.
    """

    name: str
    latency: LatencyModel
    per_row_s: float = 0.0
    scope_rows: int = 0


class LatencySource:
    """The latencies of a run, in seconds, fetched by column and row.

    A block of `BLOCK_ROWS` rows is drawn when its first row is asked for and kept until
    `blocks_per_column` younger ones have come; so memory is O(columns) whatever the number of
    rows, about 33 kB a block. That suits every policy that visits rows roughly in order. Where
    rows are visited at random over more than ``blocks_per_column x BLOCK_ROWS`` rows, a fetch may
    draw its block again (some 60 µs, the same numbers): then pass None, which keeps every block,
    32 bytes a cell. What is fetched is the same in all cases.

    Args:
        seed: the run's seed, an integer of any size.
        columns: the columns in the order of their indices: `ColumnLatency`, or (name, model).
        rows: rows of the dataset.
        blocks_per_column: blocks of first attempts kept for each column; None keeps all.
    """

    __slots__ = (
        "_blocks",
        "_columns",
        "_failures",
        "_fixed",
        "_keep",
        "_rows",
        "_seed",
        "_sparse",
        "_streams",
    )

    def __init__(
        self,
        seed: int,
        columns: Iterable[ColumnLatency | tuple[str, LatencyModel]],
        rows: int,
        *,
        blocks_per_column: int | None = 8,
    ) -> None:
        self._seed = seed
        self._columns = [ColumnLatency(*item) for item in columns]
        self._rows = rows
        self._keep = blocks_per_column
        self._fixed = [_fixed_s(item) for item in self._columns]
        self._blocks: list[dict[int, list[float]]] = [{} for _ in self._columns]
        self._sparse: dict[tuple[str, int, int, int], list[float]] = {}
        self._failures: dict[tuple[str, int, int, int], list[int]] = {}
        self._streams: dict[tuple[str, int, int], Draws] = {}

    @property
    def columns(self) -> Sequence[ColumnLatency]:
        """The columns, in the order of their indices."""
        return self._columns

    def fixed(self, column: int) -> float | None:
        """The one latency of all cells of a column, in seconds; None if they differ."""
        return self._fixed[column]

    def get(self, column: int, row: int, attempt: int = 1) -> float:
        """Seconds that a cell takes in one attempt.

        Args:
            column: the column's index.
            row: 0 to rows - 1.
            attempt: counted from 1.

        Raises:
            IndexError: a row out of range. Only a draw looks: a column whose cells all take the
                same time, and a later attempt, answer for any row from 0.
        """
        fixed = self._fixed[column]
        if fixed is not None:
            return fixed
        if attempt != 1:
            block = self._sparse_block("cell", column, attempt, row // SPARSE_ROWS)
            return block[row % SPARSE_ROWS]
        try:
            return self._blocks[column][row >> BLOCK_SHIFT][row & BLOCK_MASK]
        except KeyError:
            return self.block(column, row >> BLOCK_SHIFT)[row & BLOCK_MASK]

    def reader(self, column: int) -> Callable[[int], float]:
        """``get(column, row)`` of one column, as a function of the row: half the cost a fetch."""
        fixed = self._fixed[column]
        if fixed is not None:
            return lambda _row: fixed
        kept, block = self._blocks[column], self.block

        def get(row: int) -> float:
            try:
                return kept[row >> BLOCK_SHIFT][row & BLOCK_MASK]
            except KeyError:
                return block(column, row >> BLOCK_SHIFT)[row & BLOCK_MASK]

        return get

    def get_barrier(
        self, column: int, scope: int, attempt: int = 1, *, rows: int | None = None
    ) -> float:
        """Seconds that a barrier node takes in one attempt.

        Args:
            column: the barrier column's index.
            scope: the batch's number; 0 for the dataset.
            attempt: counted from 1.
            rows: how many rows the barrier reads, each of which adds the column's `per_row_s`;
                if not given, all rows of its scope.
        """
        item = self._columns[column]
        if isinstance(item.latency, Constant):
            seconds = item.latency.value_s
        else:
            block = self._sparse_block("barrier", column, attempt, scope // SPARSE_ROWS)
            seconds = block[scope % SPARSE_ROWS]
        if item.per_row_s == 0.0:
            return seconds
        if rows is None:
            rows = min(item.scope_rows, self._rows - scope * item.scope_rows)
        return seconds + rows * item.per_row_s

    def mean_s(self, column: int) -> float:
        """The expected seconds of a column's cell, or of its barrier node with a full scope."""
        item = self._columns[column]
        rows = min(item.scope_rows, self._rows)
        return item.latency.mean_s() + rows * item.per_row_s

    def block(self, column: int, block: int, attempt: int = 1) -> list[float]:
        """The latencies of consecutive rows, in seconds, for a loop that holds them itself.

        Args:
            column: the column's index.
            block: rows ``block x size`` and up, where size is `BLOCK_ROWS` for a first attempt and
                `SPARSE_ROWS` for others; the dataset's last block may be short.
            attempt: counted from 1.

        Returns:
            A list that is shared: it must not be changed.

        Raises:
            IndexError: no row of the dataset is in that block.
        """
        size = BLOCK_ROWS if attempt == 1 else SPARSE_ROWS
        if not 0 <= block * size < self._rows:
            raise IndexError(f"block {block} of {size} rows is outside of {self._rows} rows")
        fixed = self._fixed[column]
        if fixed is not None:
            return [fixed] * min(size, self._rows - block * size)
        if attempt != 1:
            return self._sparse_block("cell", column, attempt, block)[: self._rows - block * size]
        kept = self._blocks[column]
        found = kept.get(block)
        if found is None:
            found = self._draw("cell", column, 1, block, size)[: self._rows - block * size]
            if self._keep is not None and len(kept) >= self._keep:
                del kept[next(iter(kept))]
            kept[block] = found
        return found

    def _sparse_block(self, kind: str, column: int, attempt: int, block: int) -> list[float]:
        key = (kind, column, attempt, block)
        found = self._sparse.get(key)
        if found is None:
            if block < 0:
                raise IndexError(f"expected a row or scope from 0, got one in block {block}")
            found = self._draw(kind, column, attempt, block, SPARSE_ROWS)
            if self._keep is not None and len(self._sparse) >= 8 * len(self._columns):
                del self._sparse[next(iter(self._sparse))]
            self._sparse[key] = found
        return found

    def failure(
        self, column: int, place: int, attempt: int = 1, *, barrier: bool = False
    ) -> Failure | None:
        """How a call fails because the request that it replays did; None if it does not.

        Args:
            column: the column's index.
            place: the row, or the scope of a barrier node.
            attempt: counted from 1.
            barrier: which of the two.
        """
        model = self._columns[column].latency
        if not isinstance(model, Replay) or not model.fails:
            return None
        kind = "barrier" if barrier else "cell"
        size = BLOCK_ROWS if attempt == 1 and not barrier else SPARSE_ROWS
        block = place // size
        key = (kind, column, attempt, block)
        found = self._failures.get(key)
        if found is None:
            found = model.sample_failures(self._stream(*key), block * size, size)
            if self._keep is not None and len(self._failures) >= 8 * len(self._columns):
                del self._failures[next(iter(self._failures))]
            self._failures[key] = found
        return FAILURES[found[place % size]]

    def _draw(self, kind: str, column: int, attempt: int, block: int, size: int) -> list[float]:
        stream, model = self._stream(kind, column, attempt, block), self._columns[column].latency
        found: list[float] = model.sample(stream, block * size, size).tolist()
        return found

    def _stream(self, kind: str, column: int, attempt: int, block: int) -> Draws:
        stream = self._streams.get((kind, column, attempt))
        if stream is None:
            stream = _stream(self._seed, kind, self._columns[column].name, attempt)
            self._streams[kind, column, attempt] = stream
        return stream.at(block)


def _fixed_s(item: ColumnLatency) -> float | None:
    if item.scope_rows:
        return 0.0
    return item.latency.value_s if isinstance(item.latency, Constant) else None


def _stream(seed: int, kind: str, column: str, attempt: int) -> Draws:
    """The draws of a stream, from its names alone.

    `hash` would depend on PYTHONHASHSEED, and a seed plus an index on the other columns. The name
    comes last, so that no two streams share a text.
    """
    import numpy as np

    text = f"{kind} {seed} {attempt} {column}".encode("utf-8", "surrogatepass")
    digest = hashlib.blake2b(text, digest_size=24, person=b"cellspec latency").digest()
    words = np.frombuffer(digest, dtype="<u8").astype(np.uint64)
    return Draws(words[:2], int(words[2]))
