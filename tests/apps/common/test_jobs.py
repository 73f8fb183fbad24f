"""Jobs: shares claimed by several workers, one of them killed, are counted once."""

import os
import signal
import subprocess
import threading

import pytest
from django.db import connection

from apps.common.errors import ShareLost
from apps.common.jobs import (
    job_cancel,
    job_create,
    job_log,
    job_work,
    jobs_wake,
    share_claim,
    share_fail,
    share_finish,
    share_renew,
)
from apps.common.models import AuditEntry, Job, JobShare
from tests.reliability.processes import end, spawn, wait_until

pytestmark = pytest.mark.django_db(transaction=True)


def make(count=3):
    return job_create("test", "a test", [{"n": n} for n in range(count)], by="tester")


def state(job):
    job.refresh_from_db()
    return job.state, job.done


def test_a_job_is_done_when_its_shares_are():
    job = make(3)
    assert job_work(job.pk, lambda share: {"square": share.parameters["n"] ** 2}) == 3
    assert state(job) == ("done", 3)
    assert list(job.shares.values_list("result", flat=True)) == [{"square": 0}, {"square": 1}, {"square": 4}]


def test_a_share_is_claimed_by_one_only():
    job = make(2)
    first, second = share_claim(job.pk), share_claim(job.pk)
    assert (first.number, second.number) == (0, 1)
    assert share_claim(job.pk) is None
    assert state(job) == ("running", 0)


def test_a_claim_that_ran_out_passes_on_and_the_late_result_is_thrown_away():
    job = make(1)
    late = share_claim(job.pk, claim_s=0)
    again = share_claim(job.pk)
    assert again.number == late.number
    assert again.attempts == 2
    assert not share_renew(late)
    with pytest.raises(ShareLost, match="passed to"), share_finish(late):
        AuditEntry.objects.create(actor="late", action="wrote")
    with share_finish(again):
        AuditEntry.objects.create(actor="again", action="wrote")
    with pytest.raises(ShareLost), share_finish(again):
        AuditEntry.objects.create(actor="twice", action="wrote")
    assert list(AuditEntry.objects.values_list("actor", flat=True)) == ["again"]
    assert state(job) == ("done", 1)


def test_a_failing_share_is_tried_three_times_and_fails_the_job_with_its_reason():
    job = make(2)

    def work(share):
        if share.number == 1:
            raise RuntimeError("broken on purpose")

    assert job_work(job.pk, work) == 1
    assert state(job) == ("failed", 1)
    assert job.error == "1 of 2 shares failed"
    assert JobShare.objects.get(number=1).attempts == 3
    assert job.log.filter(level="error", text__contains="broken on purpose").count() == 3


def test_a_cancelled_job_gives_out_no_shares_and_ends_when_those_at_work_have():
    job = make(3)
    share = share_claim(job.pk)
    job_cancel(job.pk, by="tester")
    assert share_claim(job.pk) is None
    assert not share_renew(share)
    assert state(job) == ("running", 0)
    with share_finish(share):
        pass
    assert state(job) == ("cancelled", 1)
    job_cancel(job.pk, by="tester")
    assert state(job) == ("cancelled", 1)


def test_a_claim_is_renewed_while_the_work_goes_on():
    job = make(1)

    def work(share):
        threading.Event().wait(1.0)  # twice the claim's life
        assert share_claim(job.pk) is None

    assert job_work(job.pk, work, claim_s=0.5) == 1
    assert JobShare.objects.get().attempts == 1


def test_a_share_that_kills_its_workers_fails_in_the_end():
    job = make(1)
    for attempt in (1, 2, 3):
        assert share_claim(job.pk, claim_s=0).attempts == attempt
    assert share_claim(job.pk) is None
    assert state(job) == ("failed", 0)
    assert "its worker died 3 times" in JobShare.objects.get().error


def test_jobs_that_nobody_works_on_are_woken(monkeypatch):
    sent = []
    monkeypatch.setattr("apps.common.enqueue._send", lambda task, arguments, named: sent.append((task, *arguments)))
    waiting, held, over = make(1), make(1), make(1)
    share_claim(held.pk)
    job_work(over.pk, lambda share: None)
    sent.clear()
    jobs_wake()
    assert sent == [("test", waiting.pk)]


def test_the_results_of_a_share_that_fails_to_write_are_not_there():
    job = make(1)

    def work(share):
        def write():
            AuditEntry.objects.create(actor="half", action="wrote")
            raise RuntimeError("no room")

        return write

    assert job_work(job.pk, work) == 0
    assert not AuditEntry.objects.exists()
    assert state(job) == ("failed", 0)


def test_a_share_given_back_is_free_at_once():
    job = make(1)
    share = share_claim(job.pk)
    share_fail(share, "the venue did not answer")
    assert share_claim(job.pk).attempts == 2


@pytest.mark.stack
def test_two_workers_one_killed_every_share_is_counted_once():
    workers = [spawn("tests.apps.common.job_process", stdout=subprocess.PIPE) for _ in range(2)]
    try:
        for worker in workers:
            assert worker.stdout.readline() == b"ready\n"
        job = make(40)
        wait_until(lambda: len(set(JobShare.objects.exclude(claimed_by="").values_list("claimed_by", flat=True))) == 2)
        victim = workers[0]
        wait_until(lambda: JobShare.objects.filter(state="running", claimed_by__endswith=f":{victim.pid}").exists())
        os.kill(victim.pid, signal.SIGKILL)
        wait_until(lambda: state(job)[0] == "done")
    finally:
        for worker in workers:
            end(worker)
    assert state(job) == ("done", 40)
    written = list(AuditEntry.objects.filter(action="share").values_list("target", flat=True))
    assert sorted(written, key=int) == [str(n) for n in range(40)]
    assert Job.objects.count() == 1
    connection.close()


def test_a_share_that_writes_for_long_holds_up_neither_the_others_nor_a_cancel():
    job = make(2)
    slow, quick = share_claim(job.pk), share_claim(job.pk)
    inside, over = threading.Event(), threading.Event()

    def write_slowly():
        with share_finish(slow):
            job_log(job.pk, "written, not committed")
            inside.set()
            assert over.wait(30)
        connection.close()

    thread = threading.Thread(target=write_slowly)
    thread.start()
    try:
        assert inside.wait(30)
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '5s'")
        with share_finish(quick):
            pass
        job_cancel(job.pk, by="tester")
        assert state(job) == ("running", 1)
    finally:
        over.set()
        thread.join()
        connection.close()
    assert state(job) == ("done", 2)
