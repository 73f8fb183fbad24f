"""What strategies tell the rest: signals and deployments. Amounts as text, times as UTC nanoseconds."""

from apps.common.messages import Message
from apps.common.topics import register_log

SIGNALS = "signals"
DEPLOYMENTS = "deployments"


class SignalChanged(Message):
    """A signal, whole, as it stands now."""

    id: int
    decision_id: str
    account_id: int
    instrument_id: int
    symbol: str
    deployment: str
    direction: int
    strength: float
    horizon_s: int
    reason: str
    state: str
    market_ns: int
    wall_ns: int
    refused_by: str = ""
    detail: str = ""
    features: dict[str, float | None] = {}


class DeploymentChanged(Message):
    """A deployment started, stopped or was replaced. `by` is the person."""

    key: str
    account_id: int
    strategy: str
    state: str
    by: str
    wall_ns: int
    predecessor: str = ""


register_log(SIGNALS, SignalChanged)
register_log(DEPLOYMENTS, DeploymentChanged)
