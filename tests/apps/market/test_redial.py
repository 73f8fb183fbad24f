"""How long a lost connection waits before the next dial: ever longer, never all at one moment."""

import random

import pytest

from apps.market.providers.bybit.client import FIRST_DELAY_S, HEALTHY_S, LONGEST_DELAY_S, Redial

ATTEMPTS = 12


@pytest.fixture(autouse=True)
def seeded() -> None:
    random.seed(20261121)


def middles() -> list[float]:
    return [min(FIRST_DELAY_S * 2**attempt, LONGEST_DELAY_S) for attempt in range(ATTEMPTS)]


def test_the_middle_of_the_delay_doubles_up_to_its_ceiling(monkeypatch) -> None:
    monkeypatch.setattr(random, "uniform", lambda low, high: (low + high) / 2)
    redial = Redial()
    found = [redial.next_delay_s() for _ in range(ATTEMPTS)]
    assert found == pytest.approx(middles())
    assert found[:4] == pytest.approx([0.2, 0.4, 0.8, 1.6])
    assert found[-1] == LONGEST_DELAY_S


def test_the_delay_is_drawn_half_around_its_middle_and_differs_from_client_to_client() -> None:
    clients = [Redial() for _ in range(200)]
    for middle in middles():
        drawn = [client.next_delay_s() for client in clients]
        assert all(0.5 * middle <= delay <= 1.5 * middle for delay in drawn)
        assert max(drawn) - min(drawn) > 0.8 * middle  # spread over nearly all of the range
        assert len(set(drawn)) > 190


@pytest.mark.parametrize(("lasted_s", "begins_anew"), [(0.0, False), (HEALTHY_S - 0.1, False), (HEALTHY_S, True)])
def test_only_a_connection_that_lasted_takes_the_delay_back_to_the_first(lasted_s, begins_anew) -> None:
    redial = Redial()
    for _ in range(ATTEMPTS):
        redial.next_delay_s()
    redial.worked(lasted_s)
    delay = redial.next_delay_s()
    assert (delay <= 1.5 * FIRST_DELAY_S) is begins_anew
    assert (delay >= 0.5 * LONGEST_DELAY_S) is not begins_anew
