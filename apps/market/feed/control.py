"""What a simulated venue says of its market over its control address: running, paused, halted, ended."""

from pathlib import Path

import aiohttp
import msgspec
import structlog

log = structlog.get_logger(__name__)
TIMEOUT_S = 1.0


class ControlClock(msgspec.Struct):
    """The answer to `GET /clock`, as far as the feed cares; unknown fields are left alone."""

    market_ns: int = 0
    speed: float | str = 1.0  # "max": as fast as frames can be sent
    running: bool = True
    ended: bool = False
    mode: str = "real"
    halted: list[str] = []  # symbols; "*" is all

    @property
    def is_halted(self) -> bool:
        """Whether the whole market is halted."""
        return "*" in self.halted

    @property
    def speed_number(self) -> float:
        """The speed as a number; infinite for "max"."""
        return float("inf") if isinstance(self.speed, str) else self.speed


class Control:
    """Asks the control address; without one, or without an answer, it tells what it last knew."""

    def __init__(self, url: str, token_file: str, mode: str) -> None:
        self._url, self._token_file = url.rstrip("/"), token_file
        self._session: aiohttp.ClientSession | None = None
        self.newest = ControlClock(mode=mode)
        self.is_up = True

    async def ask(self) -> ControlClock:
        """Return the market's clock as the simulator tells it."""
        if not self._url:
            return self.newest
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S))
        try:
            async with self._session.get(f"{self._url}/clock", headers=self._headers()) as answer:
                answer.raise_for_status()
                self.newest = msgspec.json.decode(await answer.read(), type=ControlClock)
        except (OSError, aiohttp.ClientError, TimeoutError, msgspec.MsgspecError) as error:
            if self.is_up:
                log.info("feed.control_away", url=self._url, error=repr(error))
            self.is_up = False
        else:
            self.is_up = True
        return self.newest

    def _headers(self) -> dict[str, str]:
        """Read the token each time: a simulator that was started anew has another."""
        return {"Authorization": f"Bearer {Path(self._token_file).read_text().strip()}"}

    async def close(self) -> None:
        """Close the connection."""
        if self._session is not None:
            await self._session.close()
