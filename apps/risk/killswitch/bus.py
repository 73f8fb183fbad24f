"""The kill switch's record on the bus: a hash scope -> JSON in Redis or Valkey, written by one atomic script."""

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any

import msgspec
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from apps.risk.killswitch.places import Engage, PlaceError, RecordBroken
from apps.risk.killswitch.records import Record

KEY = "qd:kill"
CHANNEL = "qd:kill:changed"

# ARGV: scope, least generation, the record's JSON before and after its generation. Lua's numbers are doubles,
# so only the generation is ever parsed; a record that cannot be parsed counts as generation 0.
_OWN = """
local raw = redis.call('HGET', KEYS[1], ARGV[1])
local own, engaged, flattens = 0, false, false
if raw then
  local ok, record = pcall(cjson.decode, raw)
  if ok and type(record) == 'table' and type(record.generation) == 'number' then
    own, engaged = record.generation, record.state == 'engaged'
    flattens = engaged and record.flatten == true
  end
end
"""
_WRITE = """
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3] .. string.format('%d', generation) .. after)
redis.call('PUBLISH', KEYS[2], ARGV[1])
"""
# ARGV[5]: the second half of a record that flattens, for where one that does is engaged already
ENGAGE = (
    _OWN
    + """
local generation = math.max(own + 1, tonumber(ARGV[2]))
local after = flattens and ARGV[5] or ARGV[4]
"""
    + _WRITE
    + "return {generation, flattens and 1 or 0}"
)
PUT = (
    _OWN
    + """
local generation, after = tonumber(ARGV[2]), ARGV[4]
if generation < own or (generation == own and engaged and ARGV[5] == 'clear') then return 0 end
"""
    + _WRITE
    + "return generation"
)


class BusPlace:
    """The hash `qd:kill`; every write is told on the channel `qd:kill:changed`."""

    name = "bus"

    def __init__(self, url: str, timeout_s: float = 1.0) -> None:
        self._url, self._timeout_s = url, timeout_s
        self._client: Redis = Redis.from_url(
            url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s, retry=Retry(NoBackoff(), 0),
            retry_on_timeout=False, retry_on_error=[], health_check_interval=0,
        )  # fmt: skip
        self._push: PubSub | None = None
        self._seen: tuple[dict[bytes, bytes], Mapping[str, Record]] | None = None

    async def read(self) -> Mapping[str, Record]:
        """Return all records by scope."""
        raw = await self._answer(self._client.hgetall(KEY))
        if self._seen is None or self._seen[0] != raw:
            self._seen = (raw, {scope.decode(): _decode(scope.decode(), text) for scope, text in raw.items()})
        return self._seen[1]

    async def engage(self, wish: Engage) -> Record:
        """Write an engaged record of the next generation and tell all readers."""
        before, after = _halves(wish.record(1))
        _, flattening = _halves(wish.record(1, flattens=True))
        generation, flattens = await self._script(ENGAGE, wish.scope, wish.generation, before, after, flattening)
        return wish.record(int(generation), flattens=bool(flattens))

    async def put(self, record: Record) -> bool:
        """Write `record` unless something of a higher rank is there."""
        before, after = _halves(record)
        return bool(await self._script(PUT, record.scope, record.generation, before, after, record.state))

    async def wait(self, timeout_s: float) -> None:
        """Return when the channel speaks, or after `timeout_s`."""
        started = asyncio.get_running_loop().time()
        try:
            await self._listen(timeout_s)
        except (RedisError, OSError, TimeoutError):
            await self._push_drop()
            left = timeout_s - (asyncio.get_running_loop().time() - started)
            await asyncio.sleep(max(0.0, left))

    async def close(self) -> None:
        """Close both connections."""
        await self._push_drop()
        with contextlib.suppress(RedisError, OSError):
            await self._client.aclose()

    def twin(self) -> "BusPlace":
        """Return the same place with connections of its own."""
        return BusPlace(self._url, self._timeout_s)

    async def _listen(self, timeout_s: float) -> None:
        if self._push is None:
            self._push = self._client.pubsub()
            async with asyncio.timeout(self._timeout_s):
                await self._push.subscribe(CHANNEL)
        await self._push.get_message(timeout=timeout_s)

    async def _push_drop(self) -> None:
        push, self._push = self._push, None
        if push is not None:
            with contextlib.suppress(RedisError, OSError):
                await push.aclose()

    async def _script(self, script: str, scope: str, generation: int, *rest: str) -> Any:
        return await self._answer(self._client.eval(script, 2, KEY, CHANNEL, scope, generation, *rest))

    async def _answer(self, command: Any) -> Any:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await command
        except TimeoutError as error:
            raise PlaceError(f"no answer within {self._timeout_s} s") from error
        except (RedisError, OSError) as error:
            raise PlaceError(str(error) or type(error).__name__) from error


def _halves(record: Record) -> tuple[str, str]:
    """Return the record's JSON before and after its generation, which the script fills in."""
    body = msgspec.to_builtins(record)
    del body["generation"]
    text = msgspec.json.encode(body).decode()
    return '{"generation":', "," + text[1:]


def _decode(scope: str, text: bytes) -> Record:
    try:
        record = msgspec.json.decode(text, type=Record)
    except msgspec.DecodeError as error:
        raise RecordBroken(f"the record of {scope} cannot be understood ({error})") from error
    if record.scope != scope:
        raise RecordBroken(f"the record under {scope} is that of {record.scope}")
    return record
