"""Frames of Bybit v5 as the venue documents and sends them, read into our own words."""

import json
from decimal import Decimal

import pytest

from apps.market.feed.books import BookVerdict, LocalBook
from apps.market.providers.bybit import parsers
from apps.market.storage.rows import BACKFILLED, EMPTY

PRINT = {
    "topic": "publicTrade.BTCUSDT", "type": "snapshot", "ts": 1672304486868,
    "data": [
        {"T": 1672304486865, "s": "BTCUSDT", "S": "Buy", "v": "0.001", "p": "16578.50", "i": "20f43950", "BT": False},
        {"T": 1672304486866, "s": "BTCUSDT", "S": "Sell", "v": "0.250", "p": "16578.00", "i": "20f43951", "BT": False},
    ],
}  # fmt: skip
KLINE = {
    "topic": "kline.1.BTCUSDT", "ts": 1672324988882, "type": "snapshot",
    "data": [{
        "start": 1672324800000, "end": 1672324859999, "interval": "1", "open": "16649.5", "close": "16677",
        "high": "16677", "low": "16608", "volume": "2.081", "turnover": "34666.4005", "confirm": True,
        "timestamp": 1672324988882,
    }],
}  # fmt: skip


def _book(kind: str, update_id: int, bids: list, asks: list, seq: int | None = None) -> dict:
    data = {"s": "BTCUSDT", "b": bids, "a": asks, "u": update_id, "seq": update_id * 10 if seq is None else seq}
    return {"topic": "orderbook.50.BTCUSDT", "type": kind, "ts": 1_709_891_679_000, "data": data}


def test_prints_keep_price_and_size_exact_and_the_side_of_the_taker() -> None:
    rows = parsers.parse_prints(PRINT)
    assert [row.side for row in rows] == [1, -1]
    assert rows[0].price * rows[0].size == Decimal("16.57850")
    assert rows[1].market_ns == 1672304486866_000_000


def test_kline_tells_whether_the_venue_confirms_it() -> None:
    (kline,) = parsers.parse_klines(KLINE)
    assert kline.is_closed
    assert (kline.open_ns, kline.close, kline.turnover) == (1672324800_000_000_000, 16677.0, 34666.4005)


def test_update_id_one_is_a_snapshot_whatever_the_frame_says() -> None:
    assert parsers.parse_book(_book("delta", 1, [["1", "2"]], [])).is_snapshot
    assert not parsers.parse_book(_book("delta", 2, [["1", "2"]], [])).is_snapshot


def test_ticker_delta_gives_only_what_it_repeats() -> None:
    frame = parsers.parse_ticker(
        {"topic": "tickers.BTCUSDT", "ts": 1, "data": {"markPrice": "17.5", "fundingRate": ""}}
    )
    assert (frame.mark, frame.last, frame.funding_rate) == (17.5, None, None)


@pytest.mark.parametrize(
    ("parse", "message", "names"),
    [
        (parsers.parse_prints, {"topic": "publicTrade.X", "data": [{"T": 1, "S": "Buy", "v": "1", "i": "a"}]}, "'p'"),
        (parsers.parse_klines, {"topic": "kline.1.X", "data": [{"start": 1}]}, "'open'"),
        (parsers.parse_book, {"topic": "orderbook.50.X", "data": {"b": [], "a": []}}, "'u'"),
        (parsers.parse_book, {"topic": "orderbook.50.X", "data": []}, "list, not dict"),
        (parsers.parse_kline_answer, {"result": {}}, "result.list"),
    ],
)
def test_a_frame_of_another_shape_is_refused_naming_the_field(parse, message, names) -> None:
    arguments = (7, 0) if parse is parsers.parse_kline_answer else ()
    with pytest.raises(parsers.FrameRefused, match=names):
        parse(message, *arguments)


def test_kline_answer_is_turned_oldest_first_and_marked() -> None:
    listed = [
        ["1670608860000", "17055", "17073", "17027", "17055", "0", "0"],
        ["1670608800000", "17071", "17073", "17027", "17055.5", "268611", "15.74462667"],
    ]
    bars = parsers.parse_kline_answer({"result": {"list": listed}}, 7, known_ns=9)
    assert list(bars["open_ns"]) == [1670608800_000_000_000, 1670608860_000_000_000]
    assert list(bars["flags"]) == [BACKFILLED, BACKFILLED | EMPTY]
    assert bars["close"][0] == 17055.5
    assert len(parsers.parse_kline_answer({"result": {"list": []}}, 7, known_ns=9)) == 0


def test_a_missing_delta_makes_the_book_unsound_until_a_snapshot() -> None:
    book = LocalBook()
    frames = [_book("snapshot", 10, [["99", "1"]], [["101", "1"]]), _book("delta", 12, [["100", "1"]], [])]
    assert book.apply(parsers.parse_book(frames[0])) is BookVerdict.APPLIED
    assert book.apply(parsers.parse_book(frames[1])) is BookVerdict.GAP
    assert not book.is_sound
    assert book.apply(parsers.parse_book(_book("delta", 13, [], []))) is BookVerdict.IGNORED
    assert book.apply(parsers.parse_book(_book("snapshot", 40, [["98", "2"]], [["102", "3"]]))) is BookVerdict.APPLIED
    assert book.best() == (98.0, 2.0, 102.0, 3.0)


