"""The latency model that fits a column's recorded seconds best, and how well it does.

Each family of `sim.scenario.latency` that has a density is fitted by maximum likelihood. The one
with the least BIC is taken (Schwarz, The Annals of Statistics 6, 1978: the likelihood, less
log(n) / 2 for each parameter). A Kolmogorov-Smirnov test then asks whether the seconds may come
from it. Its parameters were fitted to the same seconds, so the p-value is found by a parametric
bootstrap (Stute, Manteiga and Quindimil, Metrika 40, 1993): samples are drawn from the fit, fitted
anew, and the share of them that are further from their own fit is the p-value. Where it is below
`REFUSED`, a table of the recorded quantiles is taken in place of a family. Such a table is never
refused, and knows nothing of what lies beyond the slowest call.

A Pareto distribution with alpha <= 2 has no finite variance: a single call may take as long as all
others together, and no mean of runs settles. A few calls with a long tail are not enough to say so
of an engine. Where alpha may be 2 or less, it is taken only if at least `HEAVY_CALLS` calls show it
with a BIC that is less by `HEAVY_LEAD` (very strong evidence, in the words of Kass and Raftery,
Journal of the American Statistical Association 90, 1995).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from cellspec.errors import MissingExtraError
from sim.draws import stream

if TYPE_CHECKING:
    from numpy.random import Generator

    from sim.draws import Floats

__all__ = ["FAMILIES", "FEWEST", "REFUSED", "SHARES", "Fit", "fit"]

REFUSED: Final = 0.05
"""A family is refused if its p-value is below this."""

RESAMPLES: Final = 199
"""Samples of the bootstrap: the least p-value is 1 / (1 + this)."""

TESTED: Final = 2000
"""At most so many calls are tested, drawn at random, so that a fit takes a second at most."""

FEWEST: Final = 8
"""A family is fitted to at least so many calls; fewer are a table."""

HEAVY_CALLS: Final = 200
"""A family without a finite variance is fitted to at least so many calls."""

HEAVY_LEAD: Final = 10.0
"""Its BIC is less than that of each other family by at least this."""

SHARES: Final = (0.5, 0.9, 0.99)
"""The quantiles whose errors are shown."""

Parameters: TypeAlias = dict[str, float]


@dataclass(frozen=True, slots=True)
class Family:
    """One family of distributions.

    Attributes:
        name: the model's name in a scenario.
        fitted: the parameters of greatest likelihood; None if the numbers cannot come from it.
        log_density: by parameters, of each number.
        below: by parameters, the probability below each number.
        drawn: by parameters, so many numbers.
    """

    name: str
    fitted: Callable[[Floats], Parameters | None]
    log_density: Callable[[Parameters, Floats], Floats]
    below: Callable[[Parameters, Floats], Floats]
    drawn: Callable[[Parameters, Generator, int], Floats]


@dataclass(frozen=True, slots=True)
class Fit:
    """A latency model, and how well it fits.

    Attributes:
        model: the latency as a scenario says it, in seconds; or a count of tokens, without ``_s``.
        calls: that it was fitted to.
        mean: of the recorded numbers.
        distance: the greatest difference of the two distribution functions (Kolmogorov-Smirnov).
        p_value: of that distance; None for a constant and a table.
        bic: by family, less that of the best one.
        best: the family with the least BIC; "" if none was tried.
        errors: by share of `SHARES`, how far the model's quantile is off, as a share.
        unit: the end of the names of its parameters.
        numbers: that it was fitted to, sorted.
        too_heavy: the parameters of a Pareto distribution that has the least BIC, and is not taken
            because so few calls do not show that its variance is infinite; None if there is none.
        heavy_lead: by how much its BIC is less than that of the best other family.
    """

    model: dict[str, Any]
    calls: int
    mean: float
    distance: float
    p_value: float | None
    bic: Mapping[str, float]
    best: str
    errors: Mapping[float, float]
    unit: str
    numbers: Floats
    too_heavy: Mapping[str, float] | None = None
    heavy_lead: float = 0.0

    def again(self, rng: Generator) -> dict[str, Any]:
        """The same model, fitted to as many of its numbers, drawn with replacement.

        It differs from the model as another record of as many calls would (Efron's bootstrap).
        """
        import numpy as np

        drawn = np.sort(rng.choice(self.numbers, len(self.numbers)))
        name = self.model["model"]
        if name == "constant":
            return self.model
        family = next((one for one in FAMILIES if one.name == name), None)
        parameters = None if family is None else family.fitted(drawn)
        if family is not None and parameters is not None:
            return _model(family, parameters, self.unit)
        return self.model if family is not None else _quantiles(_table(drawn), self.unit)


def fit(numbers: Sequence[float], *, censored: bool = False, unit: str = "_s") -> Fit:
    """The model of recorded numbers.

    Args:
        numbers: at least one; from 0 on.
        censored: some of them are known only to be larger than all others: a table alone says so.
        unit: the end of the names of parameters: "" for counts of tokens.

    Raises:
        MissingExtraError: scipy is not installed.
    """
    import numpy as np

    x = np.sort(np.array(numbers, float))
    mean = float(x.mean())
    if x[-1] - x[0] <= 1e-6 * x[-1] + 1e-9:
        model = {"model": "constant", f"value{unit}": _tidy(mean)}
        errors = dict.fromkeys(SHARES, 0.0)
        return Fit(model, len(x), mean, 0.0, None, {}, "", errors, unit, x)
    found = [] if censored or x[0] <= 0 or len(x) < FEWEST else list(_fitted(x))
    found, too_heavy, lead = _without_too_heavy(found, len(x))
    bic = {family.name: value for family, _, value in found}
    least = min(bic.values(), default=0.0)
    bic = {name: value - least for name, value in sorted(bic.items(), key=lambda one: one[1])}
    best = ""
    if found:
        family, parameters, _ = min(found, key=lambda one: one[2])
        best = family.name
        tested, p_value = _tested(family, parameters, x)
        if p_value >= REFUSED:
            model = _model(family, parameters, unit)
            errors = _errors(x, lambda p: _quantile(family, parameters, p, x))
            return Fit(
                model, len(x), mean, tested, p_value, bic, best, errors, unit, x, too_heavy, lead
            )
    table = _table(x)
    model = _quantiles(table, unit)
    shares, values = np.array(list(table)), np.array(list(table.values()))
    distance = _table_distance(x, values, shares)
    errors = _errors(x, lambda p: float(np.interp(p, shares, values)))
    return Fit(model, len(x), mean, distance, None, bic, best, errors, unit, x, too_heavy, lead)


def _model(family: Family, parameters: Parameters, unit: str) -> dict[str, Any]:
    """A family and its parameters, as a scenario says them."""
    words = _WORDS[family.name]
    named = {f"{k}{unit if k in words else ''}": _tidy(v) for k, v in parameters.items()}
    return {"model": family.name, **named}


def _quantiles(table: Mapping[float, float], unit: str) -> dict[str, Any]:
    """A table, as a scenario says it."""
    return {"model": "quantiles", f"quantiles{unit}": {p: _tidy(v) for p, v in table.items()}}


def _fitted(x: Floats) -> list[tuple[Family, Parameters, float]]:
    """Of each family that the numbers may come from: its parameters and its BIC."""
    import numpy as np

    found = []
    for family in FAMILIES:
        parameters = family.fitted(x)
        if parameters is None or not all(map(math.isfinite, parameters.values())):
            continue
        likelihood = float(np.sum(family.log_density(parameters, x)))
        if math.isfinite(likelihood):
            found.append((family, parameters, len(parameters) * math.log(len(x)) - 2 * likelihood))
    return found


def _without_too_heavy(
    found: list[tuple[Family, Parameters, float]], count: int
) -> tuple[list[tuple[Family, Parameters, float]], Parameters | None, float]:
    """The families without one whose variance may be infinite, if the numbers do not show it.

    Beside them the parameters of that one, and its lead in BIC, if it would have been the best.
    """
    heavy = next((one for one in found if one[0].name == "pareto"), None)
    # The estimate of alpha has a standard error of alpha / √n.
    if heavy is None or heavy[1]["alpha"] * (1 - 1.96 / math.sqrt(count)) > 2:
        return found, None, 0.0
    others = [one for one in found if one is not heavy]
    lead = min((one[2] for one in others), default=math.inf) - heavy[2]
    if count >= HEAVY_CALLS and lead >= HEAVY_LEAD:
        return found, None, 0.0
    return (others, heavy[1], lead) if lead > 0 else (others, None, 0.0)


def _tested(family: Family, parameters: Parameters, x: Floats) -> tuple[float, float]:
    """The distance of the numbers to a fit, and its p-value."""
    import numpy as np

    rng = stream(0, "fit", "", 0).rng
    distance = _distance(family.below(parameters, x), len(x))
    count, tested, own = min(len(x), TESTED), distance, parameters
    if count < len(x):
        some = np.sort(rng.choice(x, count, replace=False))
        own = family.fitted(some) or parameters
        tested = _distance(family.below(own, some), count)
    further = 0
    for _ in range(RESAMPLES):
        again = np.sort(family.drawn(own, rng, count))
        refitted = family.fitted(again) or own
        further += _distance(family.below(refitted, again), count) >= tested
    return distance, (1 + further) / (1 + RESAMPLES)


def _distance(below: Floats, count: int) -> float:
    """The Kolmogorov-Smirnov distance, by the probabilities below sorted numbers."""
    import numpy as np

    steps = np.arange(1, count + 1) / count
    return float(max(np.max(steps - below), np.max(below - steps + 1 / count)))


def _table_distance(x: Floats, values: Floats, shares: Floats) -> float:
    """The same of a table, in which several shares may have one value."""
    import numpy as np

    seen, counts = np.unique(x, return_counts=True)
    up_to = np.cumsum(counts) / len(x)
    known, first = np.unique(values, return_index=True)
    last = len(values) - 1 - np.unique(values[::-1], return_index=True)[1]
    above = up_to - np.interp(seen, known, shares[last])
    below = up_to - counts / len(x) - np.interp(seen, known, shares[first])
    return float(max(np.max(np.abs(above)), np.max(np.abs(below))))


def _quantile(family: Family, parameters: Parameters, share: float, x: Floats) -> float:
    """The quantile of a fit, by halving: right to a millionth of the largest number."""
    import numpy as np

    low, high = 0.0, float(x[-1]) * 64
    for _ in range(60):
        middle = (low + high) / 2
        if float(family.below(parameters, np.array([middle]))[0]) < share:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _errors(x: Floats, quantile: Callable[[float], float]) -> dict[float, float]:
    """How far quantiles are off, of those that the numbers know."""
    import numpy as np

    found = {}
    for share in SHARES:
        if len(x) * (1 - share) >= 1:
            recorded = float(np.quantile(x, share))
            found[share] = quantile(share) / recorded - 1 if recorded else 0.0
    return found


def _table(x: Floats) -> dict[float, float]:
    """The table of quantiles: every hundredth, and the tail as far as there are calls for it."""
    import numpy as np

    count = len(x)
    most = int(np.searchsorted(x, x[-1], "left"))
    if count <= 101:
        shares = [round(place / (count - 1), 6) for place in range(count)]
        return dict(zip(shares, x.tolist(), strict=True))
    tail = [0.992, 0.995, 0.998, 0.999, 0.9995, 0.9998, 0.9999]
    shares = [place / 100 for place in range(100)]
    shares += [share for share in tail if count * (1 - share) >= 1] + [1.0]
    if 0 < most < count - 1:
        # Where the largest number begins to repeat, as those that timed out do, the table steps.
        step = [(most - 1) / (count - 1), most / (count - 1)]
        shares = [share for share in shares if not step[0] < share < step[1]]
        shares = sorted({*shares, *(round(share, 9) for share in step)})
    return dict(zip(shares, np.quantile(x, shares).tolist(), strict=True))


def _tidy(value: float) -> float:
    """A parameter with as many digits as a fit can know."""
    return float(f"{value:.6g}")


# The families


def _uniform(x: Floats) -> Parameters:
    # The range of n numbers is short of the true one by 2 / (n + 1).
    beyond = (x[-1] - x[0]) / (len(x) - 1)
    return {"low": max(0.0, float(x[0] - beyond)), "high": float(x[-1] + beyond)}


def _lognormal(x: Floats) -> Parameters | None:
    import numpy as np

    logs = np.log(x)
    sigma = float(logs.std())
    return {"median": math.exp(float(logs.mean())), "sigma": sigma} if 0 < sigma <= 20 else None


def _gamma(x: Floats) -> Parameters | None:
    """The shape solves log(k) - digamma(k) = log(mean) - mean(log), by Newton's method."""
    import numpy as np

    special = _special()
    mean = float(x.mean())
    gap = math.log(mean) - float(np.log(x).mean())
    if gap <= 0:
        return None
    shape = (3 - gap + math.sqrt((gap - 3) ** 2 + 24 * gap)) / (12 * gap)
    for _ in range(20):
        off = math.log(shape) - float(special.digamma(shape)) - gap
        slope = 1 / shape - float(special.polygamma(1, shape))
        shape = max(shape - off / slope, shape / 2)
        if abs(off) < 1e-12:
            break
    return {"mean": mean, "shape": shape} if 0.01 <= shape <= 1e6 else None


def _weibull(x: Floats) -> Parameters | None:
    """The shape is where the derivative of the likelihood is 0, by Newton's method."""
    import numpy as np

    logs = np.log(x)
    logs -= logs.max()
    mean, spread = float(logs.mean()), float(logs.std())
    if spread <= 0:
        return None
    shape = 1.2 / spread
    for _ in range(50):
        powers = np.exp(shape * logs)
        total, first = float(powers.sum()), float((powers * logs).sum())
        second = float((powers * logs * logs).sum())
        off = first / total - 1 / shape - mean
        slope = second / total - (first / total) ** 2 + 1 / shape**2
        step = off / slope
        shape = max(shape - step, shape / 2)
        if abs(step) < 1e-10 * shape:
            break
    scale = float(x.max()) * float(np.exp(shape * logs).mean()) ** (1 / shape)
    return {"scale": scale, "shape": shape} if 0.05 <= shape <= 1e3 else None


def _pareto(x: Floats) -> Parameters | None:
    import numpy as np

    minimum = float(x[0])
    excess = float(np.log(x / minimum).mean())
    alpha = 1 / excess if excess else math.inf
    # Without a finite mean no figure of a run is predicted.
    return {"minimum": minimum, "alpha": alpha} if 1 < alpha <= 1e3 else None


def _uniform_density(p: Parameters, x: Floats) -> Floats:
    import numpy as np

    return np.full(len(x), -math.log(p["high"] - p["low"]))


def _exponential_density(p: Parameters, x: Floats) -> Floats:
    return -math.log(p["mean"]) - x / p["mean"]


def _lognormal_density(p: Parameters, x: Floats) -> Floats:
    import numpy as np

    logs: Floats = np.log(x)
    z = (logs - math.log(p["median"])) / p["sigma"]
    return -logs - math.log(p["sigma"] * math.sqrt(2 * math.pi)) - z * z / 2


def _gamma_density(p: Parameters, x: Floats) -> Floats:
    import numpy as np

    shape, scale = p["shape"], p["mean"] / p["shape"]
    constant = float(_special().gammaln(shape)) + shape * math.log(scale)
    found: Floats = (shape - 1) * np.log(x) - x / scale - constant
    return found


def _weibull_density(p: Parameters, x: Floats) -> Floats:
    import numpy as np

    shape, logs = p["shape"], np.log(x / p["scale"])
    found: Floats = math.log(shape / p["scale"]) + (shape - 1) * logs - np.exp(shape * logs)
    return found


def _pareto_density(p: Parameters, x: Floats) -> Floats:
    import numpy as np

    alpha, minimum = p["alpha"], p["minimum"]
    found: Floats = math.log(alpha) + alpha * math.log(minimum) - (alpha + 1) * np.log(x)
    return found


def _uniform_below(p: Parameters, x: Floats) -> Floats:
    import numpy as np

    found: Floats = np.clip((x - p["low"]) / (p["high"] - p["low"]), 0, 1)
    return found


def _exponential_below(p: Parameters, x: Floats) -> Floats:
    import numpy as np

    found: Floats = -np.expm1(-x / p["mean"])
    return found


def _lognormal_below(p: Parameters, x: Floats) -> Floats:
    import numpy as np

    with np.errstate(divide="ignore"):
        found: Floats = _special().ndtr((np.log(x) - math.log(p["median"])) / p["sigma"])
    return found


def _gamma_below(p: Parameters, x: Floats) -> Floats:
    found: Floats = _special().gammainc(p["shape"], x * p["shape"] / p["mean"])
    return found


def _weibull_below(p: Parameters, x: Floats) -> Floats:
    import numpy as np

    found: Floats = -np.expm1(-((x / p["scale"]) ** p["shape"]))
    return found


def _pareto_below(p: Parameters, x: Floats) -> Floats:
    import numpy as np

    found: Floats = np.maximum(0.0, 1 - (p["minimum"] / np.maximum(x, 1e-300)) ** p["alpha"])
    return found


FAMILIES: Final = (
    Family(
        "uniform",
        _uniform,
        _uniform_density,
        _uniform_below,
        lambda p, rng, n: rng.uniform(p["low"], p["high"], n),
    ),
    Family(
        "exponential",
        lambda x: {"mean": float(x.mean())},
        _exponential_density,
        _exponential_below,
        lambda p, rng, n: rng.exponential(p["mean"], n),
    ),
    Family(
        "lognormal",
        _lognormal,
        _lognormal_density,
        _lognormal_below,
        lambda p, rng, n: p["median"] * rng.lognormal(0, p["sigma"], n),
    ),
    Family(
        "gamma",
        _gamma,
        _gamma_density,
        _gamma_below,
        lambda p, rng, n: rng.gamma(p["shape"], p["mean"] / p["shape"], n),
    ),
    Family(
        "weibull",
        _weibull,
        _weibull_density,
        _weibull_below,
        lambda p, rng, n: p["scale"] * rng.weibull(p["shape"], n),
    ),
    Family(
        "pareto",
        _pareto,
        _pareto_density,
        _pareto_below,
        lambda p, rng, n: p["minimum"] * (1 + rng.pareto(p["alpha"], n)),
    ),
)
"""The families that are tried; a constant and a table of quantiles come beside them."""

_WORDS: Final[Mapping[str, frozenset[str]]] = {
    "uniform": frozenset({"low", "high"}),
    "exponential": frozenset({"mean"}),
    "lognormal": frozenset({"median"}),
    "gamma": frozenset({"mean"}),
    "weibull": frozenset({"scale"}),
    "pareto": frozenset({"minimum"}),
}
"""By family, the parameters that have a unit."""


def _special() -> Any:
    try:
        from scipy import special
    except ImportError:
        raise MissingExtraError("a fit", "experiments") from None
    return special
