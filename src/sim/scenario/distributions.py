"""Distributions of latencies: each a small frozen record, chosen by its field ``model``.

All parameters are in seconds (names end in ``_s``) or plain numbers, and are checked when a
scenario is read. `sim.scenario.latency` lists every model, with those that replay recorded traces
and the mixture. `sim.scenario.tokens` has the same distributions for counts of tokens, whose
fields have the same names without ``_s``: so the attributes here have none either.

=============  ====================================================================================
constant       ``value_s``
uniform        ``low_s`` to ``high_s``
exponential    ``mean_s``
lognormal      ``median_s`` and one of ``sigma``, ``p90_s``, ``p99_s``
gamma          ``mean_s`` and ``shape``
weibull        ``scale_s`` and ``shape``
pareto         ``minimum_s`` and ``alpha``
quantiles      ``quantiles_s``: a table, probability to seconds
list           ``values_s``: row i takes the i-th
=============  ====================================================================================
"""

from __future__ import annotations

import math
import sys
from abc import abstractmethod
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from sim.scenario.strict import PositiveSeconds, Seconds, StrictModel, field_error

if TYPE_CHECKING:
    from sim.draws import Draws, Floats

__all__ = [
    "Constant",
    "Exponential",
    "Gamma",
    "LatencyModel",
    "List",
    "Lognormal",
    "Pareto",
    "Quantiles",
    "Uniform",
    "Weibull",
    "below",
]

_LARGEST_LOG = math.log(sys.float_info.max)

Z90 = 1.2815515655446004
Z99 = 2.3263478740408408
"""Standard normal quantiles at 0.90 and 0.99."""


def below(z: Floats) -> Floats:
    """The probabilities that a standard normal number is below z; above z it is that of -z."""
    import numpy as np

    return np.array([math.erfc(x) for x in (z * -math.sqrt(0.5)).tolist()]) / 2


def _exp(x: Floats) -> Floats:
    """e to the power of each number.

    One by one, as `_log` and `_power`: numpy chooses among implementations by the processor, and
    their last bits differ, so that one seed would draw other latencies on another machine.
    """
    import numpy as np

    return np.array([math.exp(v) if v < _LARGEST_LOG else math.inf for v in x.tolist()])


def _log(x: Floats) -> Floats:
    import numpy as np

    return np.array([math.log(v) if v else -math.inf for v in x.tolist()])


def _power(x: Floats, exponent: float) -> Floats:
    """Each number, which is not negative, to a power."""
    import numpy as np

    def power(v: float) -> float:
        try:
            return math.pow(v, exponent)
        except (OverflowError, ValueError):
            return math.inf

    return np.array([power(v) for v in x.tolist()])


class LatencyModel(StrictModel):
    """The base of every latency model: it draws latencies, and knows their mean."""

    unit: ClassVar[str] = "seconds"
    """What is drawn, in the words of messages."""

    @classmethod
    def word(cls, field: str) -> str:
        """The name of a field as a file spells it."""
        return cls.model_fields[field].alias or field

    @property
    def fails(self) -> bool:
        """True if calls fail where the recorded requests did; see `Replay.sample_failures`."""
        return False

    has_quantile: ClassVar[bool] = False
    """True if `quantile` is known."""

    @property
    def is_drawn(self) -> bool:
        """True if another draw may give a row another number."""
        return True

    def remark(self) -> str:
        """A line for the reader of the scenario about its numbers; often empty."""
        return ""

    def loads(self) -> Sequence[int]:
        """How many requests were served together when its times were measured, where known."""
        return ()

    def known_rows(self) -> int | None:
        """How many rows it has numbers for; None if for any."""
        return None

    def bounds(self, row: int) -> tuple[float, float]:  # noqa: ARG002
        """The least and the most that a call of a row may draw, in `unit`, as far as is known."""
        return 0.0, math.inf

    @abstractmethod
    def sample(self, draws: Draws, start: int, count: int) -> Floats:
        """Latencies in seconds of `count` consecutive rows from row `start`.

        Every call with equal arguments gives equal numbers; callers pass whole blocks.
        """

    def quantile(self, z: Floats) -> Floats:
        """What is drawn at the probabilities that a standard normal number is below z.

        Raises:
            NotImplementedError: the model has no `has_quantile`.
        """
        raise NotImplementedError(f"{type(self).__name__} at {len(z)} points")

    @abstractmethod
    def expected(self) -> float:
        """The mean of what is drawn, in `unit`; infinite for some heavy tails."""

    def mean_s(self) -> float:
        """The expected latency in seconds; infinite for some heavy tails."""
        return self.expected()


class Constant(LatencyModel):
    """Always the same time."""

    model: Literal["constant"] = "constant"
    value: Seconds = Field(alias="value_s", description="seconds")

    def bounds(self, row: int) -> tuple[float, float]:  # noqa: ARG002
        return self.value, self.value

    @property
    def is_drawn(self) -> bool:
        return False

    def sample(self, draws: Draws, start: int, count: int) -> Floats:  # noqa: ARG002
        import numpy as np

        return np.full(count, self.value)

    def expected(self) -> float:
        return self.value


