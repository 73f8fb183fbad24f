"""Orders, fills, what reconciliation found, and the kill switch's sweep."""

from django.db import models

from apps.market.models import Instrument
from apps.portfolio.models import Account
from apps.strategies.models import Signal

AMOUNT = {"max_digits": 38, "decimal_places": 18}


class Install(models.Model):
    """The one row that names this installation in every client id; it travels with a backup."""

    prefix = models.CharField(max_length=4, help_text="Four lower-case hex digits, drawn once.")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.CheckConstraint(condition=models.Q(pk=1), name="one_install")]


class Session(models.Model):
    """One run of a desk."""

    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="sessions")
    fence = models.PositiveBigIntegerField()
    holder = models.CharField(max_length=120)
    started_at = models.DateTimeField(auto_now_add=True)
    reconciled_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    end_reason = models.CharField(max_length=200, blank=True)

    class Meta:
        ordering = ["-started_at"]


class Order(models.Model):
    """An order of ours. On disk before it is on the wire; its client id derives from the decision that made it."""

    class State(models.TextChoices):
        CREATED = "created", "Created"
        SENT = "sent", "Sent"
        ACKNOWLEDGED = "acknowledged", "Acknowledged"
        PARTLY_FILLED = "partly_filled", "Partly filled"
        FILLED = "filled", "Filled"
        CANCELLING = "cancelling", "Cancelling"
        CANCELLED = "cancelled", "Cancelled"
        REJECTED = "rejected", "Rejected"
        UNKNOWN = "unknown", "Unknown"
        EXPIRED = "expired", "Expired"

    class Kind(models.TextChoices):
        MARKET = "market", "Market"
        LIMIT = "limit", "Limit"
        STOP = "stop", "Stop"

    client_id = models.CharField(max_length=36, unique=True)
    venue_order_id = models.CharField(max_length=64, blank=True)
    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="orders")
    instrument = models.ForeignKey(Instrument, on_delete=models.PROTECT, related_name="+")
    owner = models.CharField(max_length=64, help_text="A deployment's key, manual or unattributed.")
    decision_id = models.UUIDField(null=True, db_index=True)
    signal = models.ForeignKey(Signal, null=True, on_delete=models.PROTECT, related_name="orders")
    parent = models.ForeignKey("self", null=True, on_delete=models.PROTECT, related_name="children")
    leg = models.CharField(max_length=16, default="entry", help_text="entry, exit, stop, flatten, manual.")
    revision = models.PositiveSmallIntegerField(default=0)
    side = models.CharField(max_length=4, choices=[("buy", "Buy"), ("sell", "Sell")])
    kind = models.CharField(max_length=8, choices=Kind.choices)
    time_in_force = models.CharField(max_length=8, default="GTC")
    quantity = models.DecimalField(**AMOUNT)
    price = models.DecimalField(null=True, **AMOUNT)
    trigger_price = models.DecimalField(null=True, **AMOUNT)
    reduce_only = models.BooleanField(default=False)
    adds_risk = models.BooleanField()
    state = models.CharField(max_length=14, choices=State.choices, default=State.CREATED)
    filled = models.DecimalField(default=0, **AMOUNT)
    average_price = models.DecimalField(null=True, **AMOUNT)
    origin = models.CharField(max_length=24, blank=True, help_text="Who ended it; see docs/reference/orders.md.")
    detail = models.CharField(max_length=200, blank=True)
    fence = models.PositiveBigIntegerField()
    market_at = models.DateTimeField()
    created_at = models.DateTimeField(auto_now_add=True)
    sent_at = models.DateTimeField(null=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["-created_at"]
        indexes = [
            models.Index(
                fields=["account"],
                name="order_open",
                condition=models.Q(
                    state__in=["created", "sent", "acknowledged", "partly_filled", "cancelling", "unknown"]
                ),
            ),
            models.Index(fields=["account", "-created_at"], name="order_recent"),
        ]


class Fill(models.Model):
    """One execution at the venue, booked exactly once."""

    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="fills")
    order = models.ForeignKey(Order, null=True, on_delete=models.PROTECT, related_name="fills")
    instrument = models.ForeignKey(Instrument, on_delete=models.PROTECT, related_name="+")
    owner = models.CharField(max_length=64)
    venue_fill_id = models.CharField(max_length=80)
    venue_order_id = models.CharField(max_length=64)
    side = models.CharField(max_length=4)
    quantity = models.DecimalField(**AMOUNT)
    price = models.DecimalField(**AMOUNT)
    fee = models.DecimalField(default=0, **AMOUNT)
    fee_currency = models.CharField(max_length=12)
    is_maker = models.BooleanField(default=False)
    realised = models.DecimalField(default=0, help_text="Realised by this fill, before fees, in quote.", **AMOUNT)
    market_at = models.DateTimeField()
    booked_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-market_at", "-id"]
        constraints = [models.UniqueConstraint(fields=["account", "venue_fill_id"], name="fill_booked_once")]


class Reconciliation(models.Model):
    """One comparison of our books with the venue's."""

    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="reconciliations")
    at = models.DateTimeField(auto_now_add=True)
    is_startup = models.BooleanField(default=False)
    took_ms = models.FloatField()
    differences = models.JSONField(default=list, help_text="Each: what, ours, the venue's, what was done.")
    executions_at = models.DateTimeField(
        null=True, help_text="Market time up to which the venue's executions are read and booked."
    )

    class Meta:
        ordering = ["-at"]


class KillSweep(models.Model):
    """Progress of the kill switch at one account, until the venue says zero."""

    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="sweeps")
    scope = models.CharField(max_length=80)
    generation = models.PositiveBigIntegerField()
    flatten = models.BooleanField(default=False)
    found = models.PositiveIntegerField(default=0, help_text="Risk-adding orders at the start.")
    left = models.PositiveIntegerField(default=0)
    positions_left = models.PositiveIntegerField(default=0)
    foreign = models.PositiveIntegerField(default=0)
    seconds_left = models.FloatField(null=True)
    why = models.CharField(max_length=200, blank=True, help_text="What keeps it from its end, in words.")
    started_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-started_at"]
        constraints = [
            models.UniqueConstraint(fields=["account", "scope", "generation"], name="one_sweep_per_generation")
        ]


class DeskCommand(models.Model):
    """What a person asked a desk to do. The nonce comes with the form, so a double click is one command."""

    class Kind(models.TextChoices):
        ORDER = "order", "Order"
        CANCEL = "cancel", "Cancel"
        CLOSE = "close", "Close a position"
        FLATTEN = "flatten", "Flatten everything"

    class State(models.TextChoices):
        NEW = "new", "New"
        TAKEN = "taken", "Taken"
        DONE = "done", "Done"
        REFUSED = "refused", "Refused"
        FAILED = "failed", "Failed"

    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="commands")
    kind = models.CharField(max_length=8, choices=Kind.choices)
    nonce = models.CharField(max_length=64, unique=True)
    body = models.JSONField(default=dict)
    by = models.CharField(max_length=150)
    state = models.CharField(max_length=8, choices=State.choices, default=State.NEW)
    result = models.CharField(max_length=300, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    done_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-created_at"]
        indexes = [
            models.Index(fields=["account"], name="command_waiting", condition=models.Q(state__in=["new", "taken"]))
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.nonce}"
