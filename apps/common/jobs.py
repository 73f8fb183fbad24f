"""Jobs: long work as rows. A job's shares are claimed by workers, 30 s at a time; each result counts once.

Celery's messages only wake workers. A worker that dies loses its claim; one that wakes up late finds that its
claim is worthless, and what it wrote with it is rolled back.

A job's row is locked without its key: a share that writes to the job's log in a long transaction blocks neither the
end of another share nor a cancel.
"""

import logging
import threading
import traceback
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NamedTuple

from django.db import connection, connections, transaction
from django.db.models import Count
from django.db.models.functions import Now

from apps.common.enqueue import enqueue_on_commit
from apps.common.errors import ShareLost
from apps.common.leases import holder_name
from apps.common.models import Job, JobLog, JobShare

CLAIM_S = 30.0
RENEW_SHARE = 1 / 3  # of the claim's life
ATTEMPTS_MAX = 3
ERROR_LENGTH = 4_000

CLAIM = """
UPDATE common_jobshare SET state = 'running', claim = %(claim)s, claimed_by = %(by)s, attempts = attempts + 1,
    claim_expires_at = clock_timestamp() + %(life)s
WHERE id = (
    SELECT share.id FROM common_jobshare share JOIN common_job job ON job.id = share.job_id
    WHERE share.job_id = %(job)s AND NOT job.cancel_asked AND job.state IN ('waiting', 'running')
        AND (share.state = 'waiting'
            OR (share.state = 'running' AND share.claim_expires_at < clock_timestamp() AND share.attempts < %(most)s))
    ORDER BY share.number LIMIT 1 FOR UPDATE OF share SKIP LOCKED
)
RETURNING id, number, parameters, attempts
"""
EXHAUSTED = """
UPDATE common_jobshare SET state = 'failed', claim = NULL, error = 'its worker died ' || attempts || ' times'
WHERE job_id = %s AND state = 'running' AND claim_expires_at < clock_timestamp() AND attempts >= %s
"""
NOBODY_AT_WORK = """
SELECT job.id, job.kind FROM common_job job
WHERE job.state IN ('waiting', 'running') AND NOT job.cancel_asked AND EXISTS (
    SELECT 1 FROM common_jobshare share WHERE share.job_id = job.id
    AND (share.state = 'waiting' OR (share.state = 'running' AND share.claim_expires_at < clock_timestamp())))
ORDER BY job.id
"""
RENEW = """
UPDATE common_jobshare SET claim_expires_at = clock_timestamp() + %s WHERE id = %s AND claim = %s AND state = 'running'
"""

logger = logging.getLogger(__name__)


class Share(NamedTuple):
    """A claimed share."""

    id: int
    job_id: int
    number: int
    parameters: dict[str, Any]
    claim: uuid.UUID
    attempts: int


def job_create(kind: str, title: str, shares: Sequence[dict[str, Any]], *, parameters: Any = None, by: str = "") -> Job:
    """Write a job with its shares, in one transaction, and wake a worker.

    `kind` is the name of the Celery task that takes the job's id and calls `job_work`.
    """
    with transaction.atomic():
        job = Job.objects.create(kind=kind, title=title, parameters=parameters or {}, total=len(shares), by=by)
        JobShare.objects.bulk_create(
            [JobShare(job=job, number=number, parameters=given) for number, given in enumerate(shares)], batch_size=1000
        )
        enqueue_on_commit(kind, job.pk)
    return job


def job_cancel(job_id: int, *, by: str) -> None:
    """Ask a job to stop: no share is claimed any more; those at work see it at their next renewal."""
    with transaction.atomic():
        job = Job.objects.select_for_update(no_key=True).get(pk=job_id)
        if job.state in (Job.State.WAITING, Job.State.RUNNING):
            job.cancel_asked = True
            job.save(update_fields=["cancel_asked"])
            job_log(job_id, f"cancel asked by {by}")
    _job_settle(job_id)


def job_log(job_id: int, text: str, level: str = "info") -> None:
    """Add a line to a job's log."""
    JobLog.objects.create(job_id=job_id, text=text, level=level)


def share_claim(job_id: int, claim_s: float = CLAIM_S) -> Share | None:
    """Claim the next free share of a job, passing over those that others hold; None when there is none."""
    claim = uuid.uuid4()
    values = {"claim": claim, "by": holder_name(), "life": timedelta(seconds=claim_s), "job": job_id}
    values["most"] = ATTEMPTS_MAX
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(CLAIM, values)
            row = cursor.fetchone()
            if row is None:
                cursor.execute(EXHAUSTED, [job_id, ATTEMPTS_MAX])
        if row is None:
            _job_settle(job_id)
            return None
        Job.objects.filter(pk=job_id, state=Job.State.WAITING).update(state=Job.State.RUNNING, started_at=Now())
        share = JobShare.objects.values_list("parameters", flat=True).get(pk=row[0])
    return Share(row[0], job_id, row[1], share, claim, row[3])


