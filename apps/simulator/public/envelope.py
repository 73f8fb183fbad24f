"""The answer of every public request: Bybit's envelope, and its words for a wrong one."""

from __future__ import annotations

from typing import Any

import orjson
from aiohttp import web

BAD_REQUEST = 10001


class RequestError(Exception):
    """A request that is refused with 10001."""


def answer(result: Any, wall_ns: int, code: int = 0, message: str = "OK") -> web.Response:
    """Return the envelope; its `time` is the venue's wall clock in milliseconds."""
    body = {
        "retCode": code,
        "retMsg": message,
        "result": result,
        "retExtInfo": {},
        "time": wall_ns // 1_000_000,
    }
    return web.Response(body=orjson.dumps(body), content_type="application/json", charset="utf-8")
