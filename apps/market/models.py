"""What is traded where: venues, epochs, instruments, their terms over time, universes.

Bars live in a partitioned table of their own (`apps/market/storage`); Django does not manage it.
"""

from django.db import models


class Venue(models.Model):
    """Where we trade or read prices: an exchange, a broker, the simulator."""

    code = models.SlugField(max_length=32, unique=True)
    name = models.CharField(max_length=80)
    adapter = models.CharField(
        max_length=32, default="bybit", help_text="Folder in market/providers and execution/brokers."
    )
    rest_url = models.CharField(max_length=200, blank=True, help_text="Empty: the vendor's own address.")
    socket_url = models.CharField(max_length=200, blank=True)
    control_url = models.CharField(
        max_length=200, blank=True, help_text="The simulator's control address; empty elsewhere."
    )
    control_token_file = models.CharField(
        max_length=255, blank=True, help_text="File with the token of the control address; its content stays there."
    )
    is_simulated = models.BooleanField(default=False)
    is_active = models.BooleanField(default=True)

    class Meta:
        ordering = ["code"]

    def __str__(self) -> str:
        return self.name


class Epoch(models.Model):
    """One run of a market at a venue. The real one is 0 for ever; each replay or fresh synthetic market is new."""

    class Kind(models.TextChoices):
        REAL = "real", "Real"
        SYNTHETIC = "synthetic", "Synthetic"
        REPLAY = "replay", "Replay"

    venue = models.ForeignKey(Venue, on_delete=models.PROTECT, related_name="epochs")
    number = models.PositiveIntegerField()
    kind = models.CharField(max_length=12, choices=Kind.choices)
    parameters = models.JSONField(default=dict, help_text="What made this market: seed, files, span, speed.")
    is_current = models.BooleanField(default=False)
    synced_at = models.DateTimeField(null=True, help_text="When instruments and terms were last taken from the venue.")
    market_start = models.DateTimeField(null=True)
    market_end = models.DateTimeField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["venue", "number"]
        constraints = [
            models.UniqueConstraint(fields=["venue", "number"], name="epoch_number_per_venue"),
            models.UniqueConstraint(
                fields=["venue"], condition=models.Q(is_current=True), name="one_current_epoch_per_venue"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.venue.code} #{self.number} ({self.kind})"


class Instrument(models.Model):
    """One thing traded at one venue, e.g. `BTC/USDT:USDT` at Bybit."""

    class Kind(models.TextChoices):
        SPOT = "spot", "Spot"
        LINEAR = "linear", "Linear perpetual"

    venue = models.ForeignKey(Venue, on_delete=models.PROTECT, related_name="instruments")
    symbol = models.CharField(max_length=40, help_text="The name people and ccxt use, e.g. BTC/USDT:USDT.")
    slug = models.SlugField(max_length=40, help_text="In addresses, e.g. btc-usdt-usdt.")
    venue_symbol = models.CharField(max_length=40, help_text="The venue's own name, e.g. BTCUSDT.")
    kind = models.CharField(max_length=12, choices=Kind.choices)
    base = models.CharField(max_length=20)
    quote = models.CharField(max_length=20)
    settle = models.CharField(max_length=20)
    multiplier = models.DecimalField(max_digits=38, decimal_places=18, default=1)
    listed_from = models.DateTimeField(null=True)
    listed_to = models.DateTimeField(null=True, help_text="Set when the venue no longer lists it.")
    turnover_24h = models.DecimalField(
        max_digits=38, decimal_places=8, default=0, help_text="Of 24 hours, in quote currency, at the last look."
    )

    class Meta:
        ordering = ["venue", "symbol"]
        constraints = [
            models.UniqueConstraint(fields=["venue", "symbol"], name="instrument_symbol_per_venue"),
            models.UniqueConstraint(fields=["venue", "slug"], name="instrument_slug_per_venue"),
        ]

    def __str__(self) -> str:
        return self.symbol


class InstrumentTerms(models.Model):
    """Tick, lot and minimums of an instrument from a moment on; the newest row holds now."""

    instrument = models.ForeignKey(Instrument, on_delete=models.CASCADE, related_name="terms")
    valid_from = models.DateTimeField()
    tick = models.DecimalField(max_digits=38, decimal_places=18)
    lot = models.DecimalField(max_digits=38, decimal_places=18)
    min_quantity = models.DecimalField(max_digits=38, decimal_places=18, default=0)
    min_notional = models.DecimalField(max_digits=38, decimal_places=18, default=0)
    max_leverage = models.DecimalField(max_digits=9, decimal_places=2, default=1)
    maker_fee = models.DecimalField(max_digits=9, decimal_places=6, default=0)
    taker_fee = models.DecimalField(max_digits=9, decimal_places=6, default=0)

    class Meta:
        ordering = ["instrument", "-valid_from"]
        constraints = [
            models.UniqueConstraint(fields=["instrument", "valid_from"], name="terms_once_per_moment"),
        ]


class Universe(models.Model):
    """A named set of instruments of one venue, fixed or by rule."""

    class Kind(models.TextChoices):
        FIXED = "fixed", "Fixed list"
        RULE = "rule", "By rule"

    name = models.SlugField(max_length=40, unique=True)
    venue = models.ForeignKey(Venue, on_delete=models.PROTECT, related_name="universes")
    kind = models.CharField(max_length=8, choices=Kind.choices, default=Kind.FIXED)
    rule_quote = models.CharField(max_length=20, blank=True, help_text="Rule: only this quote currency.")
    rule_kind = models.CharField(
        max_length=12, choices=Instrument.Kind.choices, blank=True, help_text="Rule: only this kind."
    )
    rule_min_turnover = models.DecimalField(
        max_digits=38, decimal_places=2, default=0, help_text="Rule: least turnover of 24 hours, in quote currency."
    )
    members = models.ManyToManyField(Instrument, blank=True, related_name="universes")
    is_collected = models.BooleanField(default=True, help_text="Feeds collect its members.")
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["name"]
        verbose_name_plural = "universes"

    def __str__(self) -> str:
        return self.name
