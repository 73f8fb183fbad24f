"""A clock that is set: the newest reading says how it is; one that is only slow to answer changes nothing."""

import pytest

from apps.common.clocks import ClockWatch, wall_ns

MS = 1_000_000


def read(watch: ClockWatch, offset_ms: float, round_trip_ms: float) -> None:
    sent = wall_ns()
    middle = sent + int(round_trip_ms * MS / 2)
    watch.record("v", middle + int(offset_ms * MS), sent, sent + int(round_trip_ms * MS))


@pytest.mark.parametrize("offset_ms", [30_000, -30_000, 700])
def test_after_a_jump_one_slow_reading_outweighs_quick_ones_of_before(offset_ms):
    watch = ClockWatch()
    for _ in range(5):
        read(watch, 0, 1)
    assert watch.adds_risk_allowed("v")
    read(watch, offset_ms, 400)
    assert watch.offset_ms("v") == pytest.approx(offset_ms)
    assert not watch.adds_risk_allowed("v")
    read(watch, 0, 400)
    assert watch.adds_risk_allowed("v")


def test_a_slow_reading_that_could_be_true_leaves_the_quickest_in_its_place():
    watch = ClockWatch()
    read(watch, 3, 2)
    read(watch, 250, 600)  # all of the delay was on one way
    assert watch.offset_ms("v") == pytest.approx(3)
