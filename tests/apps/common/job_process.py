"""Works on a job's shares: one of several processes, which may be killed."""

import sys
import time

import django


def main(job_id: int) -> None:
    from apps.common.jobs import job_work
    from apps.common.models import AuditEntry

    def work(share):
        time.sleep(0.1)
        return lambda: AuditEntry.objects.create(actor="worker", action="share", target=str(share.parameters["n"]))

    while job_work(job_id, work, claim_s=1.0) >= 0:
        time.sleep(0.1)


if __name__ == "__main__":
    django.setup()
    main(int(sys.argv[1]))
