"""Every random number of a simulated run: a function of its key alone.

A draw is a function of the run's seed, the column, the row and the attempt (and, where it says so,
of the incarnation). Two schedules of one workload meet the same numbers, in any order of starts; a
crash and a resume meet them again, unless the scenario says ``redo: fresh``. Three forms serve
three kinds of question:

===============  ==================================  ==============================================
form             key                                 used for
===============  ==================================  ==============================================
`stream`         kind, seed, attempt, column,        latencies, tokens and recorded outcomes, a
                 incarnation; then the block of      block of consecutive rows at a time
                 rows                                (`sampler`)
`unit`           seed, column, row or scope,         failures, skips, accepted rows, the jitter of a
                 attempt, kind, and a later          backoff: one number a question
                 incarnation
`sequence`       seed and a label; the label of      crash times, answers that a run leaves open,
                 a queue holds the incarnation       and the ``random`` policy: numbers in order
===============  ==================================  ==============================================

**How a stream works.** A counter-based generator (Philox) maps (key, counter) to random numbers
and carries no state along. The key is a digest of the stream's names. The counter holds the number
of a *block*; a whole block is always drawn, even if the dataset ends inside it. So the numbers of
a row stay when rows or other columns are added. A block exists because one scalar draw costs some
twenty microseconds and a vector of a thousand some fifty.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]

__all__ = ["Draws", "sequence", "stream", "unit", "units"]

_MIXER = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_SHIFTS = 30, 27, 31


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
        """These draws, moved to the start of a block."""
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


def stream(seed: int, kind: str, column: str, attempt: int, incarnation: int = 0) -> Draws:
    """The draws of a stream, from its names alone.

    `hash` would depend on PYTHONHASHSEED, and a seed plus an index on the other columns. The name
    comes last, so that no two streams share a text.
    """
    import numpy as np

    text = f"{kind} {seed} {attempt} {column}".encode("utf-8", "surrogatepass")
    # Another salt for each incarnation; that of the first is none, and its numbers are the older.
    salt = incarnation.to_bytes(16, "little")
    digest = hashlib.blake2b(text, digest_size=24, salt=salt, person=b"cellspec latency").digest()
    words = np.frombuffer(digest, dtype="<u8").astype(np.uint64)
    return Draws(words[:2], int(words[2]))


def unit(*key: int) -> float:
    """A number in [0, 1) that looks random and depends on the key alone (SplitMix64's mixer)."""
    return (_mixed(key) >> 11) / (1 << 53)


def _mixed(key: Iterable[int]) -> int:
    mixed, (step, first, second), (far, near, last) = 0, _MIXER, _SHIFTS
    for part in key:
        mixed = (mixed ^ (part & 0xFFFFFFFFFFFFFFFF)) + step & 0xFFFFFFFFFFFFFFFF
        mixed = (mixed ^ mixed >> far) * first & 0xFFFFFFFFFFFFFFFF
        mixed = (mixed ^ mixed >> near) * second & 0xFFFFFFFFFFFFFFFF
        mixed ^= mixed >> last
    return mixed


def units(before: Sequence[int], places: NDArray[np.uint64], after: Sequence[int]) -> Floats:
    """`unit` of ``(*before, place, *after)`` for each of some places."""
    import numpy as np

    words: list[Any] = [places, *(np.uint64(part & 0xFFFFFFFFFFFFFFFF) for part in after)]
    step, first, second = map(np.uint64, _MIXER)
    far, near, last = map(np.uint64, _SHIFTS)
    mixed: Any = np.uint64(_mixed(before))
    for word in words:
        # Arrays of this type wrap around, as the mask does in `_mixed`.
        mixed = mixed ^ word
        mixed += step
        mixed ^= mixed >> far
        mixed *= first
        mixed ^= mixed >> near
        mixed *= second
        mixed ^= mixed >> last
    found: Floats = (mixed >> np.uint64(11)) / (1 << 53)
    return found


def sequence(*names: int | str) -> random.Random:
    """Numbers in order, for one question that a run asks again and again.

    Args:
        names: the run's seed, the incarnation where the draws are to differ by it, and a label.
    """
    return random.Random("/".join(map(str, names)))
