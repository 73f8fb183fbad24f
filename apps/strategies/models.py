"""Strategies at work: deployments, the decisions they make, the signals that come of them."""

from django.db import models

from apps.market.models import Instrument
from apps.portfolio.models import Account


class Deployment(models.Model):
    """A strategy at work. Immutable but for its state: a change is a successor that takes over its sub-ledger."""

    class State(models.TextChoices):
        RUNNING = "running", "Running"
        STOPPED = "stopped", "Stopped"
        REPLACED = "replaced", "Replaced"

    class Stage(models.TextChoices):
        SHADOW = "shadow", "Shadow"
        CANARY = "canary", "Canary"
        GRADUAL = "gradual", "Gradual"
        FULL = "full", "Full"

    key = models.CharField(max_length=64, unique=True, help_text="E.g. mean_reversion-3f9c; owns a sub-ledger.")
    strategy = models.CharField(max_length=64)
    code_hash = models.CharField(max_length=64)
    parameters = models.JSONField(default=dict)
    universe_name = models.CharField(max_length=40)
    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="deployments")
    stage = models.CharField(max_length=8, choices=Stage.choices, default=Stage.FULL)
    state = models.CharField(max_length=8, choices=State.choices, default=State.RUNNING)
    no_stop_reason = models.CharField(max_length=200, blank=True, help_text="Why it does without protective stops.")
    predecessor = models.OneToOneField(
        "self", null=True, blank=True, on_delete=models.PROTECT, related_name="successor"
    )
    created_at = models.DateTimeField(auto_now_add=True)
    stopped_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return self.key


class Decision(models.Model):
    """One call of a strategy for an instrument and a bar, with what it saw and what came of it."""

    class Outcome(models.TextChoices):
        HOLD = "hold", "Hold"
        SIGNAL = "signal", "Signal"
        LATE = "late", "Late: stepped, not decided"
        BLOCKED = "blocked", "Blocked: features incomplete"

    id = models.UUIDField(primary_key=True, help_text="Derived from deployment, instrument, bar and revision.")
    deployment = models.ForeignKey(Deployment, on_delete=models.PROTECT, related_name="decisions")
    instrument = models.ForeignKey(Instrument, on_delete=models.PROTECT, related_name="+")
    bar_open = models.DateTimeField()
    bar_revision = models.PositiveSmallIntegerField(default=0)
    market_at = models.DateTimeField()
    outcome = models.CharField(max_length=8, choices=Outcome.choices)
    reason = models.CharField(max_length=40)
    direction = models.SmallIntegerField(default=0, help_text="-1, 0 or 1.")
    strength = models.FloatField(default=0.0)
    features = models.JSONField(default=dict, help_text="Name to value, as decided upon; floats as hex under `_bits`.")
    members = models.JSONField(default=list, help_text="The universe at that moment.")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-market_at"]
        indexes = [models.Index(fields=["-market_at", "-id"], name="decision_newest")]
        constraints = [
            models.UniqueConstraint(
                fields=["deployment", "instrument", "bar_open", "bar_revision"], name="one_decision_per_bar"
            )
        ]


class Signal(models.Model):
    """What a strategy wants: direction, strength, reason; and what became of it."""

    class State(models.TextChoices):
        NEW = "new", "New"
        ACCEPTED = "accepted", "Accepted"
        REFUSED = "refused", "Refused"
        ORDERED = "ordered", "Ordered"
        DONE = "done", "Done"
        EXPIRED = "expired", "Expired"

    decision = models.OneToOneField(Decision, on_delete=models.PROTECT, related_name="signal")
    deployment = models.ForeignKey(Deployment, on_delete=models.PROTECT, related_name="signals")
    instrument = models.ForeignKey(Instrument, on_delete=models.PROTECT, related_name="+")
    direction = models.SmallIntegerField(help_text="-1 short, 0 flat, 1 long.")
    strength = models.FloatField()
    horizon_s = models.PositiveIntegerField()
    reason = models.CharField(max_length=40)
    state = models.CharField(max_length=8, choices=State.choices, default=State.NEW)
    refused_by = models.CharField(max_length=40, blank=True, help_text="The first check that said no.")
    detail = models.CharField(max_length=200, blank=True, help_text="In words and numbers.")
    market_at = models.DateTimeField()
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["-market_at", "-id"]
        indexes = [models.Index(fields=["-market_at", "-id"], name="signal_newest")]