class Uniform(LatencyModel):
    """Any time between two bounds, all equally likely."""

    model: Literal["uniform"] = "uniform"
    low: Seconds = Field(alias="low_s", description="smallest latency, seconds")
    high: Seconds = Field(alias="high_s", description="largest latency, seconds; at least low_s")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.high < self.low:
            text = f"expected at least {self.word('low')} ({self.low:g}), got {self.high:g}"
            raise field_error(self.word("high"), text)
        return self

    def bounds(self, row: int) -> tuple[float, float]:  # noqa: ARG002
        return self.low, self.high

    def sample(self, draws: Draws, start: int, count: int) -> Floats:  # noqa: ARG002
        return self.low + (self.high - self.low) * draws.rng.random(count)

    has_quantile: ClassVar[bool] = True

    def quantile(self, z: Floats) -> Floats:
        return self.low + (self.high - self.low) * below(z)

    def expected(self) -> float:
        return (self.low + self.high) / 2


class Exponential(LatencyModel):
    """Memoryless: the time that is left does not depend on the time so far."""

    model: Literal["exponential"] = "exponential"
    mean: PositiveSeconds = Field(alias="mean_s", description="mean, seconds")

    def sample(self, draws: Draws, start: int, count: int) -> Floats:  # noqa: ARG002
        return self.mean * draws.rng.standard_exponential(count)

    has_quantile: ClassVar[bool] = True

    def quantile(self, z: Floats) -> Floats:
        found: Floats = -self.mean * _log(below(-z))
        return found

    def expected(self) -> float:
        return self.mean


class Lognormal(LatencyModel):
    """The usual shape of a request's latency: its logarithm is normal.

    Given by its median and how far the tail reaches: ``sigma`` (of the logarithm), or the time
    that 90 % or 99 % of requests stay below.
    """

    one_of = ("sigma", "p90_s", "p99_s")

    model: Literal["lognormal"] = "lognormal"
    median: PositiveSeconds = Field(alias="median_s", description="median, seconds")
    sigma: float | None = Field(
        None,
        gt=0,
        le=20,
        allow_inf_nan=False,
        description="standard deviation of the natural logarithm; no unit",
    )
    p90: PositiveSeconds | None = Field(None, alias="p90_s", description="90th percentile, seconds")
    p99: PositiveSeconds | None = Field(None, alias="p99_s", description="99th percentile, seconds")

    @model_validator(mode="after")
    def _spreads(self) -> Self:
        for name, value in (("p90", self.p90), ("p99", self.p99)):
            if value is not None and value <= self.median:
                median = f"{self.word('median')} ({self.median:g})"
                text = f"expected more than {median}, got {value:g}"
                raise field_error(self.word(name), text)
        return self

    @property
    def log_sigma(self) -> float:
        """Standard deviation of the latency's natural logarithm."""
        if self.sigma is not None:
            return self.sigma
        if self.p90 is not None:
            return math.log(self.p90 / self.median) / Z90
        assert self.p99 is not None
        return math.log(self.p99 / self.median) / Z99

    def sample(self, draws: Draws, start: int, count: int) -> Floats:  # noqa: ARG002
        return self.median * _exp(self.log_sigma * draws.rng.standard_normal(count))

    has_quantile: ClassVar[bool] = True

    def quantile(self, z: Floats) -> Floats:
        found: Floats = self.median * _exp(self.log_sigma * z)
        return found

    def expected(self) -> float:
        return self.median * math.exp(self.log_sigma**2 / 2)


class Gamma(LatencyModel):
    """The sum of ``shape`` exponential stages (``shape`` need not be whole)."""

    model: Literal["gamma"] = "gamma"
    mean: PositiveSeconds = Field(alias="mean_s", description="mean, seconds")
    shape: float = Field(ge=0.01, le=1e6, description="1 is exponential, more is narrower; no unit")

    def sample(self, draws: Draws, start: int, count: int) -> Floats:  # noqa: ARG002
        return draws.rng.standard_gamma(self.shape, count) * (self.mean / self.shape)

    def expected(self) -> float:
        return self.mean


class Weibull(LatencyModel):
    """Exponential with a rate that falls (shape below 1) or rises (above 1) with time."""

    model: Literal["weibull"] = "weibull"
    scale: PositiveSeconds = Field(
        alias="scale_s", description="the time that 63.2 % stay below, seconds"
    )
    shape: float = Field(
        ge=0.05, le=1e3, allow_inf_nan=False, description="1 is exponential; no unit"
    )

    def sample(self, draws: Draws, start: int, count: int) -> Floats:  # noqa: ARG002
        found: Floats = self.scale * draws.rng.standard_exponential(count) ** (1 / self.shape)
        return found

    has_quantile: ClassVar[bool] = True

    def quantile(self, z: Floats) -> Floats:
        found: Floats = self.scale * _power(-_log(below(-z)), 1 / self.shape)
        return found

    def expected(self) -> float:
        return self.scale * math.gamma(1 + 1 / self.shape)


