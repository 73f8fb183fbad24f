"""What a synthetic market keeps on disk to go on where it was."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from apps.simulator.markets.base import MarketError
from apps.simulator.markets.chain import ChainState


class SyntheticRecord(msgspec.Struct, forbid_unknown_fields=True):
    """The chain's state at `first_open_ns`: everything later follows from it and the seed.

    `began_ns`: when the market first ran; of minutes before it only the bars were ever seen. `reached_ns`: how
    far it came (past wall time where it was run ahead): it never goes back behind that.
    """

    seed: int
    coins: list[str]
    first_open_ns: int
    began_ns: int
    state: ChainState
    reached_ns: int = 0
    version: int = 1


def record_load(path: Path, seed: int, coins: list[str]) -> SyntheticRecord | None:
    """Return the record, or None where there is none; another seed's or a broken one is refused."""
    if not path.exists():
        return None
    try:
        record = msgspec.json.decode(path.read_bytes(), type=SyntheticRecord)
    except msgspec.DecodeError as error:
        raise MarketError(f"{path} cannot be read: {error}. Fix: remove it, and this market begins anew.") from None
    if (record.seed, record.coins, record.version) != (seed, coins, 1):
        raise MarketError(
            f"{path} holds the market of seed {record.seed} with {len(record.coins)} coins, not of seed {seed}. "
            f"Fix: give --seed {record.seed}, or another --state folder for the new market."
        )
    return record


def record_save(path: Path, record: SyntheticRecord) -> None:
    """Write the record so that a crash leaves the old one or the new one, whole."""
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        file.write(msgspec.json.encode(record))
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
