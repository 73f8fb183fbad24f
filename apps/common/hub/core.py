"""The hub of one process: who asked for what, and what each still has to get."""

import asyncio
import logging
import time
from collections.abc import Iterable
from typing import Any
from weakref import WeakKeyDictionary

from django.conf import settings

from apps.common.bus import LOG_KEY, STATE_CHANNEL
from apps.common.clocks import wall_ns
from apps.common.errors import TopicUnknown
from apps.common.hub.feeds import Client
from apps.common.hub.frames import ping_frame
from apps.common.hub.listener import Listener
from apps.common.hub.logs import Logs
from apps.common.hub.registry import hub_topic, user_may
from apps.common.hub.room import Room
from apps.common.hub.states import States
from apps.common.hub.writers import Writer
from apps.common.redis_clients import BUS_ERRORS, sync_client
from trader.config import config

PING_S = 2.0
SLOW_LOOK_S = 0.1
STUCK_S = 30.0  # a socket that takes nothing for this long is dropped
PEOPLE_CHANNEL = "qd:people"
SIGNED_OUT = 4401

logger = logging.getLogger(__name__)


class Hub:
    """Hands the bus's topics to browsers. Lives on one event loop; not thread-safe."""

    def __init__(self, redis_url: str) -> None:
        self.room = Room(redis_url)
        self.listener = Listener(redis_url, self._heard, self._connected)
        self.listener.channels.add(PEOPLE_CHANNEL)
        self.states = States(self.room, self.listener)
        self.logs = Logs(self.room, self.listener)

    def start(self) -> None:
        """Start listening and sending."""
        for work in (self.listener.run, self.states.send, self.logs.send, self._ping, self._look_at_slow):
            self.room.spawn(work())

    async def close(self) -> None:
        """Stop everything; sockets are left to their server."""
        await self.room.close()
        self.logs.snapshots.close()

    def join(self, user: Any, writer: Writer) -> Client:
        """Add a browser's socket."""
        client = Client(user, writer)
        self.room.clients.add(client)
        return client

    def leave(self, client: Client) -> None:
        """Forget a socket."""
        self.room.clients.discard(client)
        self.room.slow.discard(client)
        self._drop(client, [*client.states, *client.logs, *client.behind])

    async def subscribe(self, client: Client, topics: Iterable[str], since: dict[str, int] | None = None) -> None:
        """Add topics; what may not be seen or does not exist is answered with a reason."""
        allowed: list[str] = []
        taken = client.topics  # grows with each that is allowed: one message may name thousands
        for topic in dict.fromkeys(topics):
            if self._allowed(client, topic, taken):
                allowed.append(topic)
                taken.add(topic)
        await self.states.subscribe(client, [topic for topic in allowed if hub_topic(topic).kind == "state"])
        await self.logs.subscribe(client, [topic for topic in allowed if hub_topic(topic).kind == "log"], since or {})

    def unsubscribe(self, client: Client, topics: Iterable[str]) -> None:
        """Take topics away."""
        self._drop(client, list(topics))

    def _allowed(self, client: Client, topic: str, taken: set[str]) -> bool:
        try:
            needed = hub_topic(topic).permission
        except TopicUnknown as error:
            self.room.refuse(client, topic, str(error))
            return False
        if not user_may(client.user, needed):
            self.room.refuse(client, topic, f"this needs the role {needed}")
            return False
        if topic not in taken and len(taken) >= config.hub.topics_per_client:
            self.room.refuse(client, topic, f"{config.hub.topics_per_client} topics at most")
            return False
        return True

    def _drop(self, client: Client, topics: list[str]) -> None:
        unused = self.states.drop(client, topics) + self.logs.drop(client, topics)
        if unused:
            self.room.spawn(self._leave_channels(unused))

    async def _leave_channels(self, channels: list[str]) -> None:
        used = {STATE_CHANNEL + topic for topic in self.states.feeds} | {LOG_KEY + topic for topic in self.logs.feeds}
        await self.listener.remove(set(channels) - used)

    def _heard(self, channel: str, data: bytes) -> None:
        if channel.startswith(STATE_CHANNEL):
            self.states.heard(channel.removeprefix(STATE_CHANNEL), data)
        elif channel.startswith(LOG_KEY):
            number, _, body = data.partition(b" ")
            self.logs.heard(channel.removeprefix(LOG_KEY), int(number), body)
        elif channel == PEOPLE_CHANNEL:
            self._person_changed(data.decode())

    def _connected(self) -> None:
        self.room.spawn(self.states.fetch(list(self.states.feeds)))
        self.logs.connected()

    def _person_changed(self, user_id: str) -> None:
        """Close the sockets of someone who signed out, or whose role changed: they come back by signing in."""
        for client in [client for client in self.room.clients if str(getattr(client.user, "id", "")) == user_id]:
            self.leave(client)
            client.writer.close(SIGNED_OUT)

    async def _ping(self) -> None:
        while True:
            await asyncio.sleep(PING_S)
            frame = ping_frame(wall_ns())
            for client in self.room.clients:
                if not client.writer.unsent():
                    client.writer.write(frame)

    async def _look_at_slow(self) -> None:
        """Bring browsers that fell behind up to date as soon as they have read what they were sent."""
        while True:
            await self.room.slow_due.wait()
            await asyncio.sleep(SLOW_LOOK_S)
            for client in list(self.room.slow):
                self._look_at(client, time.monotonic())
            if not self.room.slow:
                self.room.slow_due.clear()

    def _look_at(self, client: Client, now: float) -> None:
        if client.writer.unsent():
            client.stuck_since = client.stuck_since or now
            if now - client.stuck_since > STUCK_S:
                logger.warning("a socket that took nothing for %.0f s is dropped", STUCK_S)
                self.leave(client)
                client.writer.abort()
            return
        client.stuck_since = None
        if not client.dirty and not client.behind:
            self.room.slow.discard(client)
        if client.dirty:
            self.states.due()
        if client.behind and now >= client.retry_at:
            client.retry_at = now + PING_S
            self.room.spawn(self.logs.bring_up_all(client))


def hub_person_changed(user_id: int | str) -> None:
    """Close all sockets of a person in every web process: call it on sign-out, deactivation, a new role."""
    try:
        sync_client(settings.REDIS_URL).publish(PEOPLE_CHANNEL, str(user_id))
    except BUS_ERRORS as error:
        logger.warning("sockets of person %s are not closed, the bus is gone: %s", user_id, error)


_hubs: "WeakKeyDictionary[asyncio.AbstractEventLoop, Hub]" = WeakKeyDictionary()


def hub_current() -> Hub:
    """Return the hub of the running loop, starting it at the first call."""
    loop = asyncio.get_running_loop()
    if loop not in _hubs:
        _hubs[loop] = Hub(settings.REDIS_URL)
        _hubs[loop].start()
    return _hubs[loop]
