"""Ids, timeframes and errors."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trader.core import types
from trader.core.types import Timeframe, client_id, decision_id, is_ours, manual_client_id, market_day
from trader.core.types.errors import ConfigurationError, DataError, NextAction, TraderError

PARTS = ("0a1b", 1, 3, "mean_reversion-3f9c", 7, 1_522_800_000_000_000_000, "entry", 0)


def test_the_same_decision_makes_the_same_client_id_in_every_process():
    # written out: a change of the derivation would send an order a second time after an upgrade
    assert client_id(*PARTS) == "0a1b15823237b8af7806646cd7f0734b"


@pytest.mark.parametrize("at", range(1, 8))
def test_every_part_of_the_identity_changes_the_client_id(at):
    other = list(PARTS)
    other[at] = other[at] + ("x" if isinstance(other[at], str) else 1)
    assert client_id(*other) != client_id(*PARTS)


@given(st.text(max_size=5), st.text(max_size=5), st.text(max_size=5), st.text(max_size=5))
def test_parts_cannot_run_into_each_other(a, b, c, d):
    one = client_id("0a1b", 1, 1, a, 1, 1, b, 0)
    other = client_id("0a1b", 1, 1, c, 1, 1, d, 0)
    assert (one == other) == ((a, b) == (c, d))


@pytest.mark.parametrize("install", ["", "0A1B", "0a1", "0a1bc", "xyz1"])
def test_an_install_prefix_that_is_not_four_hex_digits_is_refused(install):
    with pytest.raises(ConfigurationError, match="hex digits"):
        client_id(install, *PARTS[1:])


def test_only_ids_of_our_form_and_prefix_are_ours():
    ours = client_id(*PARTS)
    assert is_ours(ours, "0a1b")
    assert not is_ours(ours, "ffff")
    assert not is_ours(ours[:-1], "0a1b")
    assert not is_ours("0a1b" + "Z" * 28, "0a1b")
    assert not is_ours("", "0a1b")


def test_a_double_click_makes_one_manual_id_and_another_nonce_makes_another():
    assert manual_client_id("0a1b", 1, 2, "n1") == manual_client_id("0a1b", 1, 2, "n1")
    assert manual_client_id("0a1b", 1, 2, "n1") != manual_client_id("0a1b", 1, 2, "n2")
    with pytest.raises(ConfigurationError, match="nonce"):
        manual_client_id("0a1b", 1, 2, "")


def test_a_decision_id_depends_on_bar_and_revision():
    one = decision_id("d", 1, 60, 0)
    assert one == decision_id("d", 1, 60, 0)
    assert len({one, decision_id("d", 1, 60, 1), decision_id("d", 1, 120, 0), decision_id("e", 1, 60, 0)}) == 4


def test_timeframes_are_named_and_stand_on_the_utc_grid():
    assert [t.label for t in Timeframe] == ["1s", "1m", "5m", "15m", "30m", "1h", "4h", "1d"]
    assert all(Timeframe.parse(t.label) is t for t in Timeframe)
    assert all(86_400 % t == 0 for t in Timeframe)
    assert Timeframe.M5.open_of(301 * 10**9 + 5) == 300 * 10**9
    assert market_day(86_400 * 10**9) == 1
    with pytest.raises(DataError, match="use one of 1s, 1m"):
        Timeframe.parse("7m")


def test_sides_know_their_sign_and_opposite():
    assert (types.Side.BUY.sign, types.Side.SELL.sign) == (1, -1)
    assert types.Side.BUY.opposite is types.Side.SELL
    assert types.Side.SELL.opposite is types.Side.BUY


def test_every_error_says_what_follows_and_an_unknown_one_halts():
    classes = [getattr(types, name) for name in types.__all__ if name.endswith(("Error", "Refused", "Rejected"))]
    assert all(issubclass(cls, TraderError) and isinstance(cls.action, NextAction) for cls in classes)
    assert TraderError.action is NextAction.HALT
    assert types.OutcomeUnknown.action is NextAction.ASK
    assert types.VenueBusy.action is NextAction.RETRY
