"""`manage.py simulate`: the simulated exchange as a process of its own, without a database."""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, NamedTuple

from aiohttp import web

from apps.common.ending import tasks_end
from apps.simulator.exchange.context import ExchangeContext, ExchangeOptions
from apps.simulator.exchange.server import control_app, exchange_build, rest_app
from apps.simulator.markets.base import MINUTE_NS, EventSink, MarketError, MarketSource
from apps.simulator.markets.board import MarketBoard
from apps.simulator.markets.clock import MarketClock
from apps.simulator.markets.driver import Driver
from apps.simulator.public.assembly import ExchangeWatch, PublicSide

HOST = "127.0.0.1"


class Opened(NamedTuple):
    """A market, its clock, what else follows it, and how to keep where it stands."""

    source: MarketSource
    clock: MarketClock
    followers: list[EventSink]
    save: Callable[[int], None]
    about: list[str]


def parser_fill(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add the options of `simulate`."""
    add = parser.add_argument
    add("--port", type=int, default=8899, help="port of REST and sockets; 0 takes a free one")
    add("--control-port", type=int, default=8898, help="port of the control address; 0 takes a free one")
    add("--host", default=HOST, help="address of REST and sockets; control stays on 127.0.0.1")
    add("--key", default="", help="API key of an account with 100,000 USDT; without it DIR/keys.json is read")
    add("--secret", default="", help="the key's secret")
    add("--market", choices=("synthetic", "replay"), default="synthetic", help="where prices come from")
    add("--seed", type=int, default=7, help="synthetic: the market's seed")
    add("--state", type=Path, required=True, metavar="DIR", help="the exchange's own folder, kept over restarts")
    add("--data", type=Path, metavar="DIR", help="replay: the folder of recorded files, Parquet or CSV")
    add("--symbols", default="", metavar="FILE=SYMBOL,…", help="replay: what is listed, e.g. my_btc_1m=BTC/USDT")
    add("--from", dest="from_", default="", metavar="TIME", help="replay: first minute (UTC); default: latest shared")
    add("--to", default="", metavar="TIME", help="replay: last minute (UTC); default: the end of that span")
    add("--terms", default="", metavar="SYMBOL=TICK:LOT,…", help="replay: default: finest decimals in the file")
    add("--book-share", type=float, default=0.1, help="replay: part of a minute's volume in the best five levels")
    add("--speed", type=speed_parse, default=1.0, help="market seconds a second, or max: as fast as frames go out")
    add("--paused", action="store_true", help="the market stands until the control address moves it")
    add("--limits", choices=("bybit", "off"), default="bybit", help="rate limits as at the venue, or none")
    add("--record-frames", choices=("minute", "all"), default="minute", help="public frames kept in the ledger")
    add("--address-file", type=Path, default=None, help="also write the addresses here; DIR/ready.json always has them")
    return parser


def speed_parse(text: str) -> float:
    """Return a speed above 0; `max` is infinite."""
    try:
        speed = math.inf if text == "max" else float(text)
    except ValueError:
        speed = math.nan
    if not speed > 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no speed: a number above 0, or max")
    return speed


def main(argv: list[str] | None = None) -> int:
    """Run the exchange until TERM or INT; return the exit code."""
    parser = parser_fill(argparse.ArgumentParser(prog="manage.py simulate", description=__doc__))
    return simulate(parser.parse_args(argv))


def simulate(options: argparse.Namespace) -> int:
    """Run the exchange; what is wrong with the options or files is said in one line."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(name)s %(message)s")
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    try:
        return _runner()(_serve(options))
    except (MarketError, OSError, ValueError) as error:
        print(f"simulate: {error}", file=sys.stderr)
        return 2


def _runner() -> Callable[[Coroutine[Any, Any, int]], int]:
    try:
        import uvloop
    except ImportError:
        return asyncio.run
    return uvloop.run


def market_open(options: argparse.Namespace) -> Opened:
    """Return the market that the options ask for."""
    if options.market == "synthetic":
        from apps.simulator.markets.synthetic import SyntheticMarket

        source = SyntheticMarket(options.seed, time.time_ns(), options.state)
        clock = MarketClock(source.start_ns, mode="synthetic", speed=options.speed, paused=options.paused)
        return Opened(source, clock, [], source.save, [])
    return _replay_open(options)


