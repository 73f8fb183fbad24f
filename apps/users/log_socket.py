"""The socket of programs: every message of the log topics, by number, behind a token.

The hub hands messages on as it does to pages. What a program missed comes from the outbox first, up to where the hub's
stream goes on, so that resuming by number leaves nothing out for as long as the outbox keeps its rows.
"""

import asyncio
import functools
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
from channels.exceptions import StopConsumer
from channels.generic.websocket import AsyncWebsocketConsumer
from django.db import DatabaseError, InterfaceError, close_old_connections

from apps.common.bus import LOG_KEY, stream_last
from apps.common.consumers import BAD_MESSAGE, FOREIGN_ORIGIN, MESSAGE_BYTES, SIGNED_OUT, origin_allowed
from apps.common.errors import CommonError, TopicUnknown
from apps.common.hub.core import hub_current
from apps.common.hub.feeds import Client
from apps.common.hub.frames import Frame, json_bytes, log_part, parts_frame, refused_frame
from apps.common.hub.registry import hub_topic, user_may
from apps.common.hub.writers import Writer, writer_of
from apps.common.outbox import outbox_read
from apps.common.redis_clients import BUS_ERRORS
from apps.users import tokens
from apps.users.models import Scope
from apps.users.tokens import Holder, TokenRefused

TRY_AGAIN = 1013
FORBIDDEN = 4403
FIRST_FRAME_S = 10.0
PAGE = 500  # messages read at once
UNSENT_BYTES = 262_144
LOOK_S = 0.02
STUCK_S = 30.0
REASON_BYTES = 123  # what a close frame holds
READ_S = 5.0
# threads of their own: a question that a frozen database does not answer must not keep others waiting
_threads = ThreadPoolExecutor(2, thread_name_prefix="api-log")


class Introduce(msgspec.Struct, forbid_unknown_fields=True, tag="auth", tag_field="op"):
    """A program's first frame, where its library sets no headers."""

    token: str


class Follow(msgspec.Struct, forbid_unknown_fields=True, tag="sub", tag_field="op"):
    """Topics to follow, each from a number on (`since`), or from a snapshot on."""

    topics: list[str]
    since: dict[str, int] = {}


class Leave(msgspec.Struct, forbid_unknown_fields=True, tag="unsub", tag_field="op"):
    """Topics to leave."""

    topics: list[str]


_decoder = msgspec.json.Decoder(Introduce | Follow | Leave)


class PlainWriter:
    """Passes the hub's frames on without the rows' HTML, which is for pages."""

    def __init__(self, inner: Writer) -> None:
        self.inner = inner
        self.unsent, self.close, self.abort = inner.unsent, inner.close, inner.abort

    def write(self, frame: Frame) -> None:
        """Hand a frame over; never waits."""
        self.inner.write(_plain(frame.text))


@functools.lru_cache(maxsize=64)
def _plain(text: bytes) -> Frame:
    found = msgspec.json.decode(text)
    for part in found if isinstance(found, list) else [found]:
        part.pop("html", None)
    return Frame(json_bytes(found))


