"""Which deployments a desk runs, with features complete; followed as persons start, stop and change them."""

import asyncio
from collections.abc import Iterable
from decimal import Decimal

import msgspec
import structlog

from apps.common.checkpoints import checkpoint_load_async
from apps.common.errors import LogGap
from apps.execution.desk import renew
from apps.execution.desk.bars import stream_position
from apps.execution.desk.core import NOT_DEPLOYMENTS
from apps.execution.desk.deployed import HISTORY_BARS, Deployed, deployed_make, members
from apps.execution.desk.parts import Parts
from apps.execution.desk.store import DATABASE_ERRORS
from apps.execution.origins import Blocker
from apps.market.events import BarsClosed
from apps.market.selectors import bars_newest_open_async, bars_read_many_async
from apps.risk.selectors import HaltOpen, deployment_lineage, halts_of, limits_snapshot
from apps.strategies.selectors import DeploymentAtWork, deployments_at_work, deployments_of_keys, stop_distance

log = structlog.get_logger(__name__)
POLL_S = 2.0
FAR_NS = 1 << 62
TOPICS = ("deployments", "limits", "universes", "halts", "commands")


def timeframes(parts: Parts) -> set[int]:
    """Return the timeframes whose bars are wanted; minutes always, for marks."""
    return {60} | {deployed.timeframe_s for deployed in parts.decider.deployments.values()}


async def refresh(parts: Parts) -> None:
    """Read keys, instruments, deployments and limits, and build, keep or drop pipelines accordingly.

    Whatever bars the deployments now want are followed from here on.
    """
    core = parts.core
    call = core.context.call
    await renew.look(parts)
    parts.guard.limits = await call(limits_snapshot, core.account.id)
    core.lineage = await call(deployment_lineage, core.account.id)
    rows = {row.key: row for row in await call(deployments_at_work, core.account.id)}
    _halts(parts, await call(halts_of, core.account.id), rows)
    for key in set(parts.decider.deployments) - set(rows):
        log.info("deployment ended", deployment=key)
        del parts.decider.deployments[key]
    core.code_blocks = {key: why for key, why in core.code_blocks.items() if key in rows}
    for key, row in rows.items():
        known = parts.decider.deployments.get(key)
        if known is None or known.row != row or known.members != members(row, core.books.markets):
            await _put_to_work(parts, row)
    await distances_load(parts)
    parts.sweeper.deployments = set(core.lineage)  # ended ones too: who engages theirs is told that nothing rests
    await bars_follow(parts, timeframes(parts))


async def distances_load(parts: Parts) -> None:
    """Learn how far the stops stand of every deployment that runs, holds something or has an order open, ended or not.

    Before the first execution of a session is booked: a stop is never placed by another's distance.
    """
    core, distances = parts.core, parts.stops.distances
    owners = {owner for _, owner, _ in core.books.open_positions()}
    owners |= {order.owner for order in core.books.open.values()} | set(parts.decider.deployments)
    wanted = owners - set(distances) - set(NOT_DEPLOYMENTS)
    if wanted:
        found, reasons = await core.context.call(_distances, wanted)
        core.no_stop |= reasons
        distances |= found


def _distances(keys: set[str]) -> tuple[dict[str, Decimal | None], dict[str, str]]:
    """Distances of deployments' stops, and why some do without.

    One whose strategy cannot be read any more has no distance: its stops stay as they are.
    """
    found, reasons = {}, {}
    for row in deployments_of_keys(keys):
        if row.no_stop_reason:
            reasons[row.key] = row.no_stop_reason
        try:
            found[row.key] = stop_distance(row)
        except Exception:  # a strategy's own file, whatever is wrong in it
            log.exception("distance of stops not known: those that rest are kept", deployment=row.key)
    return found, reasons


