"""What the control address tells a feed, and what the feed makes of its silence."""

from aiohttp import web

from apps.market.feed.control import Control


async def _serve(handler) -> tuple[web.AppRunner, str]:
    app = web.Application()
    app.router.add_get("/clock", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner, f"http://127.0.0.1:{runner.addresses[0][1]}"


async def test_the_clock_is_read_with_the_token_and_kept_when_nobody_answers(tmp_path) -> None:
    seen = []

    async def clock(request: web.Request) -> web.Response:
        seen.append(request.headers["Authorization"])
        return web.json_response({"market_ns": 5, "speed": "max", "running": False, "ended": True, "halted": ["*"]})

    token = tmp_path / "control.token"
    token.write_text("secret\n")
    runner, url = await _serve(clock)
    control = Control(url, str(token), "replay")
    told = await control.ask()
    assert seen == ["Bearer secret"]
    assert (told.ended, told.running, told.is_halted, told.speed_number) == (True, False, True, float("inf"))
    await runner.cleanup()
    assert (await control.ask()).ended
    assert not control.is_up
    await control.close()


async def test_a_real_venue_has_no_control_and_runs() -> None:
    control = Control("", "", "real")
    told = await control.ask()
    assert (told.running, told.ended, told.is_halted, told.speed_number) == (True, False, False, 1.0)
    await control.close()
