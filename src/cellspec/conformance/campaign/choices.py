"""A source of choices: all that the generator of workloads asks of chance.

A workload is drawn by a few questions: an integer of a range, one of some values, yes or no. Who
answers them is open. A campaign and the fuzzer ask `SeededChoices`, which is a function of a text
alone: no library and no version of Python has a say in it. The tests ask Hypothesis, which can make
smaller what it drew.

Each question has a *dullest* answer: the least integer, the first value, no. `DullestChoices` gives
it to every question, and a search for a smaller workload moves towards it.
"""

from __future__ import annotations

import hashlib
import struct
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TypeVar

__all__ = ["Choices", "DullestChoices", "SeededChoices"]

T = TypeVar("T")

_EIGHT_WORDS = struct.Struct("<8Q")


class Choices(ABC):
    """Answers the questions of a generator."""

    @abstractmethod
    def integer(self, low: int, high: int) -> int:
        """An integer from `low` to `high`, both included, each as likely; the dullest is `low`."""

    @abstractmethod
    def part(self, name: str) -> Choices:
        """The choices of one part of what is drawn.

        Where they can be, they are independent of all others: then a question more in one part
        changes no answer in another.
        """

    def sample(self, values: Sequence[T]) -> T:
        """One of the values, each as often as it is given; the dullest is the first."""
        return values[self.integer(0, len(values) - 1)]

    def chance(self, part: int, of: int) -> bool:
        """True so many times out of so many; the dullest is False."""
        return self.integer(0, of - 1) >= of - part

    def either(self, few: tuple[int, int], many: tuple[int, int]) -> int:
        """An integer of one of two ranges, which may overlap; the dullest is the least of `few`."""
        return self.integer(*(many if self.integer(0, 1) else few))


class SeededChoices(Choices):
    """Choices that are a function of a text.

    The text and the number of a block are hashed (BLAKE2b), and the hash is read as eight words of
    64 bits, in little-endian order. An integer of a range of n numbers is n · w / 2^b, rounded
    down, where w are the next b bits: as many words as it takes to make b exceed n's bits by 32. So
    the odds of two numbers differ by less than one part in 2^32, and nothing is ever rounded
    otherwise.

    Args:
        seed: the text.
    """

    __slots__ = ("_blocks", "_seed", "_words")

    def __init__(self, seed: str) -> None:
        self._seed = seed
        self._blocks = 0
        self._words: list[int] = []

    def integer(self, low: int, high: int) -> int:
        span = high - low + 1
        if span < 1:
            raise ValueError(f"no integer from {low} to {high}")
        words = self._words or self._more()
        drawn, bits = words.pop(), 64
        while span >> bits - 32:
            drawn, bits = drawn << 64 | (self._words or self._more()).pop(), bits + 64
        return low + (drawn * span >> bits)

    def part(self, name: str) -> SeededChoices:
        return SeededChoices(f"{self._seed}\n{name}")

    def _more(self) -> list[int]:
        """The next block of words, the first of them last."""
        text = f"{self._blocks}\n{self._seed}".encode()
        self._blocks += 1
        self._words = list(_EIGHT_WORDS.unpack(hashlib.blake2b(text).digest()))[::-1]
        return self._words


class DullestChoices(Choices):
    """The dullest answer to every question."""

    def integer(self, low: int, high: int) -> int:
        if low > high:
            raise ValueError(f"no integer from {low} to {high}")
        return low

    def part(self, name: str) -> DullestChoices:  # noqa: ARG002 - all parts are as dull
        return self
