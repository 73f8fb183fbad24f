"""The matching kernel: price-time priority, partial fills, times in force, queues."""

import pytest
from hypothesis import given
from hypothesis import strategies as some

from trader.core.simulation import BUY, MARKET, SELL, MatchingBook, MatchOrder, Outcome, TimeInForce


class Tape:
    """A listener that lets everything trade, up to caps by order, and keeps what it is told."""

    def __init__(self) -> None:
        self.matches: list[tuple[int, int, int, bool]] = []
        self.caps: dict[int, int] = {}

    def room(self, order: MatchOrder) -> int:
        return min(order.remaining, self.caps.get(order.number, order.remaining))

    def matched(self, order: MatchOrder, price: int, lots: int, is_maker: bool) -> None:
        self.matches.append((order.number, price, lots, is_maker))
        if order.number in self.caps:
            self.caps[order.number] -= lots

    def taken(self) -> list[tuple[int, int, int, bool]]:
        matches, self.matches = self.matches, []
        return matches


@pytest.fixture
def tape() -> Tape:
    return Tape()


@pytest.fixture
def book(tape: Tape) -> MatchingBook:
    book = MatchingBook(tape)
    book.show([(99, 10), (98, 20)], [(101, 10), (102, 20)])
    return book


def test_a_market_order_walks_the_displayed_levels_and_the_rest_is_cancelled(book: MatchingBook, tape: Tape) -> None:
    order = MatchOrder(1, BUY, MARKET, 40, TimeInForce.IOC)
    assert book.submit(order) is Outcome.CANCELLED
    assert tape.matches == [(1, 101, 10, False), (1, 102, 20, False)]
    assert order.remaining == 10


def test_what_was_taken_is_gone_until_its_level_is_shown_with_another_size(book: MatchingBook, tape: Tape) -> None:
    book.submit(MatchOrder(1, BUY, MARKET, 10, TimeInForce.IOC))
    book.show([(99, 10)], [(101, 10), (102, 20)])
    book.submit(MatchOrder(2, BUY, 101, 10, TimeInForce.IOC))
    assert tape.taken() == [(1, 101, 10, False)]
    book.show([(99, 10)], [(101, 12), (102, 20)])
    book.submit(MatchOrder(3, BUY, 101, 10, TimeInForce.IOC))
    assert tape.taken() == [(3, 101, 10, False)]


def test_a_limit_order_takes_what_crosses_and_rests_with_the_rest(book: MatchingBook, tape: Tape) -> None:
    order = MatchOrder(1, SELL, 99, 15)
    assert book.submit(order) is Outcome.RESTING
    assert tape.matches == [(1, 99, 10, False)]
    assert [o.remaining for o in book.resting(SELL)] == [5]
    assert book.best(SELL) == 99


@pytest.mark.parametrize(
    ("time_in_force", "price", "lots", "outcome", "traded"),
    [
        (TimeInForce.FOK, 101, 10, Outcome.FILLED, 10),
        (TimeInForce.FOK, 101, 11, Outcome.REFUSED, 0),
        (TimeInForce.FOK, 102, 30, Outcome.FILLED, 30),
        (TimeInForce.IOC, 100, 5, Outcome.CANCELLED, 0),
        (TimeInForce.POST_ONLY, 101, 5, Outcome.REFUSED, 0),
        (TimeInForce.POST_ONLY, 100, 5, Outcome.RESTING, 0),
    ],
)
def test_each_time_in_force_does_what_it_says(
    book: MatchingBook, tape: Tape, time_in_force: TimeInForce, price: int, lots: int, outcome: Outcome, traded: int
) -> None:
    assert book.submit(MatchOrder(1, BUY, price, lots, time_in_force)) is outcome
    assert sum(match[2] for match in tape.matches) == traded


def test_a_resting_order_waits_behind_the_queue_at_its_price(book: MatchingBook, tape: Tape) -> None:
    book.submit(MatchOrder(1, BUY, 99, 5))
    book.print_seen(99, 8, SELL)
    assert tape.taken() == []
    book.print_seen(99, 4, SELL)
    assert tape.taken() == [(1, 99, 2, True)]
    book.print_seen(99, 9, SELL)
    assert tape.taken() == [(1, 99, 3, True)]
    assert not book.resting(BUY)


def test_a_print_beyond_our_price_fills_us_at_our_price_up_to_its_size(book: MatchingBook, tape: Tape) -> None:
    book.submit(MatchOrder(1, BUY, 100, 5))
    book.submit(MatchOrder(2, BUY, 99, 5))
    book.print_seen(98, 7, SELL)
    assert tape.matches == [(1, 100, 5, True), (2, 99, 2, True)]


def test_a_print_of_our_own_side_or_worse_than_our_price_leaves_us_alone(book: MatchingBook, tape: Tape) -> None:
    book.submit(MatchOrder(1, BUY, 99, 5))
    book.print_seen(101, 50, BUY)
    book.print_seen(100, 50, SELL)
    assert tape.matches == []


def test_older_orders_are_served_first_at_one_price_and_better_prices_before_older_ones(
    book: MatchingBook, tape: Tape
) -> None:
    book.submit(MatchOrder(1, SELL, 100, 3))
    book.submit(MatchOrder(2, SELL, 100, 3))
    book.submit(MatchOrder(3, SELL, 99 + 1, 3))
    book.submit(MatchOrder(4, SELL, 101, 3))
    book.print_seen(101, 8, BUY)
    assert tape.matches == [(1, 100, 3, True), (2, 100, 3, True), (3, 100, 2, True)]


