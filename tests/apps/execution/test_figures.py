"""What a market day has realised: the ledger's growth since it began, whatever was carried over midnight."""

from decimal import Decimal as D
from types import SimpleNamespace

from apps.execution.brokers.base import Market
from apps.execution.desk.books import Books
from apps.execution.desk.figures import Accounts
from trader.core.portfolio import MANUAL, Fill
from trader.core.types import Side

DAY_NS = 86_400_000_000_000
MARKET = Market(
    instrument_id=1, symbol="ETH/USDT:USDT", venue_symbol="ETHUSDT", kind="linear", base="ETH", quote="USDT",
    settle="USDT", tick=D("0.01"), lot=D("0.01"), min_quantity=D("0.01"), min_notional=D(5),
)  # fmt: skip


def test_a_gain_that_is_carried_over_midnight_is_realised_by_the_day_that_closes_it_before_fees() -> None:
    books = Books(1, "USDT", {1: MARKET})
    accounts = Accounts(SimpleNamespace(books=books, lineage={}))
    assert accounts.realised_today() == 0
    books.ledger.book_cash("USDT", D(1000))
    books.marks[1] = D(100)
    accounts.mark_day(20 * DAY_NS)
    books.ledger.book_fill(1, MANUAL, Fill(Side.BUY, D(3), D(100), D("0.5"), "USDT"))
    books.ledger.book_fill(1, MANUAL, Fill(Side.SELL, D(1), D(104), D("0.5"), "USDT"))
    assert accounts.realised_today() == 4

    books.marks[1] = D(110)
    accounts.mark_day(21 * DAY_NS)
    assert accounts.realised_today() == 0
    books.marks[1] = D(120)
    accounts.mark_day(21 * DAY_NS + 60_000_000_000)
    assert accounts.realised_today() == 0  # 20 more are gained, and nothing is closed
    books.ledger.book_fill(1, MANUAL, Fill(Side.SELL, D(1), D(120), D("0.5"), "USDT"))
    assert accounts.realised_today() == 20
    assert accounts.profit_of_day() == 2 * 10 - 0.5
    books.marks.clear()
    assert accounts.realised_today() == 0  # a figure needs its marks
