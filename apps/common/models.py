"""Tables that every other app stands on: leases, the outbox, checkpoints, jobs, the audit trail."""

from django.db import models


class Lease(models.Model):
    """Who may act for one thing. The row stays for ever: its fence only grows."""

    kind = models.CharField(max_length=32)
    key = models.CharField(max_length=120)
    holder = models.CharField(max_length=120, blank=True, help_text="Host, process and worker; empty when free.")
    fence = models.BigIntegerField(default=0, help_text="Grows by one whenever the lease changes hands.")
    expires_at = models.DateTimeField(help_text="By the database's clock.")
    since = models.DateTimeField()
    meta = models.JSONField(default=dict, help_text="What the holder reports: state, lag_s and its own words.")

    class Meta:
        ordering = ["kind", "key"]
        constraints = [models.UniqueConstraint(fields=["kind", "key"], name="lease_once")]

    def __str__(self) -> str:
        return f"{self.kind} {self.key} (fence {self.fence})"


class TopicSequence(models.Model):
    """The newest number of a log topic. One row a topic; taking a number locks it until the commit."""

    topic = models.CharField(max_length=80, primary_key=True)
    n = models.BigIntegerField(default=0)


class Outbox(models.Model):
    """A log message, in the transaction that made it true, numbered in commit order without gaps."""

    pk = models.CompositePrimaryKey("topic", "n")
    topic = models.CharField(max_length=80)
    n = models.BigIntegerField()
    body = models.BinaryField(help_text="The message as it goes on the wire: version and fields.")
    at = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=["at"], name="outbox_at")]


class Checkpoint(models.Model):
    """State of a resident's steps, from which it goes on instead of warming up."""

    kind = models.CharField(max_length=32)
    key = models.CharField(max_length=160)
    epoch = models.BigIntegerField(default=0)
    version = models.CharField(max_length=80, help_text="Hash of the definitions that the state belongs to.")
    body = models.BinaryField()
    fence = models.BigIntegerField(default=0)
    saved_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["kind", "key", "epoch"], name="checkpoint_once")]


class Job(models.Model):
    """Long work as a row: progress, log, cancel. Its shares are rows that workers claim."""

    class State(models.TextChoices):
        WAITING = "waiting", "Waiting"
        RUNNING = "running", "Running"
        DONE = "done", "Done"
        FAILED = "failed", "Failed"
        CANCELLED = "cancelled", "Cancelled"

    kind = models.CharField(max_length=64, db_index=True)
    title = models.CharField(max_length=160)
    parameters = models.JSONField(default=dict)
    state = models.CharField(max_length=12, choices=State.choices, default=State.WAITING)
    total = models.PositiveIntegerField(default=0, help_text="Shares in all.")
    done = models.PositiveIntegerField(default=0, help_text="Shares finished.")
    cancel_asked = models.BooleanField(default=False)
    by = models.CharField(max_length=150, blank=True)
    error = models.TextField(blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return f"{self.title} ({self.state})"


class JobShare(models.Model):
    """A piece of a job. A worker claims it for 30 s at a time; its result is inserted once."""

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="shares")
    number = models.PositiveIntegerField()
    parameters = models.JSONField(default=dict)
    state = models.CharField(max_length=12, choices=Job.State.choices, default=Job.State.WAITING)
    claim = models.UUIDField(null=True, help_text="Names one claim; a later claim makes it worthless.")
    claimed_by = models.CharField(max_length=120, blank=True)
    claim_expires_at = models.DateTimeField(null=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    result = models.JSONField(null=True)
    error = models.TextField(blank=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["job", "number"]
        constraints = [models.UniqueConstraint(fields=["job", "number"], name="share_once")]
        indexes = [
            models.Index(
                fields=["job", "number"], name="share_open", condition=models.Q(state__in=["waiting", "running"])
            )
        ]


class JobLog(models.Model):
    """One line of a job's log."""

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="log")
    at = models.DateTimeField(auto_now_add=True)
    level = models.CharField(max_length=8, default="info")
    text = models.TextField()

    class Meta:
        ordering = ["id"]


class AuditEntry(models.Model):
    """What moved money or limits, who did it and why. A trigger refuses changes and deletions."""

    at = models.DateTimeField(auto_now_add=True, db_index=True)
    actor = models.CharField(max_length=150, help_text="A person's name, or system:<part>.")
    action = models.CharField(max_length=80, db_index=True)
    target = models.CharField(max_length=200)
    before = models.JSONField(null=True)
    after = models.JSONField(null=True)
    reason = models.TextField(blank=True)
    address = models.CharField(max_length=64, blank=True, help_text="Where the request came from.")

    class Meta:
        ordering = ["-id"]
        verbose_name_plural = "audit entries"

    def __str__(self) -> str:
        return f"{self.actor}: {self.action} {self.target}"
