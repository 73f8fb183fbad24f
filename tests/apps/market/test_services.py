"""Writes of the market: what is stored, told and audited, and what is refused in words."""

from decimal import Decimal

import pytest
from django.db import connection

from apps.common.models import AuditEntry, Job, Outbox
from apps.common.outbox import outbox_read
from apps.market.errors import BackfillRefused, EpochMissing, UniverseRefused, VenueRefused
from apps.market.models import Epoch, Instrument, InstrumentTerms, Universe, Venue
from apps.market.providers.base import ListedInstrument
from apps.market.seed import seed
from apps.market.selectors import (
    epoch_current,
    feed_keys,
    feed_plan,
    instrument_by_slug,
    instruments_listed,
    terms_now,
    universe_instruments,
    venue_by_code,
)
from apps.market.services import (
    backfill_begin,
    epoch_begin,
    epoch_resume_or_begin,
    exchange_configuration,
    instruments_store,
    simulator_save,
    universe_delete,
    universe_refresh,
    universe_save,
    venue_save,
)
from apps.market.storage.tables import PARENTS, PRINTS
from apps.market.storage.writer import bars_write
from tests.apps.market.factories import BASE_NS, MINUTE_NS, epoch_make, instrument_make, minutes_make, venue_make

pytestmark = pytest.mark.django_db
DAY_NS = 86_400_000_000_000


def _listed(symbol: str, **fields) -> ListedInstrument:
    base, rest = symbol.split("/")
    quote, _, settle = rest.partition(":")
    values = {
        "symbol": symbol, "venue_symbol": base + quote, "kind": "linear" if settle else "spot", "base": base,
        "quote": quote, "settle": settle or quote, "tick": Decimal("0.01"), "lot": Decimal("0.001"),
        "min_quantity": Decimal("0.001"), "min_notional": Decimal(5), "max_leverage": Decimal(1),
        "maker_fee": Decimal("0.001"), "taker_fee": Decimal("0.001"), "turnover_24h": Decimal(1000), **fields,
    }  # fmt: skip
    return ListedInstrument(**values)


def _newest(topic: str):
    return outbox_read(topic, 0)[-1][1]


def test_what_a_venue_lists_is_stored_with_terms_and_addresses() -> None:
    epoch = epoch_make(venue_make())
    assert instruments_store("bybit-sim", [_listed("BTC/USDT"), _listed("BTC/USDT:USDT")]) == 2
    perpetual = instrument_by_slug("bybit-sim", "btc-usdt-usdt")
    assert (perpetual.kind, perpetual.settle, perpetual.turnover_24h) == ("linear", "USDT", Decimal(1000))
    assert terms_now([perpetual.pk])[perpetual.pk].lot == Decimal("0.001")
    epoch.refresh_from_db()
    assert epoch.synced_at is not None


def test_a_second_sync_adds_terms_only_where_they_changed_and_ends_what_is_gone() -> None:
    epoch_make(venue_make())
    instruments_store("bybit-sim", [_listed("BTC/USDT"), _listed("ETH/USDT")])
    instruments_store("bybit-sim", [_listed("BTC/USDT", tick=Decimal("0.1")), _listed("SOL/USDT")])
    assert [found.symbol for found in instruments_listed("bybit-sim")] == ["BTC/USDT", "SOL/USDT"]
    assert Instrument.objects.get(symbol="ETH/USDT").listed_to is not None
    ticks = InstrumentTerms.objects.filter(instrument__symbol="BTC/USDT").values_list("tick", flat=True)
    assert sorted(ticks) == [Decimal("0.01"), Decimal("0.1")]
    assert next(iter(terms_now([instrument_by_slug("bybit-sim", "btc-usdt").pk]).values())).tick == Decimal("0.1")


def test_an_instrument_that_is_listed_again_lives_on_as_the_same_row() -> None:
    epoch_make(venue_make())
    instruments_store("bybit-sim", [_listed("BTC/USDT")])
    before = instrument_by_slug("bybit-sim", "btc-usdt").pk
    instruments_store("bybit-sim", [_listed("ETH/USDT")])
    instruments_store("bybit-sim", [_listed("BTC/USDT")])
    again = instrument_by_slug("bybit-sim", "btc-usdt")
    assert (again.pk, again.listed_to) == (before, None)