def test_a_delta_of_an_older_book_is_a_gap_though_its_update_id_follows() -> None:
    book = LocalBook()
    book.apply(parsers.parse_book(_book("snapshot", 10, [["99", "1"]], [["101", "1"]], seq=500)))
    assert book.apply(parsers.parse_book(_book("delta", 11, [["98", "1"]], [], seq=500))) is BookVerdict.APPLIED
    assert book.apply(parsers.parse_book(_book("delta", 12, [["100", "1"]], [], seq=499))) is BookVerdict.GAP
    assert not book.is_sound
    assert book.top(5)[0] == [(99.0, 1.0), (98.0, 1.0)]
    snapshot = _book("snapshot", 1, [["99", "1"]], [["101", "1"]], seq=7)  # a service that restarted counts anew
    assert book.apply(parsers.parse_book(snapshot)) is BookVerdict.APPLIED
    assert book.apply(parsers.parse_book(_book("delta", 2, [["97", "1"]], [], seq=8))) is BookVerdict.APPLIED


def test_a_venue_that_gives_no_sequence_is_checked_by_update_ids_alone() -> None:
    book = LocalBook()
    book.apply(parsers.parse_book(_book("snapshot", 10, [["99", "1"]], [["101", "1"]], seq=500)))
    assert book.apply(parsers.parse_book(_book("delta", 11, [["98", "1"]], [], seq=0))) is BookVerdict.APPLIED
    assert book.apply(parsers.parse_book(_book("delta", 12, [["97", "1"]], [], seq=499))) is BookVerdict.GAP


def test_a_repeated_delta_changes_nothing() -> None:
    book = LocalBook()
    book.apply(parsers.parse_book(_book("snapshot", 10, [["99", "1"]], [["101", "1"]])))
    delta = parsers.parse_book(_book("delta", 11, [["99", "5"]], []))
    assert book.apply(delta) is BookVerdict.APPLIED
    assert book.apply(delta) is BookVerdict.IGNORED
    assert book.is_sound
    assert book.best()[1] == 5.0


def test_a_crossed_book_counts_as_a_gap() -> None:
    book = LocalBook()
    book.apply(parsers.parse_book(_book("snapshot", 10, [["99", "1"]], [["101", "1"]])))
    assert book.apply(parsers.parse_book(_book("delta", 11, [["101", "1"]], []))) is BookVerdict.GAP


@pytest.mark.data
def test_recorded_book_of_the_venue_stays_sound_and_uncrossed(recorded_data) -> None:
    book = LocalBook()
    lines = (recorded_data / "book" / "bybit-linear_XRPUSDT_ob500_20241201.jsonl").read_text().splitlines()
    for line in lines:
        assert book.apply(parsers.parse_book(json.loads(line))) is BookVerdict.APPLIED
    bids, asks = book.top(12)
    assert len(lines) == 50
    assert bids == sorted(bids, reverse=True)
    assert asks == sorted(asks)
    assert bids[0][0] < asks[0][0]


@pytest.mark.data
def test_recorded_book_with_one_frame_dropped_is_a_gap_at_the_next(recorded_data) -> None:
    lines = (recorded_data / "book" / "bybit-linear_XRPUSDT_ob500_20241201.jsonl").read_text().splitlines()
    book = LocalBook()
    verdicts = [book.apply(parsers.parse_book(json.loads(line))) for line in lines[:20] + lines[21:]]
    assert verdicts[19] is BookVerdict.APPLIED
    assert verdicts[20] is BookVerdict.GAP
    assert set(verdicts[21:]) == {BookVerdict.IGNORED}


@pytest.mark.data
def test_recorded_answers_are_read(recorded_data) -> None:
    answers = json.loads((recorded_data / "api_fixtures" / "nautilus_bybit.json").read_text())
    bars = parsers.parse_kline_answer(answers["http_get_klines_linear.json"], 7, known_ns=0)
    assert (bars["open"][0], bars["volume"][0], bars["turnover"][0]) == (27450.0, 123.45, 3390000.0)
    assert parsers.parse_klines(answers["ws_kline.json"])[0].is_closed is False
    assert parsers.parse_prints(answers["ws_public_trade.json"])[0].price == Decimal("27451.00")
    assert parsers.parse_ticker(answers["ws_ticker_linear.json"]).last == 17216.0
    book = LocalBook()
    assert book.apply(parsers.parse_book(answers["ws_orderbook_snapshot.json"])) is BookVerdict.APPLIED
    assert book.apply(parsers.parse_book(answers["ws_orderbook_delta.json"])) is BookVerdict.APPLIED
    assert book.best()[:2] == (27450.0, 0.4)


def test_a_ccxt_market_becomes_an_instrument_with_exact_terms() -> None:
    market = {
        "symbol": "BTC/USDT:USDT", "id": "BTCUSDT", "base": "BTC", "quote": "USDT", "settle": "USDT", "swap": True,
        "linear": True, "active": True, "precision": {"price": 0.1, "amount": 0.001},
        "limits": {"amount": {"min": 0.001}, "cost": {"min": None}}, "maker": 0.0002, "taker": 0.00055,
        "info": {"leverageFilter": {"maxLeverage": "100.00"}, "lotSizeFilter": {"minNotionalValue": "5"}},
    }  # fmt: skip
    listed = parsers.parse_market(market, Decimal(9))
    assert listed is not None
    assert (listed.kind, listed.tick, listed.lot) == ("linear", Decimal("0.1"), Decimal("0.001"))
    assert (listed.min_notional, listed.max_leverage, listed.taker_fee) == (
        Decimal(5),
        Decimal("100.00"),
        Decimal("0.00055"),
    )
    assert parsers.parse_market({**market, "active": False}, Decimal(0)) is None
    assert parsers.parse_market({**market, "linear": False}, Decimal(0)) is None