def _replay_open(options: argparse.Namespace) -> Opened:
    from apps.simulator.markets.plan import ReplayPosition, replay_plan, time_text
    from apps.simulator.markets.replay import ReplayMarket

    if options.data is None:
        raise MarketError("--market replay needs --data. Fix: the folder of the recorded files.")
    if not 0 < options.book_share <= 1:
        raise MarketError(f"--book-share {options.book_share} must lie above 0 and be at most 1.")
    plan = replay_plan(options.data, options.symbols, options.from_, options.to, options.terms)
    about = {
        "symbols": options.symbols,
        "terms": options.terms,
        "span": f"{time_text(plan.from_ns)} {time_text(plan.end_ns)}",
        "book share": str(options.book_share),
    }
    position = ReplayPosition(options.state / "market.json", about)
    start_ns = min(max(position.load(plan.from_ns), plan.from_ns), plan.end_ns)
    source = ReplayMarket(plan.recordings, plan.from_ns, plan.end_ns, start_ns, options.book_share)
    clock = MarketClock(
        start_ns,
        mode="replay",
        speed=options.speed,
        from_ns=plan.from_ns,
        end_ns=plan.end_ns,
        paused=options.paused,
    )
    return Opened(source, clock, [position], position.save, plan.describe())


async def _serve(options: argparse.Namespace) -> int:
    options.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    (options.state / "ready.json").unlink(missing_ok=True)  # an earlier run's addresses lead nowhere
    source, clock, followers, save, about = market_open(options)
    for line in about:
        logging.getLogger("simulator.market").info(line)
    (options.state / "about.txt").write_text("".join(f"{line}\n" for line in about))  # what `up` says of the market
    board = MarketBoard(source.instruments(), clock.market_ns() // MINUTE_NS * MINUTE_NS)
    limited = options.limits == "bybit"
    context = exchange_build(
        ExchangeOptions(options.state, options.key, options.secret, limited, options.record_frames == "all"),
        clock,
        board,
    )
    watch = ExchangeWatch(context.faults, context.ledger, clock.wall_ns)
    public = PublicSide(board, clock, context.wall_ns, watch, limited)
    driver = Driver(source, clock, board, [context.engine, public.broadcaster, *followers], public.broadcaster)
    context.driver = driver
    driver.prepare()
    runners = await _listen(context, public, options)
    gc.collect()
    gc.freeze()  # markets and their history stay: no pause while the exchange runs looks through them again
    tasks = [asyncio.create_task(driver.run()), asyncio.create_task(public.broadcaster.repeat_touches())]
    try:
        await _until_stopped(tasks)
    finally:
        await tasks_end(tasks)
        save(clock.market_ns())
        for runner in runners:
            await runner.cleanup()
        context.ledger.close()
    return 0


async def _listen(context: ExchangeContext, public: PublicSide, options: argparse.Namespace) -> list[web.AppRunner]:
    public_app = rest_app(context, mounts=[public.mount])
    runners, ports = [], []
    for app, host, port in (
        (public_app, options.host, options.port),
        (control_app(context), HOST, options.control_port),
    ):
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0, handle_signals=False)
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise MarketError(f"port {port} cannot be used: {error.strerror}. Fix: another port, or 0.") from None
        runners.append(runner)
        ports.append(runner.addresses[0][1])
    _announce(options, ports)
    return runners


def _announce(options: argparse.Namespace, ports: list[int]) -> None:
    host = HOST if options.host in ("", "0.0.0.0") else options.host
    addresses = {
        "rest": f"http://{host}:{ports[0]}",
        "socket": f"ws://{host}:{ports[0]}",
        "control": f"http://{HOST}:{ports[1]}",
    }
    line = json.dumps(addresses)
    for path in filter(None, (options.state / "ready.json", options.address_file)):
        part = path.with_name(path.name + ".part")
        part.write_text(line + "\n")
        os.replace(part, path)
    print(line, flush=True)


async def _until_stopped(tasks: list[asyncio.Task[None]]) -> None:
    """Wait for TERM or INT; a task that fails ends the process with its error."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    stopped = asyncio.create_task(stop.wait())
    done, _ = await asyncio.wait([stopped, *tasks], return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    for task in done - {stopped}:
        task.result()
