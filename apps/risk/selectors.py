"""Reads of risk: the kill switch, limits in force, refusals, halts."""

from apps.risk.killswitch.look import kill_states
from apps.risk.killswitch.reader import KillReader, Verdict
from apps.risk.killswitch.records import scope_account, scope_deployment, scope_words

__all__ = ["KillReader", "Verdict", "kill_states", "scope_account", "scope_deployment", "scope_words"]
