"""Every process setting there is: name, type, default and help in one place.

A setting `leases.ttl_s` is set by `leases: {ttl_s: 10}` in a YAML or JSON file of `.quarterdeck/config/`, or by the
variable `QD_LEASES_TTL_S`, which wins. What ships is `trader/config/trader.yaml`; no other file beside it is read.
"""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

ROOT = Path(__file__).resolve().parents[2]
CLOCK_LEAD_S = 0.5  # how far a venue's clock may lead ours before new risk is blocked


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
    poll_s: float = Field(1.0, ge=0.05, description="How often a worker looks for free leases, in seconds.")
    host_connections: int = Field(6, ge=1, le=50, description="Most database connections of one worker's residents.")


class BusSection(Section):
    log_kept: int = Field(
        10_000, ge=100, description="Newest messages kept in each log stream; older are in the table."
    )
    outbox_days: int = Field(90, ge=1, description="How long log messages stay in the outbox table, in days.")
    relay_poll_ms: float = Field(50.0, ge=5, description="How often the relay looks without being woken, in ms.")


class HubSection(Section):
    frame_ms: float = Field(20.0, ge=5, description="Shortest time between two state frames to a browser, in ms.")
    frame_ms_per_client: float = Field(0.5, ge=0, description="The same, per connected browser, where that is longer.")
    log_frame_ms: float = Field(4.0, ge=0, description="Shortest time between two frames of log messages, in ms.")
    log_frame_ms_per_client: float = Field(0.05, ge=0, description="The same, per connected browser, if longer.")
    buffer_bytes: int = Field(262_144, ge=4096, description="Unsent bytes at which a browser counts as fallen behind.")
    topics_per_client: int = Field(400, ge=1, description="Most topics one browser may ask for.")


class PortfolioSection(Section):
    simulated_balance: int = Field(100_000, gt=0, description="USDT that a new simulated account begins with.")


class KillSection(Section):
    poll_ms: float = Field(100.0, ge=10, le=500, description="How often each of the three kill records is read, in ms.")
    fresh_ms: float = Field(200.0, ge=50, le=2000, description="Oldest reading that still lets new risk out, in ms.")
    write_timeout_s: float = Field(1.0, gt=0.1, description="Longest wait for one place when engaging or releasing.")
    mirror_after_s: float = Field(0.25, ge=0, description="How long places must disagree before one is mirrored.")


class ExecutionSection(Section):
    recv_window_ms: int = Field(
        1000,
        ge=100,
        le=5000,
        description="Receive window of signed requests, in ms; must stay under the lease's margin.",
    )
    signature_age_ms: int = Field(
        600, ge=50, le=5000, description="Oldest signature that the send gate lets out, in ms."
    )
    venue_timeout_s: float = Field(5.0, gt=0.1, description="Longest wait for one answer of a venue, in seconds.")
    reconcile_s: float = Field(
        15.0, gt=0.5, description="How often a desk compares its books with the venue, in seconds."
    )
    warm_s: float = Field(
        5.0,
        gt=0.5,
        le=60,
        description="How often a desk measures the venue's clock and so stays connected, in seconds.",
    )
    commands_poll_s: float = Field(
        1.0, gt=0.05, description="How often a desk looks for commands by itself, in seconds."
    )
    command_age_s: float = Field(
        10.0, gt=0.5, description="Age from which a person's order, cancel or close is refused by a desk, in seconds."
    )
    token_wait_s: float = Field(2.0, gt=0.0, description="Longest wait of an order for a rate token, in seconds.")
    decisions_flush_s: float = Field(
        0.5, gt=0.01, description="Longest time that a decision waits for its row, in seconds."
    )
    socket_stale_s: float = Field(
        5.0, gt=0.5, description="Silence of the private socket that blocks new risk, in seconds."
    )
    manual_stop_share: float = Field(
        0.02, gt=0, lt=1, description="Distance of the protective stop of a person's position, as a share of the price."
    )
    checkpoint_s: float = Field(30.0, gt=1.0, description="How often a desk saves the state of its steps, in seconds.")


