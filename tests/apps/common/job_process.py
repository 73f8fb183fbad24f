"""Works on the shares of whatever job there is: one of several processes, which may be killed."""

import time

import django


def main() -> None:
    from apps.common.jobs import job_work
    from apps.common.models import AuditEntry, Job

    def work(share):
        time.sleep(0.1)
        return lambda: AuditEntry.objects.create(actor="worker", action="share", target=str(share.parameters["n"]))

    print("ready", flush=True)
    while True:
        for job_id in Job.objects.values_list("pk", flat=True):
            job_work(job_id, work, claim_s=1.0)
        time.sleep(0.05)


if __name__ == "__main__":
    django.setup()
    main()