def test_a_universe_by_rule_follows_what_is_listed_and_tells_its_members() -> None:
    venue = venue_make()
    epoch_make(venue)
    universe_save(Universe(name="big", venue=venue, kind="rule", rule_quote="USDT", rule_min_turnover=500), by="ann")
    instruments_store(
        "bybit-sim", [_listed("BTC/USDT"), _listed("ETH/USDT", turnover_24h=Decimal(1)), _listed("BTC/USDC")]
    )
    assert [found.symbol for found in universe_instruments("big")] == ["BTC/USDT"]
    told = _newest("universes")
    assert (told.name, told.instrument_ids, told.by) == ("big", [universe_instruments("big")[0].pk], "system:sync")
    assert universe_refresh("big") == told.instrument_ids


def test_a_rule_that_finds_the_same_members_again_tells_nobody() -> None:
    venue = venue_make()
    epoch_make(venue)
    universe_save(Universe(name="all", venue=venue, kind="rule"), by="ann")
    instruments_store("bybit-sim", [_listed("BTC/USDT")])
    before = Outbox.objects.count()
    universe_refresh("all")
    assert Outbox.objects.count() == before


def test_a_fixed_universe_keeps_its_list_and_its_change_is_audited() -> None:
    venue = venue_make()
    members = [instrument_make(venue), instrument_make(venue, "ETH/USDT")]
    universe = universe_save(Universe(name="two", venue=venue), members=members, by="ann")
    universe.is_collected = False
    universe_save(universe, members=members[:1], by="bob")
    assert [found.symbol for found in universe_instruments("two")] == ["BTC/USDT"]
    entry = AuditEntry.objects.filter(action="universe.save").first()
    assert (entry.actor, entry.before["is_collected"], entry.after["is_collected"]) == ("bob", True, False)
    assert _newest("universes").is_collected is False


@pytest.mark.parametrize(
    ("fields", "own", "words"),
    [
        ({"kind": "rule"}, True, "members: a universe by rule"),
        ({"rule_min_turnover": Decimal(-1)}, True, "rule_min_turnover: "),
        ({}, False, "members: BTC/USDT belong to another venue"),
    ],
)
def test_a_universe_that_makes_no_sense_is_refused_naming_the_field(fields, own, words) -> None:
    venue, other = venue_make(), venue_make("other")
    member = instrument_make(venue if own else other)
    with pytest.raises(UniverseRefused, match=words):
        universe_save(Universe(name="odd", venue=venue, **fields), members=[member], by="ann")
    assert not Universe.objects.exists()


def test_a_deleted_universe_is_told_as_one_without_members() -> None:
    venue = venue_make()
    universe = universe_save(Universe(name="gone", venue=venue), members=[instrument_make(venue)], by="ann")
    universe_delete(universe, by="ann")
    assert _newest("universes").instrument_ids == []
    assert not Universe.objects.exists()


def test_a_venue_tells_its_change_and_refuses_half_an_address() -> None:
    venue = venue_save(Venue(code="real", name="Bybit"), by="ann")
    assert (_newest("venues").venue, _newest("venues").epoch_id) == ("real", epoch_current("real").pk)
    assert (epoch_current("real").number, feed_keys()) == (0, ["real/0"])
    venue.rest_url = "http://127.0.0.1:1"
    with pytest.raises(VenueRefused, match="rest_url and socket_url"):
        venue_save(venue, by="ann")
    venue.socket_url = "http://127.0.0.1:1"
    with pytest.raises(VenueRefused, match="ws://"):
        venue_save(venue, by="ann")
    venue.adapter = "nowhere"
    with pytest.raises(VenueRefused, match="adapter: 'nowhere'"):
        venue_save(venue, by="ann")


OTHER = {"rest_url": "https://api-testnet.bybit.com", "socket_url": "wss://stream-testnet.bybit.com"}


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        (OTHER, "rest_url and socket_url"),
        ({"control_url": "http://127.0.0.1:2"}, "control_url"),
        ({"is_simulated": True}, "is_simulated"),
    ],
)
def test_a_venue_with_stored_bars_of_any_epoch_stays_the_market_it_is(changes, fields) -> None:
    venue = venue_save(Venue(code="real", name="Bybit"), by="ann")
    over = Epoch.objects.create(venue=venue, number=1, kind=Epoch.Kind.REPLAY)
    bars_write(epoch_id=over.pk, timeframe_s=60, bars=minutes_make(instrument_make(venue).pk, 1))
    told = len(outbox_read("venues", 0))
    for name, value in changes.items():
        setattr(venue, name, value)
    with pytest.raises(VenueRefused) as refused:
        venue_save(venue, by="ann")
    assert str(refused.value) == (
        f"{fields}: a venue stands for one market; it has stored bars, and another market's must not mix with them. "
        "Leave it as it was, and add another venue with a code of its own."
    )
    kept = Venue.objects.get()
    assert not [name for name, value in changes.items() if getattr(kept, name) == value]
    assert len(outbox_read("venues", 0)) == told, "no feed dials anew"
    kept.name = "Ours"
    assert venue_save(kept, by="ann").name == "Ours", "what does not change its market is changed freely"


