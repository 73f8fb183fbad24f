"""Ids of rows need no database: unique over sessions, ascending, and never used up."""

from itertools import pairwise

import pytest

from apps.execution.desk.ids import COUNT_BITS, COUNT_MASK, Ids, IdsEnded


def of(session: int, taken: tuple[int, ...] = ()) -> Ids:
    ids = Ids()
    ids.begin(session, taken)
    return ids


def test_ids_ascend_within_a_session_and_over_sessions() -> None:
    first, second = of(7), of(8)
    found = [first.take() for _ in range(5_000)] + [second.take() for _ in range(5_000)]
    assert all(one < other for one, other in pairwise(found))


def test_before_its_session_there_is_no_id_and_after_its_last_one_neither() -> None:
    with pytest.raises(IdsEnded):
        Ids().take()
    with pytest.raises(IdsEnded):
        of(1, ((1 << COUNT_BITS) | COUNT_MASK,)).take()


def test_what_the_journal_holds_of_a_session_whose_number_came_again_is_passed_over() -> None:
    lost = of(3)
    kept = [lost.take() for _ in range(3)]
    again = of(3, (*kept, 1 << COUNT_BITS, 12))
    assert again.take() > max(kept)


def test_a_browser_counts_them_exactly_for_thirty_million_sessions() -> None:
    assert of(1 << 24).take() < 1 << 53
