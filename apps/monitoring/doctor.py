"""What `manage.py doctor` asks of the application: schema, kill switch, residents, a round trip through each queue."""

import secrets
import time
from collections.abc import Iterator

import redis
from django.conf import settings
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.utils.module_loading import import_string
from kombu.exceptions import OperationalError

from apps.common.enqueue import APPLICATION
from apps.common.redis_clients import sync_client
from apps.common.residents import residents_registered
from apps.monitoring.selectors import residents_now
from apps.risk.selectors import kill_states
from trader.runtime.checkup import BAD, GOOD, WARN, Finding
from trader.runtime.stack import QUEUES

ECHO = "monitoring.echo"
ECHO_KEY = "qd:doctor:{nonce}:{queue}"
ECHO_KEPT_S = 60
LOOK_S = 0.05
WELL = ("ready", "trading", "killed")


def application_checkup(wait_s: float) -> Iterator[Finding]:
    """Yield how the application is; `wait_s`: how long a queue may take to answer."""
    yield _schema()
    yield from _kill_switch()
    yield from _residents()
    yield from _queues(wait_s)


def echo_answer(nonce: str, queue: str) -> None:
    """Write, from a worker, that this queue's message has arrived."""
    sync_client(settings.REDIS_URL).set(ECHO_KEY.format(nonce=nonce, queue=queue), time.time(), ex=ECHO_KEPT_S)


def _schema() -> Finding:
    try:
        executor = MigrationExecutor(connection)
        plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
        newer = sorted(set(executor.loader.applied_migrations) - set(executor.loader.disk_migrations))
    except DatabaseError as error:
        return Finding("schema", BAD, f"cannot be read ({type(error).__name__})", "start the database")
    ours = [f"{app}.{name}" for app, name in newer if app in {kind[0] for kind in executor.loader.disk_migrations}]
    if ours:
        return Finding("schema", BAD, f"has changes that this version does not know: {', '.join(ours)}",
                       "run the version that made them, or restore a backup of this one")  # fmt: skip
    if plan:
        return Finding("schema", BAD, f"{len(plan)} changes are not applied", "manage.py migrate; `up` does it")
    return Finding("schema", GOOD, "of this version")


def _kill_switch() -> Iterator[Finding]:
    for scope, state in sorted(kill_states().items()):
        name = f"kill switch {scope}"
        if state.state == "clear":
            yield Finding(name, GOOD, "clear in all three records")
        elif state.state == "engaged":
            yield Finding(name, WARN, f"engaged: {state.why}", "release it when it is safe to go on")
        else:
            fix = "bring back the server that is named, and it clears by itself; of a lost record it says what to do"
            yield Finding(name, BAD, f"unclear, so new risk is blocked: {state.why}", fix)


def _residents() -> Iterator[Finding]:
    try:
        held = {(row.kind, row.key): row for row in residents_now() if row.is_held}
        wanted = [(kind.kind, key) for kind in residents_registered() for key in kind.keys_now()]
    except DatabaseError as error:
        yield Finding("residents", BAD, f"cannot be read ({type(error).__name__})", "start the database")
        return
    for kind, key in wanted:
        row = held.get((kind, key))
        if row is None:
            yield Finding(f"{kind} {key}", BAD, "runs nowhere", "see that its worker runs: manage.py status")
        elif row.state not in WELL:
            yield Finding(
                f"{kind} {key}", WARN, f"{row.state or 'starting'}, on {row.holder}", "see the Operations page"
            )
        else:
            yield Finding(f"{kind} {key}", GOOD, f"{row.state}, on {row.holder}")


def _queues(wait_s: float) -> Iterator[Finding]:
    """Send a message through every queue at once, and see which come out at the other end."""
    nonce, began = secrets.token_hex(8), time.monotonic()
    try:
        for queue in QUEUES:
            import_string(APPLICATION).send_task(
                ECHO, args=(nonce, queue), queue=queue, expires=wait_s, retry=False, ignore_result=True
            )
        took = _echoes(nonce, began, wait_s)
    except (OperationalError, redis.RedisError, OSError) as error:
        yield Finding("queues", BAD, f"the bus does not answer ({type(error).__name__})", "start it; check REDIS_URL")
        return
    for queue in QUEUES:
        if queue in took:
            yield Finding(f"queue {queue}", GOOD, f"there and back in {took[queue] * 1e3:.0f} ms")
        else:
            yield Finding(f"queue {queue}", BAD, f"no answer within {wait_s:g} s",
                          f"see that worker-{queue} runs (manage.py status); busy with long work it answers later: "
                          "--wait 600")  # fmt: skip


def _echoes(nonce: str, began: float, wait_s: float) -> dict[str, float]:
    client = sync_client(settings.REDIS_URL)
    took: dict[str, float] = {}
    while len(took) < len(QUEUES) and time.monotonic() - began < wait_s:
        left = [queue for queue in QUEUES if queue not in took]
        found: list[bytes | None] = client.mget([ECHO_KEY.format(nonce=nonce, queue=queue) for queue in left])  # type: ignore[assignment]
        took |= {queue: time.monotonic() - began for queue, text in zip(left, found, strict=True) if text}
        time.sleep(LOOK_S)
    return took
