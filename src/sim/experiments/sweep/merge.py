"""Joins the folders of shards: the runs of all of them in one folder."""

from __future__ import annotations

from collections.abc import Sequence

from cellspec.errors import SpecError
from sim.experiments.sweep.store import SweepFolder, keep, sweep_words

__all__ = ["merge"]

MERGED = "merged"
"""The stem of the file that takes the runs of other folders."""


def merge(sources: Sequence[SweepFolder], target: SweepFolder) -> int:
    """Add the runs of some folders to another one.

    Args:
        sources: at least one; all of one sweep. They are left as they are.
        target: a new folder, or one of the same sweep.

    Returns:
        How many runs were added.

    Raises:
        SpecError: the folders are of several sweeps, runs that should be equal are not, another
            process adds to the target, or storage refuses.
    """
    first = sources[0]
    manifest, (_, points) = first.manifest(), first.whole()
    for other in sources[1:]:
        if sweep_words(other.manifest()) != sweep_words(manifest) or other.whole()[1] != points:
            raise SpecError(
                f"{other.path}: holds another sweep than {first.path}; folders that are merged "
                "come from one sweep file, one scenario and one version of cellspec"
            )
    target.begin(manifest, points, MERGED)
    added = 0
    with target.adding(MERGED) as add:
        there = target.runs()
        for source in sources:
            for digest, runs in source.runs().items():
                for seed, run in runs.items():
                    is_new = seed not in there.get(digest, {})
                    keep(there, digest, seed, run, source.path)
                    if is_new:
                        add(digest, seed, run)
                        added += 1
    return added