class MarketSection(Section):
    stale_connection_s: float = Field(
        5.0, gt=0.5, description="Silence of a connection, pongs too, that makes it stale."
    )
    stale_instrument_s: float = Field(
        60.0, gt=1, description="Silence of an instrument, on both clocks, that makes it stale."
    )
    drop_connection_s: float = Field(
        8.0, gt=1, description="Silence after which a connection is given up and dialled again."
    )
    quote_ms: float = Field(
        10.0, ge=1, description="Shortest time between two quotes of an instrument on the bus, in ms."
    )
    depth_ms: float = Field(
        100.0, ge=10, description="The same for its book, its prints and its bar in the making, in ms."
    )
    ticker_ms: float = Field(1000.0, ge=10, description="The same for its figures of the day, in ms.")
    seconds: bool = Field(True, description="Build and store bars of one second too.")
    timeframes_s: list[int] = Field([300, 900, 3600, 86_400], description="Coarser bars made from minutes, in seconds.")
    history_days: float = Field(3.0, ge=0, le=30, description="Minutes asked of a venue for a new instrument, in days.")
    keep_prints_days: int = Field(
        2, ge=1, description="Days of prints in hot storage; nothing is dropped without a lake."
    )
    keep_seconds_days: int = Field(3, ge=1, description="Days of one-second bars in hot storage.")
    keep_minutes_days: int = Field(
        30, ge=1, description="Days of one-minute bars in hot storage; a feed that was away fills them up."
    )
    backfill_workers: int = Field(3, ge=1, le=20, description="Questions for old bars that are open at the same time.")


class BackupSection(Section):
    folder: str = Field("", description="Folder of nightly backups; empty: `backups` in the state folder.")
    keep: int = Field(
        7, ge=1, description="Nightly backups kept; older ones are removed after a new one was read back."
    )
    nightly: bool = Field(True, description="Make a backup every night.")


class RetentionSection(Section):
    holds_days: int = Field(400, ge=7, description="Days that decisions without a signal are kept.")
    history_days: int = Field(
        400, ge=30, description="Days that refusals, equity, commands, sweeps, sessions and ended halts are kept."
    )
    reconciliations_days: int = Field(14, ge=1, description="Days that reconciliations without a difference are kept.")
    jobs_days: int = Field(30, ge=1, description="Days that finished jobs are kept, with their shares and logs.")
    sign_ins_days: int = Field(30, ge=1, description="Days that records of signing in, links and tokens are kept.")


class Config(Section):
    runtime: RuntimeSection = RuntimeSection()
    leases: LeasesSection = LeasesSection()
    bus: BusSection = BusSection()
    hub: HubSection = HubSection()
    kill: KillSection = KillSection()
    portfolio: PortfolioSection = PortfolioSection()
    execution: ExecutionSection = ExecutionSection()
    market: MarketSection = MarketSection()
    backup: BackupSection = BackupSection()
    retention: RetentionSection = RetentionSection()

    @model_validator(mode="after")
    def _leases_outlast_requests(self) -> "Config":
        """A byte that a paused desk lets out must be refused by the venue before the account has another desk."""
        leases, window_s = self.leases, self.execution.recv_window_ms / 1000
        if leases.stop_margin_s < window_s + CLOCK_LEAD_S:
            raise ValueError(
                f"Setting `leases.stop_margin_s`: {leases.stop_margin_s} s is shorter than a request may live at the "
                f"venue. Fix: set QD_LEASES_STOP_MARGIN_S to {window_s + CLOCK_LEAD_S:g} or more "
                f"(`execution.recv_window_ms` and {CLOCK_LEAD_S} s for clocks), or lower QD_EXECUTION_RECV_WINDOW_MS."
            )
        if leases.renew_s >= leases.ttl_s - leases.stop_margin_s:
            raise ValueError(
                f"Setting `leases.renew_s`: {leases.renew_s} s leaves no time for new risk between renewals. Fix: set "
                f"QD_LEASES_RENEW_S below {leases.ttl_s - leases.stop_margin_s:g} (`leases.ttl_s` less "
                "`leases.stop_margin_s`), or raise QD_LEASES_TTL_S."
            )
        return self
