"""The tokens of a request: a latency that is work, which its endpoint turns into seconds.

`Request` has two counts, of the prompt's and of the answer's tokens. Each is drawn from a model of
its own: a distribution of `sim.scenario.distributions`, whose fields lose their ``_s`` here, a
column of a recorded trace, or a sum of other columns' counts. Counts are not rounded.
`sim.scenario.token_source` draws them.

=============  ====================================================================================
constant       ``value``
uniform        ``low`` to ``high``
exponential    ``mean``
lognormal      ``median`` and one of ``sigma``, ``p90``, ``p99``
gamma          ``mean`` and ``shape``
weibull        ``scale`` and ``shape``
pareto         ``minimum`` and ``alpha``
mixture        ``components``, each a ``weight`` and ``tokens``
quantiles      ``quantiles``: a table, probability to tokens
list           ``values``: row i takes the i-th
trace          ``column`` of a recorded trace in ``file``
sum            ``of`` other columns' counts of the same row, and ``plus``
=============  ====================================================================================
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, NamedTuple, Self

from pydantic import AfterValidator, Field, WrapValidator, model_validator

from sim.scenario.distributions import (
    Constant,
    Exponential,
    Gamma,
    LatencyModel,
    List,
    Lognormal,
    Pareto,
    Quantiles,
    Uniform,
    Weibull,
)
from sim.scenario.mixed import Mixed, Weight
from sim.scenario.named import NamedModel
from sim.scenario.recorded import Counts
from sim.scenario.strict import MAX_SECONDS, StrictModel, field_error
from sim.scenario.words import given_words

if TYPE_CHECKING:
    from sim.draws import Draws, Floats

__all__ = ["PARTS", "TOKEN_MODELS", "Reference", "Request", "TokenModel"]

TOKEN_MODELS = (
    "constant",
    "uniform",
    "exponential",
    "lognormal",
    "gamma",
    "weibull",
    "pareto",
    "mixture",
    "quantiles",
    "list",
    "trace",
    "sum",
)
"""The names of all models of a count, in the order of the table."""

_UNMIXED = ("mixture", "list", "sum")
"""The models that no mixture holds."""

PARTS = ("prompt_tokens", "output_tokens")
"""The two counts of a request."""

# A draw of tokens is bounded as one of seconds is, and for the same reason.
Tokens = Annotated[float, Field(ge=0, le=MAX_SECONDS, allow_inf_nan=False)]
PositiveTokens = Annotated[float, Field(gt=0, le=MAX_SECONDS, allow_inf_nan=False)]


class Reference(NamedTuple):
    """A count of another column: the column's name, and one of `PARTS`."""

    column: str
    part: str


class TokenModel(LatencyModel):
    """The base of every model of a count: it draws tokens, and knows their mean."""

    unit: ClassVar[str] = "tokens"

    def references(self) -> Sequence[Reference]:
        """The counts of other columns that are added to what `sample` draws."""
        return ()


class ConstantTokens(TokenModel, Constant):
    """Always the same count."""

    value: Tokens = Field(description="tokens")


class UniformTokens(TokenModel, Uniform):
    """Any count between two bounds, all equally likely."""

    low: Tokens = Field(description="smallest count, tokens")
    high: Tokens = Field(description="largest count, tokens; at least low")


class ExponentialTokens(TokenModel, Exponential):
    """Memoryless: what is left of an answer does not depend on its length so far."""

    mean: PositiveTokens = Field(description="mean, tokens")


class LognormalTokens(TokenModel, Lognormal):
    """The usual shape of a prompt or an answer: the logarithm of its length is normal."""

    one_of = ("sigma", "p90", "p99")

    median: PositiveTokens = Field(description="median, tokens")
    p90: PositiveTokens | None = Field(None, description="90th percentile, tokens")
    p99: PositiveTokens | None = Field(None, description="99th percentile, tokens")


class GammaTokens(TokenModel, Gamma):
    """The sum of ``shape`` exponential parts (``shape`` need not be whole)."""

    mean: PositiveTokens = Field(description="mean, tokens")


class WeibullTokens(TokenModel, Weibull):
    """Exponential with a rate that falls (shape below 1) or rises (above 1) with the length."""

    scale: PositiveTokens = Field(description="the count that 63.2 % stay below, tokens")


class ParetoTokens(TokenModel, Pareto):
    """A heavy tail: P(count > n) = (minimum / n) ** alpha."""

    minimum: PositiveTokens = Field(description="smallest count, tokens")


class QuantileTokens(TokenModel, Quantiles):
    """A published table of quantiles, and a straight line between its points."""

    quantiles: dict[float, Tokens] = Field(
        description="probability (0 to 1, in increasing order, both ends included) to tokens"
    )


class ListedTokens(TokenModel, List):
    """Known counts: row i takes the i-th, in every attempt."""

    values: Annotated[tuple[Tokens, ...], Field(strict=False, min_length=1)] = Field(
        description="tokens of row 0, row 1 and so on, for every row"
    )


class RecordedTokens(TokenModel, Counts):
    """Replay of a recorded trace's column of token counts.

    The prompt and the answer of a call take the same entry of the trace.
    """


