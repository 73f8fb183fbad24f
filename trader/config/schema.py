"""Every process setting there is: name, type, default and help in one place.

A setting `leases.ttl_s` is set by `leases: {ttl_s: 10}` in a YAML or JSON file of `trader/config/`
or `.quarterdeck/config/`, or by the variable `QD_LEASES_TTL_S`.
"""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

ROOT = Path(__file__).resolve().parents[2]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class RuntimeSection(Section):
    state_dir: Path = Field(ROOT / ".quarterdeck", description="Folder for databases, keys, logs and sockets.")
    bind_host: str = Field("127.0.0.1", description="Address that the web process listens on.")
    web_port: int = Field(8800, ge=0, le=65535, description="Port of the web process; 0 takes a free one.")
    simulator_port: int = Field(8899, ge=0, le=65535, description="Port of the simulated exchange; 0 takes a free one.")
    control_port: int = Field(8898, ge=0, le=65535, description="Port of its control address; 0 takes a free one.")
    web_server: Literal["daphne", "uvicorn"] = Field("daphne", description="Server of pages and sockets.")
    behind_proxy: bool = Field(False, description="A proxy in front ends TLS; allows binding beyond loopback.")
    allowed_hosts: list[str] = Field(["127.0.0.1", "localhost", "[::1]"], description="Host names that are answered.")
    debug: bool = Field(False, description="Django's debug pages. Never on a machine that others reach.")
    database_url: str = Field("", description="PostgreSQL to use instead of the embedded one.")
    redis_url: str = Field("", description="Redis or Valkey to use instead of the embedded one.")


class LeasesSection(Section):
    ttl_s: float = Field(9.0, gt=0.5, description="How long a lease lives without renewal, in seconds.")
    renew_s: float = Field(2.0, gt=0.1, description="How often a holder renews its lease, in seconds.")
    stop_margin_s: float = Field(2.5, gt=0.1, description="Time before expiry at which new risk stops, in seconds.")


class Config(Section):
    runtime: RuntimeSection = RuntimeSection()
    leases: LeasesSection = LeasesSection()