def test_a_venue_of_which_nothing_is_kept_may_still_be_corrected() -> None:
    venue = venue_save(Venue(code="real", name="Bybit"), by="ann")
    bars_write(epoch_id=epoch_make(venue_make()).pk, timeframe_s=60, bars=minutes_make(1, 1))  # another venue's
    for name, value in OTHER.items():
        setattr(venue, name, value)
    venue_save(venue, by="ann")
    assert Venue.objects.get(code="real").rest_url == OTHER["rest_url"]


def test_a_client_is_told_our_address_and_the_vendors_own_without_one() -> None:
    configured = exchange_configuration(Venue(adapter="bybit", rest_url="http://h:1/", socket_url="ws://h:1"))
    assert configured["urls"]["api"]["public"] == "http://h:1"
    assert configured["urls"]["api"]["ws"]["public"]["spot"] == "ws://h:1/v5/public/spot"
    assert configured["enableRateLimit"] is False
    assert "urls" not in exchange_configuration(Venue(adapter="bybit"))
    with pytest.raises(VenueRefused, match="choose one of bybit"):
        exchange_configuration(Venue(adapter="nowhere"))


def test_the_same_market_resumes_its_epoch_and_another_begins_the_next() -> None:
    venue = venue_make()
    first = epoch_resume_or_begin(venue, {"kind": "synthetic", "seed": 7}, new=False, by="t")
    second = epoch_resume_or_begin(venue, {"kind": "synthetic", "seed": 8}, new=False, by="t")
    again = epoch_resume_or_begin(venue, {"kind": "synthetic", "seed": 7}, new=False, by="t")
    fresh = epoch_resume_or_begin(venue, {"kind": "synthetic", "seed": 7}, new=True, by="t")
    assert [first.number, second.number, again.number, fresh.number] == [1, 2, 1, 3]
    assert epoch_current("bybit-sim") == fresh
    assert Epoch.objects.filter(is_current=True).count() == 1
    assert epoch_resume_or_begin(venue, {"kind": "synthetic", "seed": 7}, new=False, by="t") == fresh
    with pytest.raises(VenueRefused, match="market kind 'odd'"):
        epoch_resume_or_begin(venue, {"kind": "odd"}, new=False, by="t")


def test_a_real_market_is_epoch_zero_for_ever() -> None:
    venue = venue_make("real")
    assert epoch_begin(venue, {"kind": "real"}, by="t").number == 0
    assert epoch_resume_or_begin(venue, {"kind": "real"}, new=True, by="t").number == 0


def test_feeds_run_for_active_venues_with_an_epoch_and_collect_what_universes_ask_for() -> None:
    venue = venue_make()
    assert feed_keys() == []
    with pytest.raises(EpochMissing, match=r"manage\.py prepare"):
        feed_plan("bybit-sim")
    epoch = epoch_make(venue)
    bitcoin, ether = instrument_make(venue), instrument_make(venue, "ETH/USDT")
    universe_save(Universe(name="one", venue=venue), members=[bitcoin], by="t")
    universe_save(Universe(name="two", venue=venue, is_collected=False), members=[ether], by="t")
    plan = feed_plan("bybit-sim")
    assert feed_keys() == ["bybit-sim/0"]
    assert (plan.epoch_id, [item.venue_symbol for item in plan.items]) == (epoch.pk, ["BTCUSDT"])
    venue.is_active = False
    venue.save()
    assert feed_keys() == []


def _seed_options(tmp_path, port: int = 1, **more) -> dict:
    simulator = {
        "rest_url": f"http://127.0.0.1:{port}", "socket_url": f"ws://127.0.0.1:{port}",
        "control_url": "http://127.0.0.1:2", "state_root": str(tmp_path),
    }  # fmt: skip
    return {"market": {"kind": "synthetic", "seed": 7}, "simulator": simulator, **more}


def test_the_seed_runs_at_every_start_and_follows_the_simulators_ports(tmp_path) -> None:
    made = seed(_seed_options(tmp_path), {})
    assert (made["venue_code"], made["epoch_number"]) == ("bybit-sim", 1)
    assert made["simulator_state_dir"] == str(tmp_path / "epoch-1")
    again = seed(_seed_options(tmp_path, port=5), {})
    venue = venue_by_code("bybit-sim")
    assert again["epoch_id"] == made["epoch_id"]
    assert (venue.rest_url, venue.is_simulated) == ("http://127.0.0.1:5", True)
    assert venue.control_token_file == str(tmp_path / "epoch-1" / "control.token")
    assert seed(_seed_options(tmp_path, new_epoch=True), {})["epoch_number"] == 2
    assert Universe.objects.get().rule_quote == "USDT"


