"""`manage.py simulate` as a process: its addresses, options, errors, restart."""

import asyncio
import json
import math
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import ccxt
import ccxt.pro
import pytest

from apps.simulator.command import main, speed_parse

MINUTE_MS = 60_000
AT_MS = 1_522_800_000_000


@contextmanager
def _simulate(root: Path, state: Path, *options: str) -> Iterator[dict]:
    """Run the command; yield its addresses, its process and how to ask its control address."""
    command = [sys.executable, "manage.py", "simulate", "--port", "0", "--control-port", "0", "--state", str(state)]
    environment = {name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "REDIS_URL")}
    process = subprocess.Popen(
        [*command, *options], cwd=root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        line = process.stdout.readline()
        if not line:
            raise AssertionError(process.stderr.read())
        yield {**json.loads(line), "process": process, "state": state}
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(10)
        process.stdout.close()
        process.stderr.close()


def _control(venue: dict, path: str, body: dict | None = None) -> dict:
    token = (venue["state"] / "control.token").read_text().strip()
    request = urllib.request.Request(
        f"{venue['control']}{path}",
        data=json.dumps(body).encode() if body is not None else None,
        headers={"Authorization": f"Bearer {token}"},
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.loads(answer.read())


def _client(venue: dict, kind: type = ccxt.bybit, **more: object) -> ccxt.bybit:
    rest, socket = venue["rest"], venue["socket"]
    public = {kind: f"{socket}/v5/public/{kind}" for kind in ("spot", "linear", "inverse", "option")}
    api = {**dict.fromkeys(("spot", "futures", "v2", "public", "private"), rest), "ws": {"public": public}}
    return kind({"urls": {"api": api}, "enableRateLimit": False, **more})


def _file(folder: Path, name: str, minutes: int) -> None:
    rows = [
        f"{AT_MS + minute * MINUTE_MS},{10 + minute},{10.5 + minute},{9.5 + minute},{10.2 + minute},5.5"
        for minute in range(minutes)
    ]
    (folder / f"{name}.csv").write_text("ts,open,high,low,close,volume\n" + "\n".join(rows) + "\n")


@pytest.mark.stack
def test_it_listens_says_where_and_serves_public_and_private_requests(root, tmp_path):
    with _simulate(root, tmp_path / "s", "--key", "k", "--secret", "s") as venue:
        assert json.loads((tmp_path / "s" / "ready.json").read_text())["rest"] == venue["rest"]
        assert (tmp_path / "s").stat().st_mode & 0o777 == 0o700
        client = _client(venue, apiKey="k", secret="s")
        client.load_markets()
        assert client.fetch_ticker("BTC/USDT")["last"] > 0
        assert len(client.fetch_ohlcv("BTC/USDT:USDT", "1m", limit=1000)) == 1000
        assert client.fetch_balance()["USDT"]["free"] == 100_000
        clock = _control(venue, "/clock")
        assert (clock["mode"], clock["running"], clock["speed"]) == ("synthetic", True, 1.0)
        assert abs(clock["market_ns"] - time.time_ns()) < 2e9
        venue["process"].send_signal(signal.SIGTERM)
        assert venue["process"].wait(10) == 0


@pytest.mark.stack
def test_killed_and_started_again_the_synthetic_market_has_no_hole_and_the_same_past(root, tmp_path):
    with _simulate(root, tmp_path / "s", "--key", "k", "--secret", "s") as venue:
        before = _client(venue).fetch_ohlcv("ETH/USDT", "1m", limit=200)
        venue["process"].kill()
    with _simulate(root, tmp_path / "s", "--key", "k", "--secret", "s") as venue:
        after = _client(venue).fetch_ohlcv("ETH/USDT", "1m", limit=210)
    times = [row[0] for row in after]
    assert times == list(range(times[0], times[0] + len(times) * MINUTE_MS, MINUTE_MS))
    known = {row[0]: row for row in after}
    assert all(known[row[0]] == row for row in before[:-1])


@pytest.mark.stack
def test_a_paused_replay_stands_runs_until_ends_and_goes_on_from_where_it_stood(root, tmp_path):
    _file(tmp_path, "mine", 8)
    options = ("--market", "replay", "--data", str(tmp_path), "--symbols", "mine=BTC/USDT", "--paused", "--key", "k",
               "--secret", "s", "--speed", "max")  # fmt: skip
    with _simulate(root, tmp_path / "s", *options) as venue:
        clock = _control(venue, "/clock")
        assert (clock["running"], clock["market_ns"]) == (False, AT_MS * 10**6)
        assert clock["to_ns"] == (AT_MS + 8 * MINUTE_MS) * 10**6
        clock = _control(venue, "/market", {"until": (AT_MS + 3 * MINUTE_MS) * 10**6, "wait": True})
        assert (clock["running"], clock["market_ns"]) == (False, (AT_MS + 3 * MINUTE_MS) * 10**6)
        assert list(_client(venue).load_markets()) == ["BTC/USDT"]
        venue["process"].kill()
    with _simulate(root, tmp_path / "s", *options) as venue:
        assert _control(venue, "/clock")["market_ns"] == (AT_MS + 3 * MINUTE_MS) * 10**6
        clock = _control(venue, "/market", {"resume": True, "wait": True})
        assert (clock["running"], clock["ended"]) == (False, True)
        rows = _client(venue).fetch_ohlcv("BTC/USDT", "1m")
        expected = [[AT_MS + m * MINUTE_MS, 10 + m, 10.5 + m, 9.5 + m, 10.2 + m, 5.5] for m in range(8)]
        assert rows[:8] == [pytest.approx(row) for row in expected]
        assert not _control(venue, "/market", {"resume": True})["running"]
    other = tmp_path / "other"
    other.mkdir()
    _file(other, "mine", 5)
    with (
        pytest.raises(AssertionError, match="holds another replay"),
        _simulate(root, tmp_path / "s", *options[:3], str(other), *options[4:]),
    ):
        pass


@pytest.mark.stack
async def test_ccxt_pro_follows_a_replay_through_the_whole_exchange(root, tmp_path):
    _file(tmp_path, "mine", 4)
    options = ("--market", "replay", "--data", str(tmp_path), "--symbols", "mine=BTC/USDT", "--paused", "--key", "k",
               "--secret", "s")  # fmt: skip
    with _simulate(root, tmp_path / "s", *options) as venue:
        client = _client(venue, ccxt.pro.bybit)
        try:
            await client.load_markets()
            trades = asyncio.create_task(client.watch_trades("BTC/USDT"))
            book = await client.watch_order_book("BTC/USDT", 50)
            assert book["bids"][0][0] < 10 <= book["asks"][0][0]
            await client.watch_ticker("BTC/USDT")  # asked for after the trades, so those are followed by now
            token = (venue["state"] / "control.token").read_text().strip()
            async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as session:
                await session.post(f"{venue['control']}/market", json={"step": 1, "wait": True})
                answer = await session.get(f"{venue['control']}/ledger?kind=frame")
                rows = [json.loads(line) for line in (await answer.text()).splitlines()]
            async with asyncio.timeout(60):
                await trades  # of the first frame; a minute's prints may come in several, some before the next question
                while client.trades["BTC/USDT"][-1]["price"] != pytest.approx(10.2):
                    await asyncio.sleep(0.01)
        finally:
            await client.close()
    assert [(row["topic"], row["category"]) for row in rows] == [("publicTrade.BTCUSDT", "spot")]
    assert rows[0]["body"]["data"][-1]["p"] == "10.2"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--market", "replay"], "--market replay needs --data"),
        (["--market", "replay", "--data", "{tmp}"], "--symbols is missing"),
        (["--market", "replay", "--data", "{tmp}", "--symbols", "no=BTC/USDT"], "no file no.parquet"),
        (
            ["--market", "replay", "--data", "{tmp}", "--symbols", "bad=BTC/USDT"],
            "row 1, column `close`: x; expected",
        ),
        (
            ["--market", "replay", "--data", "{tmp}", "--symbols", "bad=BTC/USDT", "--book-share", "2"],
            "--book-share 2.0",
        ),
    ],
)
def test_what_is_wrong_is_said_in_one_line_and_nothing_starts(tmp_path, capsys, options, words):
    (tmp_path / "bad.csv").write_text("ts,open,high,low,close,volume\n2018-04-04T00:00,1,2,0.5,x,3\n")
    state = ["--state", str(tmp_path / "s"), "--port", "0", "--control-port", "0", "--key", "k", "--secret", "s"]
    assert main([*state, *(option.replace("{tmp}", str(tmp_path)) for option in options)]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("simulate: ") == 1


def test_a_port_in_use_is_said(tmp_path, capsys):
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        code = main(
            ["--state", str(tmp_path / "s"), "--port", port, "--control-port", "0", "--key", "k", "--secret", "s"]
        )
    assert code == 2
    assert f"port {port} cannot be used" in capsys.readouterr().err


def test_speeds_are_numbers_above_0_or_max():
    assert speed_parse("60") == 60
    assert math.isinf(speed_parse("max"))
    for wrong in ("0", "-1", "fast", "nan"):
        with pytest.raises(Exception, match="is no speed"):
            speed_parse(wrong)


def test_the_management_command_has_the_same_options(capsys):
    from django.core.management import get_commands, load_command_class

    assert get_commands()["simulate"] == "apps.simulator"
    parser = load_command_class("apps.simulator", "simulate").create_parser("manage.py", "simulate")
    options = parser.parse_args(["--state", "s", "--market", "replay", "--speed", "max", "--paused"])
    assert (options.market, options.paused, math.isinf(options.speed)) == ("replay", True, True)
