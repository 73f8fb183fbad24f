"""Process settings: one declared list, read once. `from trader.config import config`."""

from trader.config.loader import ConfigError, load
from trader.config.schema import Config

__all__ = ["Config", "ConfigError", "config", "load"]

config: Config = load()