async def bars_follow(parts: Parts, wanted: set[int]) -> None:
    """Follow the bars of every timeframe that is wanted and not followed yet; a desk that stops begins nothing."""
    core = parts.core
    for timeframe_s in sorted(wanted):
        name, stream = f"bars {timeframe_s}", f"{core.account.venue_code}.{timeframe_s}"
        if any(task.get_name() == name for task in core.tasks):
            continue
        after = await stream_position(core, stream)
        if not any(task.get_name() == name for task in core.tasks) and Blocker.STOPPING not in core.blocks:
            core.spawn(_bars(parts, stream, after), name)


async def _bars(parts: Parts, stream: str, after: str) -> None:
    """Take closed bars as they come, one batch after the other."""
    async for _, message in parts.core.bus.bars_read(stream, after=after):
        is_ours = isinstance(message, BarsClosed) and message.epoch_id == parts.core.account.epoch_id
        if is_ours and message.bars:
            await parts.decider.bars(message)


def _halts(parts: Parts, halts: list[HaltOpen], keys: Iterable[str]) -> None:
    """Take over the halts that stand: of deployments and their successors, and of the whole account."""
    of_owners = [halt for halt in halts if halt.deployment_key]
    parts.core.owner_blocks = {key: halt.detail for key in keys for halt in of_owners if halt.stops(key)}
    whole = [halt.detail for halt in halts if not halt.deployment_key]
    if whole:
        parts.core.block(Blocker.HALT, whole[0])
    else:
        parts.core.unblock(Blocker.HALT)


async def _put_to_work(parts: Parts, row: DeploymentAtWork) -> None:
    """Build a deployment, and let it take every bar from here on.

    The stream's place is taken, and its batches wait, before storage is read for the last time: a bar is stored
    before it is sent, so one that closes meanwhile is either read here or comes by the stream.
    """
    deployed = await _built(parts, row)
    if deployed is None:
        return
    await bars_follow(parts, {deployed.timeframe_s})
    async with parts.decider.turn(deployed.timeframe_s):
        await _catch_up_last(parts, deployed)
        parts.decider.deployments[row.key] = deployed
    log.info("deployment at work", deployment=row.key, instruments=len(deployed.places), warm=_warm(deployed))


async def _built(parts: Parts, row: DeploymentAtWork) -> Deployed | None:
    """Build a deployment's pipeline and bring its features up to the newest stored bar; None where its code fails.

    By other code than was deployed nothing new is begun: it decides, so that what is held still ends.
    """
    core = parts.core
    held = {instrument_id for instrument_id, owner, _ in core.books.open_positions() if owner == row.key}
    try:
        deployed = await asyncio.to_thread(deployed_make, row, core.books.markets, held)
    except Exception as error:  # a strategy's own file, whatever is wrong in it: the rest of the desk goes on
        _code_block(parts, row.key, f"{row.key}: {row.strategy} cannot be loaded, nothing is decided: {error!r}"[:200])
        return None
    _code_block(parts, row.key, deployed.code_differs)
    states = await _checkpoint(parts, deployed)
    restored = {}
    for instrument_id in deployed.places:
        newest_ns, body = states.get(str(instrument_id), (0, b""))
        if body and deployed.restore(instrument_id, newest_ns, body):
            restored[instrument_id] = newest_ns
    await _catch_up(parts, deployed, restored)
    return deployed


def _code_block(parts: Parts, key: str, why: str) -> None:
    """Block a deployment's new risk for its code, or take that back."""
    blocks = parts.core.code_blocks
    if why and blocks.get(key) != why:
        log.error("deployment blocked by its code", deployment=key, why=why)
    blocks.pop(key, None)
    if why:
        blocks[key] = why


async def _checkpoint(parts: Parts, deployed: Deployed) -> dict[str, tuple[int, bytes]]:
    core = parts.core
    version = deployed.pipeline.definition_hash
    found = await checkpoint_load_async(core.context.pool, "desk", deployed.key, core.account.epoch_id, version)
    return msgspec.msgpack.decode(found.body, type=dict[str, tuple[int, bytes]]) if found is not None else {}


