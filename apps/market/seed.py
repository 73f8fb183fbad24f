"""What a first run holds: the simulated venue, the epoch of the chosen market, the universe `desk`."""

from pathlib import Path
from typing import Any

from django.db import transaction

from apps.market.errors import VenueRefused
from apps.market.models import Universe, Venue
from apps.market.services import epoch_resume_or_begin, simulator_save, universe_save

SIMULATED = "bybit-sim"
UNIVERSE = "desk"
BY = "system:seed"


def seed(options: dict[str, Any], so_far: dict[str, Any]) -> dict[str, Any]:
    """Make or find the venue, its epoch and the universe; run at every start, changes nothing that is right.

    `options["market"]` says what made the market, `options["simulator"]` where it listens this time. Returns the
    epoch, the parameters to start the simulator with, and its state folder.
    """
    simulator = options.get("simulator")
    parameters = options.get("market") or {"kind": "none"}
    if simulator is None or parameters.get("kind") == "none":
        return {}
    with transaction.atomic():
        venue = _venue(simulator)
        epoch = epoch_resume_or_begin(venue, parameters, new=bool(options.get("new_epoch")), by=BY)
        folder = Path(simulator["state_root"]) / f"epoch-{epoch.number}"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        token_file = str(folder / "control.token")
        if venue.control_token_file != token_file:
            venue.control_token_file = token_file
            simulator_save(venue, by=BY)
        _universe(venue)
    return {
        "venue_code": venue.code,
        "epoch_id": epoch.pk,
        "epoch_number": epoch.number,
        "market": epoch.parameters,
        "simulator_state_dir": str(folder),
    }


def _venue(simulator: dict[str, Any]) -> Venue:
    """Return the simulated venue at the addresses of this start; ports may differ each time."""
    venue = Venue.objects.select_for_update().filter(code=SIMULATED).first()
    if venue is None:
        venue = Venue(code=SIMULATED, name="Simulated Bybit", adapter="bybit", is_simulated=True)
    elif not venue.is_simulated:
        raise VenueRefused(f"venue {SIMULATED!r} is not simulated: rename it before the simulator is used")
    wanted = {name: simulator[name] for name in ("rest_url", "socket_url", "control_url")}
    if venue.pk is None or any(getattr(venue, name) != value for name, value in wanted.items()):
        for name, value in wanted.items():
            setattr(venue, name, value)
        simulator_save(venue, by=BY)
    return venue


def _universe(venue: Venue) -> None:
    """Make the universe the first time; from then on it belongs to the admin."""
    if not Universe.objects.filter(name=UNIVERSE).exists():
        universe = Universe(name=UNIVERSE, venue=venue, kind=Universe.Kind.RULE, rule_quote="USDT")
        universe_save(universe, by=BY)
