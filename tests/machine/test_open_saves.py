"""Since when a save is open: a save that begins as another ends was due while that was written."""

from __future__ import annotations

from cellspec.machine.open_saves import Mark, OpenSaves

WRITE = ((0,), 0, 2)
OTHER = ((0,), 2, 4)
EARLY, MIDDLE, LATE = Mark(1.0, 2), Mark(2.0, 4), Mark(3.0, 6)


def test_a_save_is_open_since_it_began_until_it_ends() -> None:
    saves = OpenSaves()
    assert saves.since is None
    saves.begin("claim", EARLY)
    assert saves.since == EARLY
    saves.begin("claim", MIDDLE)
    assert saves.since == EARLY, "it began already"
    saves.end("claim", 2.5)
    assert saves.since is None
    saves.begin("claim", LATE)
    assert saves.since == LATE, "nothing ended at this moment"


def test_of_several_saves_the_one_that_began_first_counts() -> None:
    saves = OpenSaves()
    saves.begin("commit 1", EARLY)
    saves.begin("commit 2", MIDDLE)
    assert saves.since == EARLY
    saves.end("commit 1", 2.5)
    assert saves.since == MIDDLE


def test_a_save_that_begins_as_others_end_is_open_since_the_first_of_them_began() -> None:
    for first, second in (("commit 1", "commit 2"), ("commit 2", "commit 1")):
        saves = OpenSaves()
        saves.begin("commit 1", EARLY)
        saves.begin("commit 2", MIDDLE)
        saves.end(first, LATE.at)
        saves.end(second, LATE.at)
        saves.begin("commit 3", LATE)
        assert saves.since == EARLY
        saves.end("commit 3", 4.0)
        saves.begin("commit 4", Mark(4.0, 8))
        assert saves.since == LATE, "the third began itself then: only one wait is allowed"


def test_a_save_that_begins_later_was_not_due_before() -> None:
    saves = OpenSaves()
    saves.begin("commit 1", EARLY)
    saves.end("commit 1", MIDDLE.at)
    saves.begin("commit 2", LATE)
    assert saves.since == LATE


def test_a_save_that_failed_is_no_reason_for_another_to_wait() -> None:
    saves = OpenSaves()
    saves.begin("claim", EARLY)
    saves.end("claim", MIDDLE.at, failed=True)
    saves.begin("claim", MIDDLE)
    assert saves.since == MIDDLE
    saves.end("claim", LATE.at)
    saves.begin("claim", LATE)
    assert saves.since == MIDDLE, "a claim is durable unless it is said to have failed"
    saves.begin(WRITE, LATE)
    saves.end("claim", 4.0)
    saves.keep_writes((), 5.0, failed=True)
    saves.begin("claim", Mark(5.0, 8), claims=True)
    assert saves.since == Mark(5.0, 8)


def test_the_end_of_what_was_not_begun_tells_nothing() -> None:
    saves = OpenSaves()
    saves.end("claim", MIDDLE.at)
    saves.begin("claim", MIDDLE)
    assert saves.since == MIDDLE


def test_a_claim_on_data_that_has_just_become_durable_is_one_save_with_it() -> None:
    saves = OpenSaves()
    saves.begin(WRITE, EARLY)
    saves.begin(OTHER, MIDDLE)
    saves.keep_writes({OTHER}, 2.5)
    assert saves.since == MIDDLE
    saves.keep_writes((), LATE.at)
    saves.begin("claim", LATE, claims=True)
    saves.end("claim", LATE.at)
    saves.begin("commit 1", LATE)
    assert saves.since == MIDDLE, "the claim began with its data"

    saves.clear()
    saves.begin(WRITE, EARLY)
    saves.begin(OTHER, MIDDLE)
    saves.keep_writes((), LATE.at)
    saves.begin("claim", LATE, claims=True)
    assert saves.since == EARLY, "with the first of its data"
    saves.end("claim", 4.0)
    saves.begin("commit 1", Mark(4.0, 8))
    assert saves.since == EARLY

    saves.clear()
    saves.begin(WRITE, EARLY)
    saves.keep_writes((), LATE.at)
    saves.begin("commit 1", LATE)
    assert saves.since == EARLY
    saves.end("commit 1", 4.0)
    saves.begin("commit 2", Mark(4.0, 8))
    assert saves.since == LATE, "a commit is no claim on that data"

    saves.clear()
    saves.begin("commit 1", EARLY)
    saves.end("commit 1", LATE.at)
    saves.begin("claim", LATE, claims=True)
    assert saves.since == EARLY
    saves.end("claim", 4.0)
    saves.begin("commit 2", Mark(4.0, 8))
    assert saves.since == LATE, "a commit is no data of a claim, which began itself then"


def test_only_writes_end_with_the_writes() -> None:
    saves = OpenSaves()
    saves.begin("commit 1", EARLY)
    saves.begin(WRITE, MIDDLE)
    saves.keep_writes((), LATE.at)
    assert saves.since == EARLY
    saves.end("commit 1", LATE.at)
    saves.begin("claim", LATE)
    assert saves.since == EARLY


def test_nothing_is_open_when_the_process_is_gone() -> None:
    saves = OpenSaves()
    saves.begin("claim", EARLY)
    saves.begin(WRITE, EARLY)
    saves.end("claim", MIDDLE.at)
    saves.keep_writes((), MIDDLE.at)
    saves.begin("commit 1", MIDDLE)
    saves.clear()
    assert saves.since is None
    saves.begin("claim", MIDDLE, claims=True)
    assert saves.since == MIDDLE
