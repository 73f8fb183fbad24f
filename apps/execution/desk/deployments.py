"""Which deployments a desk runs, with features complete; followed as persons start, stop and change them."""

import asyncio
from collections.abc import Iterable

import msgspec
import structlog

from apps.common.checkpoints import checkpoint_load_async
from apps.common.errors import LogGap
from apps.execution.desk import renew
from apps.execution.desk.deployed import Deployed, deployed_make, members
from apps.execution.desk.parts import Parts
from apps.execution.desk.store import DATABASE_ERRORS
from apps.market.events import BarsClosed
from apps.market.selectors import bars_read_async
from apps.risk.selectors import HaltOpen, deployment_lineage, halts_of, limits_snapshot
from apps.strategies.selectors import DeploymentAtWork, deployments_at_work

log = structlog.get_logger(__name__)
POLL_S = 2.0
HISTORY_BARS = 20_000
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
    for key, row in rows.items():
        known = parts.decider.deployments.get(key)
        if known is None or known.row != row or known.members != members(row, core.books.markets):
            parts.decider.deployments[key] = await _built(parts, row)
    for key, deployed in parts.decider.deployments.items():
        parts.stops.distances[key] = deployed.stop_distance
    parts.sweeper.deployments = set(parts.decider.deployments)
    bars_follow(parts)


def bars_follow(parts: Parts) -> None:
    """Follow the bars of every timeframe that is wanted and not followed yet; a desk that stops begins nothing."""
    followed = {task.get_name() for task in parts.core.tasks}
    for timeframe_s in sorted(timeframes(parts)):
        if f"bars {timeframe_s}" not in followed and "stopping" not in parts.core.blocks:
            parts.core.spawn(_bars(parts, timeframe_s), f"bars {timeframe_s}")


async def _bars(parts: Parts, timeframe_s: int) -> None:
    """Take closed bars as they come, one batch after the other."""
    account = parts.core.account
    async for _, message in parts.core.bus.bars_read(f"{account.venue_code}.{timeframe_s}", after="$"):
        if isinstance(message, BarsClosed) and message.epoch_id == account.epoch_id and message.bars:
            await parts.decider.bars(message)


def _halts(parts: Parts, halts: list[HaltOpen], keys: Iterable[str]) -> None:
    """Take over the halts that stand: of deployments and their successors, and of the whole account."""
    of_owners = [halt for halt in halts if halt.deployment_key]
    parts.core.owner_blocks = {key: halt.detail for key in keys for halt in of_owners if halt.stops(key)}
    whole = [halt.detail for halt in halts if not halt.deployment_key]
    if whole:
        parts.core.block("halt", whole[0])
    else:
        parts.core.unblock("halt")


async def _built(parts: Parts, row: DeploymentAtWork) -> Deployed:
    """Build a deployment's pipeline and bring its features up to the newest stored bar."""
    core = parts.core
    held = {instrument_id for instrument_id, owner, _ in core.books.open_positions() if owner == row.key}
    deployed = await asyncio.to_thread(deployed_make, row, core.books.markets, held)
    states = await _checkpoint(parts, deployed)
    for instrument_id in deployed.places:
        newest_ns, body = states.get(str(instrument_id), (0, b""))
        is_restored = bool(body) and deployed.restore(instrument_id, newest_ns, body)
        await _catch_up(parts, deployed, instrument_id, newest_ns if is_restored else None)
    log.info("deployment at work", deployment=row.key, instruments=len(deployed.places), warm=_warm(deployed))
    return deployed


async def _checkpoint(parts: Parts, deployed: Deployed) -> dict[str, tuple[int, bytes]]:
    core = parts.core
    version = deployed.pipeline.definition_hash
    found = await checkpoint_load_async(core.context.pool, "desk", deployed.key, core.account.epoch_id, version)
    return msgspec.msgpack.decode(found.body, type=dict[str, tuple[int, bytes]]) if found is not None else {}


async def _catch_up(parts: Parts, deployed: Deployed, instrument_id: int, newest_ns: int | None) -> None:
    """Step what storage holds after the checkpoint, or from the anchor: up to the first hole."""
    core = parts.core
    start_ns = newest_ns + deployed.timeframe_ns if newest_ns else None
    bars = await bars_read_async(
        core.context.pool, core.account.epoch_id, instrument_id, deployed.timeframe_s, start_ns, limit=HISTORY_BARS
    )
    if not len(bars):
        return
    whole = _whole(bars["open_ns"], deployed.timeframe_ns, newest_ns)
    deployed.take(instrument_id, bars[whole])


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
    """Follow changes: told by the log topics, and looked for every 2 s in case the bus is gone."""
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
        except DATABASE_ERRORS as error:
            parts.core.block("database", f"deployments and limits cannot be read: {error}"[:200])
            log.warning("deployments and limits not read", error=str(error)[:200])


async def _listen(parts: Parts, topic: str, changed: asyncio.Event) -> None:
    while True:
        try:
            async for _, _message in parts.core.bus.log_read(topic):
                (parts.commands.look if topic == "commands" else changed.set)()
        except LogGap:
            changed.set()
