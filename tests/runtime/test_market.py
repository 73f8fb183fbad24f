"""What `up --market …` says reaches the simulated exchange."""

import pytest

from apps.simulator.command import parser_fill
from trader.runtime.market import simulator_arguments


@pytest.mark.parametrize(("speed", "wanted"), [("1", 1.0), ("60", 60.0)])
def test_a_synthetic_market_runs_at_the_speed_that_was_asked_for(tmp_path, speed, wanted):
    import argparse

    arguments = simulator_arguments({"kind": "synthetic", "seed": 3}, speed)
    parsed = parser_fill(argparse.ArgumentParser()).parse_args(["--state", str(tmp_path), *arguments])
    assert (parsed.market, parsed.seed, parsed.speed, parsed.paused) == ("synthetic", 3, wanted, False)
