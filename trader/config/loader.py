"""Reads the settings: defaults, then files, then `.env`, then the environment."""

import os

from trader.config.schema import Config


class ConfigError(Exception):
    """A setting is unknown or malformed; the message names it and the fix."""


def load() -> Config:
    """Return the settings of this process."""
    runtime: dict[str, object] = {}
    if os.environ.get("DATABASE_URL"):
        runtime["database_url"] = os.environ["DATABASE_URL"]
    if os.environ.get("REDIS_URL"):
        runtime["redis_url"] = os.environ["REDIS_URL"]
    if os.environ.get("QD_RUNTIME_STATE_DIR"):
        runtime["state_dir"] = os.environ["QD_RUNTIME_STATE_DIR"]
    return Config.model_validate({"runtime": runtime})