def test_the_simulators_venue_follows_its_ports_with_bars_stored_and_by_its_seed_alone(tmp_path) -> None:
    made = seed(_seed_options(tmp_path), {})
    venue = venue_by_code("bybit-sim")
    bars_write(epoch_id=made["epoch_id"], timeframe_s=60, bars=minutes_make(instrument_make(venue).pk, 1))
    seed(_seed_options(tmp_path, port=5), {})
    venue = venue_by_code("bybit-sim")
    assert (venue.rest_url, venue.socket_url) == ("http://127.0.0.1:5", "ws://127.0.0.1:5")
    assert seed(_seed_options(tmp_path, port=6, new_epoch=True), {})["epoch_number"] == 2
    venue = venue_by_code("bybit-sim")
    venue.rest_url = "http://127.0.0.1:7"
    with pytest.raises(VenueRefused, match="rest_url: a venue stands for one market"):
        venue_save(venue, by="ann")


@pytest.mark.parametrize(("was", "becomes"), [(False, False), (False, True), (True, False)])
def test_nothing_but_a_simulated_venue_is_saved_as_the_simulators(was, becomes) -> None:
    venue = Venue.objects.create(code="real", name="Mine", is_simulated=was)
    venue.rest_url, venue.socket_url, venue.is_simulated = OTHER["rest_url"], OTHER["socket_url"], becomes
    with pytest.raises(VenueRefused, match="is_simulated: 'real' is not the simulator's"):
        simulator_save(venue, by="ann")
    assert Venue.objects.get().rest_url == ""


def test_without_a_simulator_the_seed_leaves_everything_alone() -> None:
    assert seed({"market": {"kind": "none"}, "simulator": None}, {}) == {}
    assert not Venue.objects.exists()


def test_the_seed_never_turns_a_real_venue_into_a_simulated_one(tmp_path) -> None:
    Venue.objects.create(code="bybit-sim", name="Mine", is_simulated=False)
    with pytest.raises(VenueRefused, match="is not simulated"):
        seed(_seed_options(tmp_path), {})


def test_a_backfill_older_than_the_retention_is_refused_with_that_reason() -> None:
    venue = venue_make()
    epoch = epoch_make(venue)
    instrument = instrument_make(venue)
    bars_write(epoch_id=epoch.pk, timeframe_s=60, bars=minutes_make(instrument.pk, 2))
    ids = [instrument.pk]
    with pytest.raises(BackfillRefused, match=r"older than the hot retention: one-minute bars are kept for 30 days"):
        backfill_begin("bybit-sim", ids, 60, BASE_NS - 31 * DAY_NS, BASE_NS, by="ann")
    with pytest.raises(BackfillRefused, match="no history finer than a minute"):
        backfill_begin("bybit-sim", ids, 1, BASE_NS, BASE_NS + MINUTE_NS, by="ann")
    with pytest.raises(BackfillRefused, match="ends before it begins"):
        backfill_begin("bybit-sim", ids, 60, BASE_NS, BASE_NS, by="ann")
    assert not Job.objects.exists()


def test_a_backfill_before_the_feed_has_stored_anything_is_refused() -> None:
    venue = venue_make()
    epoch_make(venue)
    with pytest.raises(BackfillRefused, match="Let the feed collect them first"):
        backfill_begin("bybit-sim", [instrument_make(venue).pk], by="ann")


def test_a_backfill_that_lacks_nothing_asks_nobody() -> None:
    venue = venue_make(rest_url="http://127.0.0.1:1", socket_url="ws://127.0.0.1:1")
    epoch = epoch_make(venue)
    instrument = instrument_make(venue)
    bars_write(epoch_id=epoch.pk, timeframe_s=60, bars=minutes_make(instrument.pk, 3))
    assert backfill_begin("bybit-sim", [instrument.pk], 60, BASE_NS, BASE_NS + 3 * MINUTE_NS, by="ann") is None
    assert not Job.objects.exists()


def test_the_migration_makes_the_tables_of_bars_and_prints() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT relname FROM pg_class WHERE relkind = 'p' AND relname ~ '^market_(bar|print)_'")
        assert {row[0] for row in cursor.fetchall()} == {*PARENTS, PRINTS}
