"""Hard limits, what they refused, halts, and the kill switch's record in the database."""

import uuid

from django.conf import settings
from django.db import models

from apps.market.models import Instrument
from apps.portfolio.models import Account


class Limit(models.Model):
    """One limit. The tightest that applies binds; an empty scope field means "any"."""

    class Check(models.TextChoices):
        ORDER_NOTIONAL = "order_notional", "Order size (currency of the account)"
        POSITION_NOTIONAL = "position_notional", "Position (currency of the account)"
        GROSS_EXPOSURE = "gross_exposure", "Gross exposure (times equity)"
        NET_EXPOSURE = "net_exposure", "Net exposure (times equity)"
        LEVERAGE = "leverage", "Leverage (times equity)"
        ORDERS_PER_MINUTE = "orders_per_minute", "Orders a minute"
        PRICE_COLLAR = "price_collar", "Distance of a price from the market (share)"
        DAILY_LOSS = "daily_loss", "Loss of the day (share of equity)"

    check_name = models.CharField(max_length=24, choices=Check.choices)
    account = models.ForeignKey(Account, null=True, blank=True, on_delete=models.CASCADE, related_name="limits")
    deployment_key = models.CharField(max_length=64, blank=True)
    instrument = models.ForeignKey(Instrument, null=True, blank=True, on_delete=models.CASCADE, related_name="+")
    value = models.DecimalField(max_digits=38, decimal_places=18)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["check_name", "account", "deployment_key", "instrument"]
        constraints = [
            models.UniqueConstraint(
                fields=["check_name", "account", "deployment_key", "instrument"],
                name="one_limit_per_scope",
                nulls_distinct=False,
            )
        ]

    def __str__(self) -> str:
        return f"{self.get_check_name_display()}: {self.value.normalize():f}"


class Refusal(models.Model):
    """A check that said no: which, the number and the limit. Its id is drawn before it is written."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="refusals")
    instrument = models.ForeignKey(Instrument, on_delete=models.PROTECT, related_name="+")
    owner = models.CharField(max_length=64)
    decision_id = models.UUIDField(null=True)
    check_name = models.CharField(max_length=40)
    number = models.DecimalField(max_digits=38, decimal_places=18, null=True)
    limit = models.DecimalField(max_digits=38, decimal_places=18, null=True)
    detail = models.CharField(max_length=200)
    checks = models.JSONField(default=list, help_text="All checks in order: name, number, limit, verdict or not asked.")
    market_at = models.DateTimeField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-created_at"]
        indexes = [
            models.Index(fields=["account", "-created_at"], name="refusal_recent"),
            models.Index(fields=["-created_at", "-id"], name="refusal_newest"),
        ]

    def __str__(self) -> str:
        return f"{self.check_name}: {self.detail}"


class Halt(models.Model):
    """A breaker's automatic stop of an account (empty `deployment_key`) or a deployment, until a person ends it."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="halts")
    deployment_key = models.CharField(max_length=64, blank=True)
    cause = models.CharField(max_length=40)
    detail = models.CharField(max_length=200)
    market_at = models.DateTimeField()
    created_at = models.DateTimeField(auto_now_add=True)
    ended_at = models.DateTimeField(null=True)
    ended_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["account", "deployment_key", "cause"],
                condition=models.Q(ended_at=None),
                name="one_open_halt_per_cause",
            )
        ]

    def __str__(self) -> str:
        return f"{self.cause} at {self.account}{' ' + self.deployment_key if self.deployment_key else ''}"


class KillRecord(models.Model):
    """The database's record of a kill switch; one row per scope, generations only grow.

    `scope` is `all`, `account:<id>` or `deployment:<key>`.
    """

    class State(models.TextChoices):
        CLEAR = "clear", "Clear"
        ENGAGED = "engaged", "Engaged"

    scope = models.CharField(max_length=80, primary_key=True)
    state = models.CharField(max_length=8, choices=State.choices)
    generation = models.PositiveBigIntegerField()
    by = models.CharField(max_length=150, blank=True)
    reason = models.CharField(max_length=200, blank=True)
    flatten = models.BooleanField(default=False)
    at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.scope}: {self.state}"