def _count_name(text: str) -> str:
    column, dot, part = text.rpartition(".")
    if not (dot and column and part in PARTS):
        expected = "expected COLUMN.output_tokens or COLUMN.prompt_tokens"
        raise field_error("", f"{expected}, got {given_words(text)}")
    return text


class SumOfTokens(TokenModel):
    """Counts of other columns in the same row, and a fixed number: a prompt that holds answers.

    What counts is the call that gave the other cell its value: its attempt, and its incarnation. A
    skipped cell counts nothing.
    """

    model: Literal["sum"] = "sum"
    of: Annotated[
        tuple[Annotated[str, AfterValidator(_count_name)], ...], Field(strict=False, min_length=1)
    ] = Field(
        description="COLUMN.output_tokens or COLUMN.prompt_tokens of columns before this one, with "
        "latencies of model request"
    )
    plus: Tokens = Field(0.0, description="further tokens")

    def references(self) -> Sequence[Reference]:
        return [Reference(*text.rpartition(".")[::2]) for text in self.of]

    def bounds(self, row: int) -> tuple[float, float]:  # noqa: ARG002
        """Of the fixed number alone."""
        return self.plus, self.plus

    def sample(self, draws: Draws, start: int, count: int) -> Floats:  # noqa: ARG002
        import numpy as np

        return np.full(count, self.plus)

    @property
    def is_drawn(self) -> bool:
        """False: the sum adds nothing random to what it counts."""
        return False

    def expected(self) -> float:
        """Of the fixed number alone."""
        return self.plus


PlainCount = Annotated[
    ConstantTokens
    | UniformTokens
    | ExponentialTokens
    | LognormalTokens
    | GammaTokens
    | WeibullTokens
    | ParetoTokens
    | QuantileTokens
    | RecordedTokens,
    Field(discriminator="model"),
    WrapValidator(NamedModel(*(name for name in TOKEN_MODELS if name not in _UNMIXED))),
]


class TokenComponent(StrictModel):
    """One part of a mixture of counts."""

    weight: Weight = Field(description="share of the cells; weights need not sum to 1")
    tokens: PlainCount = Field(description="any model of a count but a mixture, a list or a sum")


class MixtureOfTokens(TokenModel, Mixed):
    """Each cell follows one of several models, chosen with the given weights."""

    part = "tokens"

    model: Literal["mixture"] = "mixture"
    components: Annotated[
        tuple[TokenComponent, ...], Field(strict=False, min_length=1, max_length=64)
    ]

    def parts(self) -> Sequence[tuple[float, LatencyModel]]:
        return [(item.weight, item.tokens) for item in self.components]


TokenCount = Annotated[
    ConstantTokens
    | UniformTokens
    | ExponentialTokens
    | LognormalTokens
    | GammaTokens
    | WeibullTokens
    | ParetoTokens
    | MixtureOfTokens
    | QuantileTokens
    | ListedTokens
    | RecordedTokens
    | SumOfTokens,
    Field(discriminator="model"),
    WrapValidator(NamedModel(*TOKEN_MODELS)),
]
"""Any model of a count, chosen by its field ``model``."""


class Request(LatencyModel):
    """Work instead of seconds: the tokens of a call, to which the endpoint gives time."""

    unit: ClassVar[str] = "tokens"

    model: Literal["request"] = "request"
    prompt_tokens: TokenCount = Field(
        ConstantTokens(value=0.0), description="of the prompt; none: it takes no time"
    )
    output_tokens: TokenCount = Field(description="of the answer; they are not rounded")
    max_output_tokens: PositiveTokens | None = Field(
        None,
        description="what a call reserves for its answer, which is cut there; none: as long as the "
        "answer will be",
    )

    @model_validator(mode="after")
    def _one_entry(self) -> Self:
        prompt, output = self.counts
        if (
            isinstance(prompt, RecordedTokens)
            and isinstance(output, RecordedTokens)
            and prompt.file == output.file
            and prompt.model_dump(exclude={"column"}) != output.model_dump(exclude={"column"})
        ):
            text = (
                f"expected the fields of prompt_tokens but for column: both replay {prompt.file!r}"
            )
            raise field_error("output_tokens", text)
        return self

    @property
    def counts(self) -> tuple[TokenModel, TokenModel]:
        """The models of the two counts, in the order of `PARTS`."""
        return self.prompt_tokens, self.output_tokens

    @property
    def fails(self) -> bool:
        return any(item.fails for item in self.counts)

    @property
    def is_drawn(self) -> bool:
        return any(item.is_drawn for item in self.counts)

    def remark(self) -> str:
        found = dict.fromkeys(item.remark() for item in self.counts)
        return "; ".join(text for text in found if text)

    def sample(self, draws: Draws, start: int, count: int) -> Floats:  # noqa: ARG002
        raise TypeError("a request has tokens and no seconds; LatencySource.tokens draws them")

    def expected(self) -> float:
        raise TypeError("a request has tokens and no seconds; see LatencySource.mean_tokens")