async def _catch_up(parts: Parts, deployed: Deployed, restored: dict[int, int]) -> None:
    """Step what storage holds after the checkpoints, or from the anchors: up to the first hole.

    One question for what was restored, one for the rest: they begin far apart.
    """
    core, step_ns = parts.core, deployed.timeframe_ns
    fresh = [one for one in deployed.places if one not in restored]
    pool, epoch_id = core.context.pool, core.account.epoch_id
    if restored:
        await _step_stored(parts, deployed, list(restored), min(restored.values()) + step_ns)
    if fresh:
        newest = await bars_newest_open_async(pool, epoch_id, fresh, deployed.timeframe_s)
        if newest:
            await _step_stored(parts, deployed, fresh, max(newest.values()) - (HISTORY_BARS - 1) * step_ns)


async def _catch_up_last(parts: Parts, deployed: Deployed) -> None:
    """Step what was stored since, of all instruments at once."""
    known = [place.newest_ns for place in deployed.places.values() if place.newest_ns]
    start_ns = min(known) + deployed.timeframe_ns if known else 0
    await _step_stored(parts, deployed, list(deployed.places), start_ns)


async def _step_stored(parts: Parts, deployed: Deployed, instruments: list[int], start_ns: int) -> None:
    """Step the stored bars of several instruments from a time on, each from where it stands, up to its first hole.

    A hole behind which bars are stored already is noted: nobody waits for the next one to see it.
    """
    core = parts.core
    bars = await bars_read_many_async(
        core.context.pool, core.account.epoch_id, instruments, deployed.timeframe_s, max(start_ns, 0), FAR_NS
    )
    for instrument_id in instruments:
        newest_ns = deployed.places[instrument_id].newest_ns
        own = bars[(bars["instrument_id"] == instrument_id) & (bars["open_ns"] > newest_ns)]
        if len(own):
            deployed.take(instrument_id, own[_whole(own["open_ns"], deployed.timeframe_ns, newest_ns or None)])
            stored_ns = int(own["open_ns"][-1])
            if stored_ns > deployed.places[instrument_id].newest_ns:
                deployed.given([(instrument_id, stored_ns)])
                parts.decider.follower.holes.note(deployed, instrument_id)


def _whole(open_ns, step_ns: int, newest_ns: int | None) -> slice:
    """The span without a hole: after a checkpoint the first one, from an anchor the last one."""
    breaks = [index + 1 for index in (open_ns[1:] - open_ns[:-1] != step_ns).nonzero()[0].tolist()]
    if newest_ns is None:
        return slice(breaks[-1] if breaks else 0, len(open_ns))
    if int(open_ns[0]) != newest_ns + step_ns:
        return slice(0, 0)
    return slice(0, breaks[0] if breaks else len(open_ns))


def _warm(deployed: Deployed) -> int:
    """How many instruments have complete features."""
    taken = [deployed.pipeline.bars_taken(place.index) for place in deployed.places.values()]
    return sum(1 for bars in taken if bars >= deployed.pipeline.warm_up)


async def follow(parts: Parts) -> None:
    """Follow changes: told by the log topics, and looked for every 2 s in case the bus is gone; and mend holes."""
    changed = asyncio.Event()
    for topic in TOPICS:
        parts.core.spawn(_listen(parts, topic, changed), f"log {topic}")
    while True:
        try:
            async with asyncio.timeout(POLL_S):
                await changed.wait()
        except TimeoutError:
            pass
        changed.clear()
        try:
            await refresh(parts)
            await parts.decider.mend()
        except DATABASE_ERRORS as error:
            parts.core.block(Blocker.DATABASE, f"deployments, limits and missing bars cannot be read: {error}"[:200])
            log.warning("deployments, limits and missing bars not read", error=str(error)[:200])


async def _listen(parts: Parts, topic: str, changed: asyncio.Event) -> None:
    while True:
        try:
            async for _, _message in parts.core.bus.log_read(topic):
                (parts.commands.look if topic == "commands" else changed.set)()
        except LogGap:
            changed.set()