def test_a_book_that_crosses_our_price_trades_with_us_at_our_price(book: MatchingBook, tape: Tape) -> None:
    book.submit(MatchOrder(1, BUY, 100, 5))
    book.show([(97, 1)], [(98, 2), (99, 1), (103, 9)])
    assert tape.taken() == [(1, 100, 2, True), (1, 100, 1, True)]
    book.show([(97, 1)], [(98, 2), (99, 1), (103, 9)])
    assert tape.taken() == [], "the same display is the same liquidity"


def test_a_queue_is_never_longer_than_what_is_displayed(book: MatchingBook, tape: Tape) -> None:
    book.submit(MatchOrder(1, BUY, 99, 5))
    book.show([(99, 2)], [(101, 10)])
    book.print_seen(99, 4, SELL)
    assert tape.matches == [(1, 99, 2, True)]


def test_two_orders_here_trade_with_each_other_at_the_resting_price(book: MatchingBook, tape: Tape) -> None:
    book.submit(MatchOrder(1, SELL, 100, 5))
    book.submit(MatchOrder(2, BUY, 101, 12))
    assert tape.matches == [(1, 100, 5, True), (2, 100, 5, False), (2, 101, 7, False)]


def test_a_taker_serves_the_public_queue_before_an_order_that_rests_behind_it(book: MatchingBook, tape: Tape) -> None:
    book.submit(MatchOrder(1, BUY, 99, 5))
    book.submit(MatchOrder(2, SELL, 99, 12))
    assert tape.matches == [(2, 99, 10, False), (1, 99, 2, True), (2, 99, 2, False)]


def test_an_order_without_room_is_passed_over_and_one_that_loses_it_does_not_rest(
    book: MatchingBook, tape: Tape
) -> None:
    tape.caps = {1: 0, 3: 4}
    book.submit(MatchOrder(1, SELL, 100, 5, TimeInForce.GTC))
    assert not book.resting(SELL)
    book.submit(MatchOrder(2, SELL, 100, 5))
    assert book.submit(MatchOrder(3, BUY, 100, 9)) is Outcome.CANCELLED
    assert tape.matches == [(2, 100, 4, True), (3, 100, 4, False)]


def test_a_cap_at_once_leaves_the_rest_to_rest(book: MatchingBook, tape: Tape) -> None:
    order = MatchOrder(1, BUY, 101, 10)
    assert book.submit(order, at_once=4) is Outcome.RESTING
    assert order.remaining == 6


def test_before_the_first_display_an_order_stands_behind_all_that_will_be_shown(tape: Tape) -> None:
    book = MatchingBook(tape)
    book.rest(MatchOrder(1, BUY, 99, 5))
    book.print_seen(99, 50, SELL)
    assert tape.matches == []
    book.show([(99, 3)], [(101, 1)])
    book.print_seen(99, 5, SELL)
    assert tape.matches == [(1, 99, 2, True)]


def test_a_cancelled_order_is_out_and_can_be_cancelled_once(book: MatchingBook, tape: Tape) -> None:
    order = MatchOrder(1, BUY, 100, 5)
    book.submit(order)
    assert book.cancel(order)
    assert not book.cancel(order)
    book.print_seen(90, 50, SELL)
    assert tape.matches == []


def test_best_and_fillable_count_the_orders_that_rest_here(book: MatchingBook) -> None:
    book.submit(MatchOrder(1, SELL, 100, 5))
    assert book.best(SELL) == 100
    assert book.fillable(BUY, MARKET, 20) == [(100, 5), (101, 10), (102, 5)]
    assert book.fillable(BUY, 99, 20) == []
    book.show([], [])
    assert book.best(BUY) is None


Action = some.one_of(
    some.tuples(some.just("order"), some.sampled_from([BUY, SELL]), some.integers(95, 105), some.integers(1, 20)),
    some.tuples(some.just("print"), some.sampled_from([BUY, SELL]), some.integers(95, 105), some.integers(1, 20)),
    some.tuples(some.just("show"), some.just(0), some.integers(97, 103), some.integers(1, 20)),
)


@given(some.lists(Action, max_size=60), some.sampled_from(list(TimeInForce)))
def test_no_story_trades_worse_than_a_limit_or_more_than_an_order(actions: list, time_in_force: TimeInForce) -> None:
    tape = Tape()
    book = MatchingBook(tape)
    orders: dict[int, tuple[MatchOrder, int]] = {}
    for number, (kind, side, price, lots) in enumerate(actions, 1):
        if kind == "order":
            order = MatchOrder(number, side, price, lots, time_in_force)
            orders[number] = (order, lots)
            book.submit(order)
        elif kind == "print":
            book.print_seen(price, lots, side)
        else:
            book.show([(price - 1, lots), (price - 2, lots)], [(price + 1, lots), (price + 2, lots)])
    traded = dict.fromkeys(orders, 0)
    for number, price, lots, _ in tape.matches:
        assert lots > 0
        assert (orders[number][0].price - price) * orders[number][0].side >= 0
        traded[number] += lots
    for number, (order, lots) in orders.items():
        assert traded[number] + order.remaining == lots
        assert order.remaining >= 0
    for side in (BUY, SELL):
        resting = book.resting(side)
        assert all(order.remaining > 0 for order in resting)
        keys = [(-order.price * side, order.number) for order in resting]
        assert keys == sorted(keys), "price first, then time"
    bid, ask = book.resting(BUY), book.resting(SELL)
    assert not (bid and ask and bid[0].price >= ask[0].price), "our own orders never rest crossed"
