"""The audit trail and long work in the admin: shown, never edited by hand."""

from typing import Any

from django.contrib import admin, messages
from django.http import HttpRequest
from unfold.admin import ModelAdmin, TabularInline
from unfold.decorators import action

from apps.common.jobs import job_cancel
from apps.common.models import AuditEntry, Job, JobLog


class _ReadOnly:
    """Nothing is added, changed or deleted here."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(AuditEntry)
class AuditEntryAdmin(_ReadOnly, ModelAdmin):
    """What moved money or limits, who did it and why."""

    list_display = ("at", "actor", "action", "target", "reason", "address")
    list_filter = ("action",)
    search_fields = ("actor", "action", "target", "reason")
    show_full_result_count = False


class LogInline(_ReadOnly, TabularInline):
    """What a job's workers wrote down."""

    model = JobLog
    extra = 0
    fields = readonly_fields = ("at", "level", "text")


@admin.register(Job)
class JobAdmin(_ReadOnly, ModelAdmin):
    """Long work: how far it is, what it says, and a way to stop it."""

    list_display = ("title", "state", "progress", "by", "created_at", "finished_at")
    list_filter = ("state", "kind")
    search_fields = ("title", "by")
    actions = ("cancel",)
    inlines = (LogInline,)

    @admin.display(description="Shares done")
    def progress(self, job: Job) -> str:
        """Say how much is done."""
        return f"{job.done} of {job.total}"

    @action(description="Cancel: what is done stays, nothing more is begun")
    def cancel(self, request: HttpRequest, queryset: Any) -> None:
        """Ask the chosen jobs to stop."""
        for job in queryset:
            job_cancel(job.pk, by=request.user.get_username())
            messages.success(request, f"{job.title}: asked to stop.")
