"""What a first run holds: one simulated account per epoch, with keys that its simulator knows."""

import json
import os
import secrets
from pathlib import Path
from typing import Any

from django.db import transaction

from apps.market.models import Epoch
from apps.portfolio.models import Account, Credential
from apps.portfolio.services import account_for_epoch, credential_set
from trader.config import config

BY = "system:seed"


def seed(options: dict[str, Any], so_far: dict[str, Any]) -> dict[str, Any]:
    """Make or find the simulated account of the current epoch, and give its keys to the simulator.

    Run at every start. Returns `account_id`; nothing where no simulator runs. A simulated account may trade from the
    first moment; a live one never comes from a seed.
    """
    if "simulator_state_dir" not in so_far:
        return {}
    epoch = Epoch.objects.select_related("venue").get(pk=so_far["epoch_id"])
    if not epoch.venue.is_simulated:
        return {}
    with transaction.atomic():
        account = account_for_epoch(epoch=epoch, by=BY, trading_enabled=True)
        credential = Credential.objects.filter(account=account).first() or _credential_new(account)
    keys_write(Path(so_far["simulator_state_dir"]) / "keys.json", credential.api_key, credential.api_secret)
    return {"account_id": account.pk, "account_name": account.name}


def _credential_new(account: Account) -> Credential:
    return credential_set(account=account, api_key=secrets.token_hex(10), api_secret=secrets.token_urlsafe(32), by=BY)


def keys_write(path: Path, key: str, secret: str) -> None:
    """Add a key to the simulator's file of keys, or renew its secret; other keys stay. Mode 600, never half written."""
    entries = json.loads(path.read_text()) if path.exists() else []
    own = next((entry for entry in entries if entry["key"] == key), None)
    if own is not None and own["secret"] == secret:
        return
    balances = own["balances"] if own is not None else {"USDT": str(config.portfolio.simulated_balance)}
    others = [entry for entry in entries if entry["key"] != key]
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump([*others, {"key": key, "secret": secret, "balances": balances}], file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
