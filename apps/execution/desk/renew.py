"""What may change under a running desk: the instruments of its venue, the keys of its account, whether it may trade.

New instruments become known where they are needed; new keys are tried first, and taken over in place, so that
what rests at the venue goes on resting. With trading off a desk takes no new risk; everything else goes on.
"""

import structlog

from apps.execution import selectors
from apps.execution.brokers.base import Broker, CredentialsRefused
from apps.execution.brokers.gate import SendGate
from apps.execution.brokers.registry import broker_make
from apps.execution.brokers.throttle import query_throttle
from apps.execution.desk import session
from apps.execution.desk.core import DeskCore
from apps.execution.desk.parts import Parts
from apps.execution.origins import Blocker, Origin
from trader.config import config
from trader.core.types import VenueError

log = structlog.get_logger(__name__)


async def broker_new(core: DeskCore) -> Broker:
    """Return a broker with the account's present keys and the known instruments, not connected yet."""
    account = core.account
    configuration = await core.context.call(selectors.credential_configuration_of, account.id)
    return broker_make(
        account.adapter,
        configuration,
        list(core.books.markets.values()),
        account.install,
        SendGate(core, config.execution.signature_age_ms / 1000),
        recv_window_ms=config.execution.recv_window_ms,
        timeout_s=config.execution.venue_timeout_s,
        before_query=query_throttle(core.governor, account.adapter, account.address, str(account.id)),
    )


async def look(parts: Parts) -> None:
    """Take over what has changed; a database that is gone raises as everywhere."""
    await _trading(parts)
    await _markets(parts)
    await _keys(parts)


async def _trading(parts: Parts) -> None:
    """Block new risk while trading is off for the account, and cancel what rests and could add some."""
    core = parts.core
    if await core.context.call(selectors.trading_is_on, core.account.id):
        core.unblock(Blocker.TRADING_OFF)
        return
    core.block(Blocker.TRADING_OFF, f"trading is off for account {core.account.name}: turn it on in its admin page")
    if adding := core.books.resting_risk():
        failed = await parts.canceller.cancel(adding, why="trading was turned off", origin=Origin.PERSON)
        if failed:
            log.warning("not every order could be cancelled, again soon", orders=len(failed), why=failed[0].detail)


async def _markets(parts: Parts) -> None:
    core, known = parts.core, parts.known
    stamp = await core.context.call(selectors.markets_stamp, core.account.venue_id)
    if stamp == known.markets:
        return
    markets = await core.context.call(selectors.markets_load, core.account.venue_id)
    for market in markets:
        if core.books.markets.get(market.instrument_id) == market:
            continue
        log.info("instrument known", symbol=market.symbol, is_new=market.instrument_id not in core.books.markets)
        for holder in (core.books, core.broker, parts.fills, parts.adopter):
            holder.market_add(market)
    known.markets = stamp
    # an execution of an instrument that was not known is booked by the comparison that follows
    core.unblock(Blocker.BOOKS)
    parts.reconciler.soon()


async def _keys(parts: Parts) -> None:
    """Try keys that were saved anew, and work with them if the venue takes them; the old ones stay until then."""
    core, known = parts.core, parts.known
    stamp = await core.context.call(selectors.credential_stamp, core.account.id)
    if stamp == known.keys:
        return
    if stamp is None:
        core.block(Blocker.CREDENTIALS, "the account has no keys any more: add its credential")
        known.keys = None
        return
    core.block(Blocker.CREDENTIALS, "the account's keys have changed: trying the new ones")
    broker = await broker_new(core)
    try:
        await broker.connect()
        broker.clock_correct(-round(core.clocks.offset_ms(core.account.venue_code) or 0.0))
        await broker.balances()
    except VenueError as error:
        await broker.close()
        core.block(Blocker.CREDENTIALS, f"the new keys do not work, the old ones stay: {error}"[:200])
        if isinstance(error, CredentialsRefused):
            known.keys = stamp  # not tried again until a person saves others
        return
    await _take_over(parts, broker)
    known.keys = stamp
    core.unblock(Blocker.CREDENTIALS)
    log.info("the account's new keys are at work")


async def _take_over(parts: Parts, broker: Broker) -> None:
    """Work with another broker from now on; what the old one had not told is asked for."""
    core = parts.core
    old, core.broker = core.broker, broker
    for task in [task for task in core.tasks if task.get_name() == session.PRIVATE]:
        task.cancel()
    core.spawn(session.private_events(parts), session.PRIVATE)
    await old.close()
    parts.reconciler.soon()
