"""Which market the simulator runs: what `up --market …` says, and how it is started and moved on."""

import json
import urllib.error
import urllib.request
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from trader.runtime.errors import StartError

CONTROL_TIMEOUT_S = 5.0
SEED = 7


def arguments_add(parser: ArgumentParser) -> None:
    """Declare the options of the market."""
    group = parser.add_argument_group("market")
    group.add_argument("--market", choices=["synthetic", "replay", "none"], default="synthetic",
                       help="synthetic prices, recorded ones, or no simulator at all")  # fmt: skip
    group.add_argument("--seed", type=int, help=f"synthetic: the seed (default {SEED})")
    group.add_argument("--data", metavar="DIR", help="replay: folder of recorded files (Parquet or CSV)")
    group.add_argument("--symbols", metavar="FILE=SYMBOL,…", help="replay: which file is which symbol")
    group.add_argument("--from", dest="start", metavar="TIME", help="replay: start, UTC; default: latest shared span")
    group.add_argument("--to", dest="end", metavar="TIME", help="replay: end, UTC")
    group.add_argument("--speed", default="1", help="market seconds a second; a replay also `max` (paced by the desk)")
    group.add_argument("--terms", metavar="SYMBOL=TICK:LOT,…", help="replay: tick and lot instead of the files' own")
    group.add_argument("--book-share", type=float, metavar="SHARE",
                       help="replay: part of a minute's volume in the best five levels (default 0.1)")  # fmt: skip
    group.add_argument("--new-epoch", action="store_true", help="begin another epoch instead of resuming")


def parameters_of(options: Namespace) -> dict[str, Any]:
    """Return what makes this market, in a form that is equal when the market is the same."""
    if options.market == "none":
        return {"kind": "none"}
    if options.market == "synthetic":
        _refuse_replay_options(options)
        if options.speed != "1":
            _positive_speed(options.speed)
        return {"kind": "synthetic", "seed": SEED if options.seed is None else options.seed}
    if options.seed is not None:
        raise StartError("--seed: only the synthetic market takes this.", "leave it out: a replay has recorded prices.")
    if not options.data or not options.symbols:
        raise StartError(
            "`--market replay` needs --data and --symbols.",
            "for example: --data DIR --symbols coinbase_BTCUSD_1m=BTC/USDT",
        )
    folder = Path(options.data).resolve()
    if not folder.is_dir():
        raise StartError(f"--data {options.data} is no folder.", "give the folder that holds the recorded files.")
    if options.speed != "max":
        _positive_speed(options.speed)
    return {
        "kind": "replay", "data": str(folder), "symbols": options.symbols, "from": options.start,
        "to": options.end, "terms": options.terms, "book_share": _book_share(options.book_share),
    }  # fmt: skip


def simulator_arguments(market: dict[str, Any], speed: str) -> list[str]:
    """Return the options of `manage.py simulate` for this market."""
    if market["kind"] == "synthetic":
        return ["--market", "synthetic", "--seed", str(market["seed"]), "--speed", speed]
    arguments = ["--market", "replay", "--data", market["data"], "--symbols", market["symbols"], "--paused"]
    for option in ("from", "to", "terms", "book_share"):
        if market.get(option):
            arguments += [f"--{option.replace('_', '-')}", str(market[option])]
    return [*arguments, "--speed", "1000" if speed == "max" else speed]


def _refuse_replay_options(options: Namespace) -> None:
    names = {"data": "data", "symbols": "symbols", "from": "start", "to": "end", "terms": "terms"}
    names["book-share"] = "book_share"
    given = [f"--{name}" for name, attribute in names.items() if getattr(options, attribute)]
    if given:
        raise StartError(f"{', '.join(given)}: only a replay takes this.", "add --market replay, or leave it out.")


def _book_share(share: float | None) -> float | None:
    if share is not None and not 0 < share <= 1:
        raise StartError(f"--book-share {share}: expected a share above 0, at most 1.", "for example: --book-share 0.2")
    return share


def _positive_speed(text: str) -> None:
    try:
        ok = 0 < float(text) <= 1000
    except ValueError:
        ok = False
    if not ok:
        raise StartError(f"--speed {text}: expected a number from above 0 to 1000, or max.", "for example: --speed 60")


class Control:
    """The simulator's control address."""

    def __init__(self, url: str, state_dir: Path) -> None:
        self.url = url
        self._token_file = state_dir / "control.token"

    def clock(self) -> dict[str, Any] | None:
        """Return the market's clock, None while the simulator does not answer."""
        return self._call("GET", "/clock", None)

    def market(self, **body: Any) -> dict[str, Any] | None:
        """Pause, resume, step or run the market until a time; None if the simulator does not answer."""
        return self._call("POST", "/market", body)

    def _call(self, method: str, path: str, body: dict[str, Any] | None) -> dict[str, Any] | None:
        try:
            request = urllib.request.Request(
                self.url + path,
                method=method,
                data=None if body is None else json.dumps(body).encode(),
                headers={
                    "Authorization": f"Bearer {self._token_file.read_text().strip()}",
                    "Content-Type": "application/json",
                },
            )
            with urllib.request.urlopen(request, timeout=CONTROL_TIMEOUT_S) as answer:
                return dict(json.loads(answer.read() or b"{}"))
        except (OSError, ValueError, urllib.error.URLError):
            return None