class Pareto(LatencyModel):
    """A heavy tail: P(latency > t) = (minimum_s / t) ** alpha."""

    model: Literal["pareto"] = "pareto"
    minimum: PositiveSeconds = Field(alias="minimum_s", description="smallest latency, seconds")
    alpha: float = Field(
        ge=0.1,
        le=1e3,
        allow_inf_nan=False,
        description="tail index; no finite mean at 1 and below; no unit",
    )

    def bounds(self, row: int) -> tuple[float, float]:  # noqa: ARG002
        return self.minimum, math.inf

    def sample(self, draws: Draws, start: int, count: int) -> Floats:  # noqa: ARG002
        # 1 - u lies in (0, 1], so no draw divides by zero.
        found: Floats = self.minimum * _power(1 - draws.rng.random(count), -1 / self.alpha)
        return found

    has_quantile: ClassVar[bool] = True

    def quantile(self, z: Floats) -> Floats:
        found: Floats = self.minimum * _power(below(-z), -1 / self.alpha)
        return found

    def expected(self) -> float:
        if self.alpha <= 1:
            return math.inf
        return self.minimum * self.alpha / (self.alpha - 1)


class Quantiles(LatencyModel):
    """A published table of quantiles, and a straight line between its points.

    The table must say the smallest (probability 0) and the largest latency (1): a tail that is
    not known is not made up.
    """

    model: Literal["quantiles"] = "quantiles"
    quantiles: dict[float, Seconds] = Field(
        alias="quantiles_s",
        description="probability (0 to 1, in increasing order, both ends included) to seconds",
    )
    interpolation: Literal["linear", "log"] = Field(
        "linear", description="straight in seconds, or in the logarithm of seconds"
    )

    @property
    def points(self) -> list[tuple[float, float]]:
        """The table as (probability, seconds), by probability."""
        return sorted(self.quantiles.items())

    @model_validator(mode="after")
    def _increasing(self) -> Self:
        points, where = self.points, self.word("quantiles")
        if len(points) < 2 or points[0][0] != 0 or points[-1][0] != 1:
            ends = f"{points[0][0]:g} to {points[-1][0]:g}" if points else "an empty table"
            raise field_error(where, f"expected probabilities from 0 to 1, got {ends}")
        for (p, s), (q, t) in pairwise(points):
            if t < s:
                text = f"expected increasing {self.unit}, got {t:g} at {q:g} after {s:g} at {p:g}"
                raise field_error(where, text)
        if self.interpolation == "log" and points[0][1] == 0:
            text = f"expected more than 0 {self.unit} everywhere for interpolation: log, got 0 at 0"
            raise field_error(where, text)
        return self

    def bounds(self, row: int) -> tuple[float, float]:  # noqa: ARG002
        points = self.points
        return points[0][1], points[-1][1]

    def sample(self, draws: Draws, start: int, count: int) -> Floats:  # noqa: ARG002
        return self._at(draws.rng.random(count))

    has_quantile: ClassVar[bool] = True

    def quantile(self, z: Floats) -> Floats:
        return self._at(below(z))

    def _at(self, u: Floats) -> Floats:
        """The table at probabilities."""
        import numpy as np

        table: Floats = np.array(self.points)
        probabilities, seconds = table[:, 0], table[:, 1]
        if self.interpolation == "linear":
            return np.interp(u, probabilities, seconds)
        found: Floats = _exp(np.interp(u, probabilities, _log(seconds)))
        # exp(log(x)) may miss x by a rounding error; a latency must not leave its table.
        return np.clip(found, seconds[0], seconds[-1])

    def expected(self) -> float:
        total = 0.0
        for (p, s), (q, t) in pairwise(self.points):
            if self.interpolation == "log" and t > s:
                total += (q - p) * (t - s) / math.log(t / s)
            else:
                total += (q - p) * (s + t) / 2
        return total


class List(LatencyModel):
    """Known times: row i takes the i-th, in every attempt."""

    model: Literal["list"] = "list"
    values: Annotated[tuple[Seconds, ...], Field(strict=False, min_length=1)] = Field(
        alias="values_s", description="seconds of row 0, row 1 and so on, for every row"
    )

    @property
    def is_drawn(self) -> bool:
        return False

    def known_rows(self) -> int:
        return len(self.values)

    def bounds(self, row: int) -> tuple[float, float]:
        return self.values[row], self.values[row]

    def sample(self, draws: Draws, start: int, count: int) -> Floats:  # noqa: ARG002
        import numpy as np

        found: Floats = np.zeros(count)
        mine = self.values[start : start + count]
        found[: len(mine)] = mine
        return found

    def expected(self) -> float:
        return math.fsum(self.values) / len(self.values)