class LogConsumer(AsyncWebsocketConsumer):
    """Admits tokens with the scope `read`, by header or first frame, and follows log topics for them."""

    channel_layer_alias = None  # nothing comes to it by the channel layer
    client: Client | None = None
    _ends: asyncio.TimerHandle | None = None

    async def connect(self) -> None:
        """Accept; a foreign Origin is refused (a program sends none), and so is a token that does not work."""
        headers = dict(self.scope.get("headers", []))
        if b"origin" in headers and not origin_allowed(self.scope):
            await self.close(FOREIGN_ORIGIN)
            return
        self._followed: dict[str, asyncio.Task[None]] = {}
        kind, _, text = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        if kind.lower() != "bearer":
            await self.accept()
            self._end_in(FIRST_FRAME_S)
            return
        holder = await self._holder(text.strip())
        if holder is not None:
            await self.accept()
            self._begin(holder)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Take one request; what does not fit closes the socket with 4400 and the reason."""
        try:
            if text_data is None or len(text_data) > MESSAGE_BYTES:
                raise msgspec.ValidationError(f"text of at most {MESSAGE_BYTES} bytes is expected")
            ask = _decoder.decode(text_data)
        except (msgspec.DecodeError, UnicodeError) as error:
            await self._close(BAD_MESSAGE, str(error))
            return
        if isinstance(ask, Introduce):
            await self._introduced(ask)
        elif self.client is None:
            await self._close(SIGNED_OUT, 'send {"op": "auth", "token": …} first')
        elif isinstance(ask, Follow):
            for topic in dict.fromkeys(ask.topics):
                self._stop_following(topic)
                self._followed[topic] = asyncio.create_task(self._follow(self.client, topic, ask.since.get(topic)))
        else:
            for topic in ask.topics:
                self._stop_following(topic)
            hub_current().unsubscribe(self.client, ask.topics)

    async def websocket_disconnect(self, message: dict[str, Any]) -> None:
        """Leave the hub."""
        if self._ends is not None:
            self._ends.cancel()
        for topic in list(self._followed):
            self._stop_following(topic)
        if self.client is not None:
            hub_current().leave(self.client)
        raise StopConsumer

    async def _introduced(self, ask: Introduce) -> None:
        if self.client is not None:
            await self._close(BAD_MESSAGE, "the token was given already")
            return
        holder = await self._holder(ask.token)
        if holder is not None:
            self._begin(holder)

    async def _holder(self, text: str) -> Holder | None:
        """Return whoever the token speaks for, or close the socket with the reason."""
        try:
            holder = await tokens.token_check_async(text)
        except TokenRefused as refused:
            await self._close(SIGNED_OUT, str(refused))
            return None
        except tokens.DATABASE_GONE:
            await self._close(TRY_AGAIN, "The database does not answer: try again in a moment.")
            return None
        words = tokens.scope_missing(holder.token, Scope.READ) or tokens.role_missing(holder.person, Scope.READ)
        if words:
            await self._close(FORBIDDEN, words)
            return None
        return holder

    def _begin(self, holder: Holder) -> None:
        self._end_in(holder.token.expires_s - time.time())
        self.client = hub_current().join(holder, PlainWriter(writer_of(self.base_send)))

    def _end_in(self, seconds: float) -> None:
        """Close the socket then: nobody said who they are, or their token is over."""
        if self._ends is not None:
            self._ends.cancel()
        loop = asyncio.get_running_loop()
        self._ends = loop.call_later(max(0.0, seconds), lambda: writer_of(self.base_send).close(SIGNED_OUT))

    async def _close(self, code: int, reason: str) -> None:
        await self.close(code, reason.encode()[:REASON_BYTES].decode(errors="ignore"))

    def _stop_following(self, topic: str) -> None:
        task = self._followed.pop(topic, None)
        if task is not None:
            task.cancel()

    async def _follow(self, client: Client, topic: str, since: int | None) -> None:
        """Bring a program up to where the hub's stream goes on, then let the hub hand on what comes."""
        hub = hub_current()
        if not _is_log(topic):
            client.writer.write(refused_frame(topic, "this socket has the log topics; prices are for pages"))
            return
        if since is not None and user_may(client.user, hub_topic(topic).permission):
            try:
                last = await stream_last(hub.room.redis, LOG_KEY + topic)
                since = await self._catch_up(client.writer, topic, since, last)
            except BUS_ERRORS:
                pass  # the hub begins when the bus is back
            except (DatabaseError, InterfaceError, CommonError, TimeoutError) as error:
                client.writer.write(refused_frame(topic, f"what was missed cannot be read, ask again: {error}"[:200]))
                return
        await hub.subscribe(client, [topic], {} if since is None else {topic: since})

    async def _catch_up(self, writer: Writer, topic: str, since: int, last: int) -> int:
        """Send what follows `since` up to `last`; return the number that the program has then."""
        while since < last:
            await _until_sent(writer)
            async with asyncio.timeout(READ_S):
                found = await asyncio.get_running_loop().run_in_executor(_threads, _outbox_page, topic, since)
            parts = [log_part(topic, number, message, None) for number, message in found if number <= last]
            if not parts:
                return since
            if found[0][0] != since + 1:  # older rows than the outbox keeps
                writer.write(Frame(json_bytes({"k": "gap", "t": topic, "after": since, "next": found[0][0]})))
            writer.write(parts_frame(parts))
            since = min(found[-1][0], last)
        return since


def _is_log(topic: str) -> bool:
    try:
        return hub_topic(topic).kind == "log"
    except TopicUnknown:
        return True  # the hub says that there is none


def _outbox_page(topic: str, after: int) -> list[tuple[int, Any]]:
    close_old_connections()
    try:
        return outbox_read(topic, after, PAGE)
    finally:
        close_old_connections()


async def _until_sent(writer: Writer) -> None:
    """Wait until a program has taken most of what it was sent; drop one that takes nothing for long."""
    began, left = time.monotonic(), writer.unsent()
    while writer.unsent() > UNSENT_BYTES:
        await asyncio.sleep(LOOK_S)
        if writer.unsent() < left:
            began, left = time.monotonic(), writer.unsent()
        if time.monotonic() - began > STUCK_S:
            writer.abort()
            raise asyncio.CancelledError
