"""Public REST: the rows of `market/*`. Reads the board, writes nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from aiohttp import web

from apps.simulator.markets.base import LINEAR, SPOT
from apps.simulator.markets.board import InstrumentState, MarketBoard
from apps.simulator.markets.clock import MarketClock
from apps.simulator.public import intervals
from apps.simulator.public.envelope import BAD_REQUEST, RequestError, answer
from apps.simulator.public.formats import Format, ms, plain
from apps.simulator.public.listing import instrument_info, risk_tier
from apps.simulator.public.prints import print_row
from apps.simulator.public.tickers import ticker_row

CATEGORIES = (SPOT, LINEAR, "inverse", "option")
Query = Mapping[str, str]


class PublicRest:
    """Handlers over one board and clock; `wall_ns` is the venue's wall clock (a fault may set it off)."""

    def __init__(self, board: MarketBoard, clock: MarketClock, wall_ns: Callable[[], int]) -> None:
        self._board, self._clock, self._wall_ns = board, clock, wall_ns
        self._forms = {key: Format(state.spec) for key, state in board.states.items()}
        self._linear = {state.spec.symbol: number for number, state in enumerate(board.of_kind(LINEAR), 1)}

    def routes(self) -> list[web.RouteDef]:
        """Return the routes, all GET."""
        rows: dict[str, Callable[[Query], Any]] = {
            "time": self._time,
            "instruments-info": self._instruments,
            "tickers": self._tickers,
            "orderbook": self._orderbook,
            "recent-trade": self._recent_trade,
            "kline": self._kline,
            "mark-price-kline": self._mark_kline,
            "index-price-kline": self._index_kline,
            "funding/history": self._funding_history,
            "risk-limit": self._risk_limit,
        }
        return [web.get(f"/v5/market/{path}", self._handler(row)) for path, row in rows.items()]

    def _handler(self, row: Callable[[Query], Any]) -> Callable[[web.Request], Any]:
        async def handle(request: web.Request) -> web.Response:
            try:
                return answer(row(request.query), self._wall_ns())
            except RequestError as error:
                return answer({}, self._wall_ns(), BAD_REQUEST, str(error))

        return handle

    def _time(self, query: Query) -> Any:
        wall_ns = self._wall_ns()
        return {"timeSecond": str(wall_ns // 10**9), "timeNano": str(wall_ns)}

    def _instruments(self, query: Query) -> Any:
        category = _category(query, SPOT)
        states = self._board.of_kind(category)
        status = query.get("status", "")
        if status and status != "Trading":
            states = []
        states = [state for state in states if query.get("symbol", state.spec.symbol) == state.spec.symbol]
        states = [state for state in states if query.get("baseCoin", state.spec.base) == state.spec.base]
        page, cursor = _page(query, states, 500, 1000) if category != SPOT else (states, "")
        rows = [instrument_info(state.spec, self._clock.halted(state.spec.symbol)) for state in page]
        return {"category": category, "list": rows, "nextPageCursor": cursor}

    def _tickers(self, query: Query) -> Any:
        category = _category(query)
        states = [self._state(query, category)] if query.get("symbol") else self._board.of_kind(category)
        states = [state for state in states if query.get("baseCoin", state.spec.base) == state.spec.base]
        return {"category": category, "list": [ticker_row(state, self._forms[state.spec.key]) for state in states]}

    def _orderbook(self, query: Query) -> Any:
        category = _category(query)
        state = self._state(query, category)
        limit = _number(query, "limit", 1 if category == SPOT else 25, 1, 200 if category == SPOT else 500)
        form = self._forms[state.spec.key]
        return {
            "s": state.spec.symbol,
            "b": form.levels(state.bids[:limit]),
            "a": form.levels(state.asks[:limit]),
            "ts": ms(self._clock.market_ns()),
            "u": state.book_updates,
            "seq": self._board.sequence,
            "cts": ms(state.book_ns),
        }

    def _recent_trade(self, query: Query) -> Any:
        category = _category(query)
        state = self._state(query, category)
        most = 60 if category == SPOT else 1000
        limit = _number(query, "limit", min(most, 500), 1, most)
        form = self._forms[state.spec.key]
        newest = list(state.recent)[-limit:][::-1]
        return {"category": category, "list": [print_row(recent, form) for recent in newest]}

    def _kline(self, query: Query) -> Any:
        category = _category(query, LINEAR)
        state = self._state(query, category)
        form = self._forms[state.spec.key]
        rows = [
            [*_ohlc(bar, form), form.size(int(bar["volume"])), form.turnover(float(bar["turnover"]))]
            for bar in self._bars(query, state)
        ]
        return {"category": category, "symbol": state.spec.symbol, "list": rows}

    def _mark_kline(self, query: Query) -> Any:
        return self._price_kline(query, "mark")

    def _index_kline(self, query: Query) -> Any:
        return self._price_kline(query, "index")

    def _price_kline(self, query: Query, which: str) -> Any:
        category = _category(query, LINEAR)
        if category == SPOT:
            raise RequestError("params error: category must be linear for mark and index prices")
        state = self._state(query, category)
        form = self._forms[state.spec.key]
        rows = [_ohlc(bar, form) for bar in self._bars(query, state, which)]
        return {"category": category, "symbol": state.spec.symbol, "list": rows}

    def _bars(self, query: Query, state: InstrumentState, which: str = "last") -> np.ndarray:
        """Return the bars asked for, newest first; `start` and `end` are market times in ms, both inclusive."""
        interval = query.get("interval", "")
        if interval not in intervals.INTERVALS:
            raise RequestError(f"params error: interval must be one of {', '.join(intervals.INTERVALS)}")
        limit = _number(query, "limit", 200, 1, 1000)
        start_ns = _number(query, "start", 0, 0) * 1_000_000
        end_ns = _number(query, "end", 1 << 42, 0) * 1_000_000
        minutes = state.minutes(which)
        if "start" in query:
            minutes = minutes[minutes["open_ns"] >= intervals.open_of(interval, start_ns)]
        bars = intervals.bars_grouped(minutes, interval)
        bars = bars[(bars["open_ns"] >= start_ns) & (bars["open_ns"] <= end_ns)]
        forward = "start" in query and "end" not in query
        return (bars[:limit] if forward else bars[-limit:])[::-1]

    def _funding_history(self, query: Query) -> Any:
        category = _category(query)
        if category == SPOT:
            raise RequestError("params error: category must be linear for funding")
        state = self._state(query, category)
        start, end = _number(query, "startTime", 0, 0), _number(query, "endTime", 1 << 42, 0)
        if "startTime" in query and "endTime" not in query:
            raise RequestError("params error: endTime is required with startTime")
        paid = [event for event in state.funding if start <= ms(event.market_ns) <= end]
        newest = paid[-_number(query, "limit", 200, 1, 200) :][::-1]
        rows = [
            {
                "symbol": state.spec.symbol,
                "fundingRate": plain(event.rate),
                "fundingRateTimestamp": str(ms(event.market_ns)),
            }
            for event in newest
        ]
        return {"category": category, "list": rows}

    def _risk_limit(self, query: Query) -> Any:
        category = _category(query)
        states = [self._state(query, category)] if query.get("symbol") else self._board.of_kind(category)
        if category == SPOT:
            raise RequestError("params error: category must be linear for risk limits")
        rows = [risk_tier(state.spec, self._linear[state.spec.symbol]) for state in states]
        return {"category": category, "list": rows, "nextPageCursor": ""}

    def _state(self, query: Query, category: str) -> InstrumentState:
        state = self._board.find(category, query.get("symbol", ""))
        if state is None:
            raise RequestError(f"params error: symbol invalid {query.get('symbol', '')}".rstrip())
        return state


def _category(query: Query, default: str = "") -> str:
    category = query.get("category", default)
    if category not in CATEGORIES:
        raise RequestError(f"params error: category must be one of {', '.join(CATEGORIES)}")
    return category


def _number(query: Query, name: str, default: int, least: int, most: int | None = None) -> int:
    text = query.get(name, "")
    if not text:
        return default
    if not text.isdecimal() or int(text) < least:
        raise RequestError(f"params error: {name} must be a whole number from {least} (it is {text})")
    return int(text) if most is None else min(int(text), most)


def _page(query: Query, states: list[InstrumentState], default: int, most: int) -> tuple[list[InstrumentState], str]:
    """Return one page and the cursor to the next: the number of the first row after it."""
    limit, first = _number(query, "limit", default, 1, most), _number(query, "cursor", 0, 0)
    after = first + limit
    return states[first:after], str(after) if after < len(states) else ""


def _ohlc(bar: np.void, form: Format) -> list[str]:
    prices = [form.price(int(bar[name])) for name in ("open", "high", "low", "close")]
    return [str(ms(int(bar["open_ns"]))), *prices]