def share_renew(share: Share, claim_s: float = CLAIM_S) -> bool:
    """Keep a claim alive; False when it is lost or the job is to be cancelled: stop working."""
    with connection.cursor() as cursor:
        cursor.execute(RENEW, [timedelta(seconds=claim_s), share.id, share.claim])
        kept = cursor.rowcount == 1
    return kept and not Job.objects.filter(pk=share.job_id, cancel_asked=True).exists()


@contextmanager
def share_finish(share: Share, result: Any = None) -> Iterator[None]:
    """Write a share's results inside: they and the mark "done" are one transaction, so they count once.

    Raises `ShareLost`, and rolls back, when the claim has passed to another.
    """
    with transaction.atomic():
        row = JobShare.objects.select_for_update().get(pk=share.id)
        if row.claim != share.claim or row.state != Job.State.RUNNING:
            raise ShareLost(f"share {share.number} of job {share.job_id} passed to {row.claimed_by or 'another'}")
        yield
        JobShare.objects.filter(pk=share.id).update(
            state=Job.State.DONE, result=result, finished_at=Now(), claim_expires_at=None
        )
    _job_settle(share.job_id)


def share_fail(share: Share, error: str) -> None:
    """Give a share back for another attempt, or for good after the third."""
    for_good = share.attempts >= ATTEMPTS_MAX
    state = Job.State.FAILED if for_good else Job.State.WAITING
    JobShare.objects.filter(pk=share.id, claim=share.claim, state=Job.State.RUNNING).update(
        state=state, error=error[-ERROR_LENGTH:], claim=None, claim_expires_at=None
    )
    job_log(share.job_id, f"share {share.number}, attempt {share.attempts}: {error[-500:]}", "error")
    _job_settle(share.job_id)


def job_work(job_id: int, work: Callable[[Share], Any], claim_s: float = CLAIM_S) -> int:
    """Claim and do shares until none is free; returns how many were finished here.

    `work(share)` returns a function that writes the results (called inside the finishing transaction) or a plain
    JSON value. The claim is renewed beside it, in a thread.
    """
    finished = 0
    while (share := share_claim(job_id, claim_s)) is not None:
        try:
            with _renewing(share, claim_s):
                found = work(share)
            write = found if callable(found) else None
            with share_finish(share, None if write else found):
                if write:
                    write()
            finished += 1
        except ShareLost as error:
            logger.warning("result thrown away: %s", error)
        except Exception:
            logger.exception("share %s of job %s failed", share.number, job_id)
            share_fail(share, traceback.format_exc())
    _job_settle(job_id)
    return finished


@contextmanager
def _renewing(share: Share, claim_s: float) -> Iterator[None]:
    """Renew the claim from a thread while the work goes on."""
    over = threading.Event()

    def renew() -> None:
        try:
            while not over.wait(claim_s * RENEW_SHARE):
                if not share_renew(share, claim_s):
                    return
        except Exception:  # the database is gone: the claim runs out, and finishing will say so
            logger.warning("claim of share %s not renewed", share.number, exc_info=True)
        finally:
            connections.close_all()

    thread = threading.Thread(target=renew, name="claim", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def jobs_wake() -> int:
    """Send the tasks of jobs that have free shares: their messages may be lost, their rows are not."""
    with connection.cursor() as cursor:
        cursor.execute(NOBODY_AT_WORK)
        found = cursor.fetchall()
    for job_id, kind in found:
        enqueue_on_commit(kind, job_id)
    return len(found)


def _job_settle(job_id: int) -> None:
    """Count what is done and end the job when nothing is left to do. Shares are rows, so nothing counts twice."""
    with transaction.atomic():
        job = Job.objects.select_for_update(no_key=True).get(pk=job_id)
        states = dict(JobShare.objects.filter(job_id=job_id).order_by().values_list("state").annotate(Count("pk")))
        job.done = states.get(Job.State.DONE, 0)
        is_over = job.state not in (Job.State.WAITING, Job.State.RUNNING)
        if not is_over:
            _end_if_over(job, states)
        job.save(update_fields=["done", "state", "finished_at", "error"])


def _end_if_over(job: Job, states: dict[str, int]) -> None:
    at_work = Job.State.RUNNING in states
    left = Job.State.WAITING in states
    if at_work or (left and not job.cancel_asked):
        return
    if job.cancel_asked and left:
        job.state = Job.State.CANCELLED
    elif Job.State.FAILED in states:
        job.state = Job.State.FAILED
        job.error = f"{states[Job.State.FAILED]} of {job.total} shares failed"
    else:
        job.state = Job.State.DONE
    job.finished_at = Now()
