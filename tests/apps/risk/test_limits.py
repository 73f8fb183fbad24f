"""Limits: refused in words, audited, told, and the tightest binds."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.common.models import AuditEntry
from apps.common.outbox import outbox_last, outbox_read
from apps.risk import selectors, services
from apps.risk.models import Limit
from apps.risk.selectors import LimitRow, LimitsSnapshot
from apps.risk.services import LimitRefused
from apps.risk.services.limits import RANGES
from tests.apps.portfolio.conftest import instrument
from tests.apps.risk.conftest import deployment_new
from trader.core.risk import Limits

pytestmark = pytest.mark.django_db
C = Limit.Check


def test_every_check_of_the_core_has_a_range_and_every_range_a_check():
    assert set(RANGES) == set(C.values) == set(Limits.__dataclass_fields__)


def test_setting_a_limit_is_audited_and_told_in_one_transaction(account):
    limit = services.limit_set(check_name=C.DAILY_LOSS, value="0.05", by="ann", account=account, reason="first")
    changed = services.limit_set(check_name=C.DAILY_LOSS, value="0.03", by="bob", account=account, reason="tighter")
    assert changed.pk == limit.pk
    assert Limit.objects.get().value == Decimal("0.03")
    entry = AuditEntry.objects.get(action="limit changed")
    assert (entry.actor, entry.before, entry.after, entry.reason) == (
        "bob", {"value": "0.05"}, {"value": "0.03"}, "tighter",
    )  # fmt: skip
    messages = [message for _, message in outbox_read("limits", 0)][-2:]
    assert [(message.before, message.value, message.by) for message in messages] == [
        (None, "0.05", "ann"), ("0.05", "0.03", "bob"),
    ]  # fmt: skip


def test_removing_a_limit_is_audited_and_told(account):
    limit = services.limit_set(check_name=C.LEVERAGE, value=2, by="ann", account=account)
    services.limit_remove(limit=limit, by="bob", reason="not needed")
    assert not Limit.objects.exists()
    assert AuditEntry.objects.get(action="limit removed").reason == "not needed"
    number = outbox_last("limits")
    assert outbox_read("limits", number - 1)[0][1].value is None


@pytest.mark.parametrize(
    ("check", "value", "words"),
    [
        (C.DAILY_LOSS, "5", "0.05 is 5 %"),
        (C.PRICE_COLLAR, "2", "0.01 is 1 %"),
        (C.LEVERAGE, "-1", "three times the equity"),
        (C.ORDERS_PER_MINUTE, "2.5", "a whole number"),
        (C.ORDER_NOTIONAL, "many", "an amount in the account's currency"),
        (C.ORDER_NOTIONAL, "NaN", "an amount in the account's currency"),
        (C.GROSS_EXPOSURE, "1e9", "a multiple of equity"),
        (C.GROSS_EXPOSURE, "0.1234567890123456789", "more than 18 decimals"),
    ],
)
def test_a_value_that_cannot_be_is_refused_with_what_it_may_be(check, value, words):
    with pytest.raises(LimitRefused) as caught:
        services.limit_set(check_name=check, value=value, by="ann")
    assert words in caught.value.message_dict["value"][0]
    assert not Limit.objects.exists()


def test_an_unknown_check_is_refused_with_those_there_are():
    with pytest.raises(LimitRefused, match="order_notional"):
        services.limit_set(check_name="mood", value=1, by="ann")


def test_an_instrument_of_another_venue_is_refused(account, real_venue):
    foreign = instrument(real_venue, "BTC/USDT", "spot")
    with pytest.raises(LimitRefused) as caught:
        services.limit_set(check_name=C.LEVERAGE, value=1, by="ann", account=account, instrument=foreign)
    assert "instrument" in caught.value.message_dict


def test_an_unknown_deployment_is_refused_but_orders_by_hand_are_not(account):
    with pytest.raises(LimitRefused) as caught:
        services.limit_set(check_name=C.LEVERAGE, value=1, by="ann", account=account, deployment_key="gone")
    assert "deployment_key" in caught.value.message_dict
    assert services.limit_set(check_name=C.LEVERAGE, value=1, by="ann", account=account, deployment_key="manual").pk


def test_the_tightest_of_all_scopes_binds_each_book(account, spot, linear, deployment, django_assert_num_queries):
    def put(value, **scope):
        services.limit_set(check_name=C.POSITION_NOTIONAL, value=value, by="ann", **scope)

    put(900)
    put(500, account=account)
    put(400, account=account, instrument=spot)
    put(100, account=account, deployment_key=deployment.key)
    put(50, account=account, deployment_key=deployment.key, instrument=spot)
    with django_assert_num_queries(1):
        snapshot = selectors.limits_snapshot(account.pk)
    assert snapshot.net(linear.pk).position_notional == 500
    assert snapshot.net(spot.pk).position_notional == 400
    assert snapshot.owner(deployment.key, linear.pk).position_notional == 100
    assert snapshot.owner(deployment.key, spot.pk).position_notional == 50
    assert snapshot.owner("manual", spot.pk) == Limits()


def test_limits_of_another_account_do_not_bind(account, venue, epoch, spot):
    from apps.portfolio.models import Account

    other = Account.objects.create(venue=venue, epoch=epoch, name="other")
    services.limit_set(check_name=C.LEVERAGE, value=1, by="ann", account=other)
    assert selectors.limits_snapshot(account.pk).net(spot.pk) == Limits()


def test_a_successor_keeps_the_limits_of_its_predecessors(account, spot, deployment):
    services.limit_set(check_name=C.LEVERAGE, value=1, by="ann", account=account, deployment_key=deployment.key)
    second = deployment_new(account, "mean_reversion-2", deployment)
    third = deployment_new(account, "mean_reversion-3", second)
    stranger = deployment_new(account, "mean_reversion-9")
    snapshot = selectors.limits_snapshot(account.pk)
    assert snapshot.owner(third.key, spot.pk).leverage == 1
    assert snapshot.owner(stranger.key, spot.pk).leverage is None
    assert snapshot.net(spot.pk).leverage is None
    lineage = selectors.deployment_lineage(account.pk)
    assert lineage[third.key][0] == third.key
    assert set(lineage[third.key]) == {deployment.key, second.key, third.key}
    assert lineage[stranger.key] == (stranger.key,)


rows = st.builds(
    LimitRow,
    id=st.integers(1, 99),
    check_name=st.sampled_from(C.values),
    account_id=st.sampled_from([None, 1]),
    deployment_key=st.sampled_from(["", "a", "b"]),
    instrument_id=st.sampled_from([None, 7, 8]),
    value=st.floats(0, 1e6),
    updated_at=st.none(),
)


@given(st.lists(rows, max_size=20), st.sampled_from(["a", "b", "manual"]), st.sampled_from([7, 8]))
def test_no_row_that_applies_is_looser_than_what_binds_and_none_that_does_not_apply_counts(given_rows, owner, of):
    snapshot = LimitsSnapshot(1, tuple(given_rows))
    for book, key in ((snapshot.owner(owner, of), owner), (snapshot.net(of), "")):
        for name in C.values:
            applying = [
                row.value
                for row in given_rows
                if row.check_name == name and row.deployment_key == key and row.instrument_id in (None, of)
            ]
            assert getattr(book, name) == min(applying, default=None)


@pytest.mark.parametrize(
    ("net", "missing"),
    [
        (Limits(order_notional=1.0, position_notional=1.0, leverage=1.0, daily_loss=0.05), ""),
        (Limits(order_notional=1.0, position_notional=1.0, gross_exposure=1.0, daily_loss=0.05), ""),
        (Limits(order_notional=1.0, position_notional=1.0, daily_loss=0.05), "gross exposure or leverage"),
        (
            Limits(position_notional=1.0, leverage=1.0, net_exposure=1.0, price_collar=0.1),
            "order size, loss of the day",
        ),
    ],
)
def test_what_real_money_needs_is_named_where_it_is_missing(net, missing):
    words = selectors.essentials_missing(net)
    assert words.partition("missing: ")[2].partition(".")[0] == missing
    assert len(words) <= 200  # it goes into a refusal whole


def test_a_limit_of_one_deployment_or_instrument_is_none_of_the_account(account, spot, deployment):
    needed = (C.ORDER_NOTIONAL, C.POSITION_NOTIONAL, C.GROSS_EXPOSURE)
    for check_name in needed:
        services.limit_set(check_name=check_name, value=1, by="ann", account=account)
    services.limit_set(check_name=C.DAILY_LOSS, value="0.1", by="ann", deployment_key=deployment.key)
    services.limit_set(check_name=C.DAILY_LOSS, value="0.1", by="ann", account=account, instrument=spot)
    assert "missing: loss of the day." in selectors.why_unlimited(account)
    services.limit_set(check_name=C.DAILY_LOSS, value="0.1", by="ann")  # of every account
    assert selectors.why_unlimited(account) == ""
