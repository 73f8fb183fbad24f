"""Does shares of back-fills: one of several processes, which may be killed. Argument: how long to stay in the write."""

import sys
import time

import django

CLAIM_S = 1.0


def main(stay_s: float) -> None:
    from apps.common.jobs import job_work
    from apps.common.models import Job
    from apps.market.services import backfill_share

    def work(share):
        write = backfill_share(share)

        def written():
            write()
            print(share.number, flush=True)  # its bars are in the transaction that ends the share, not yet committed
            time.sleep(stay_s)

        return written

    print("ready", flush=True)
    while True:
        for job_id in Job.objects.filter(kind="market.backfill").values_list("pk", flat=True):
            job_work(job_id, work, claim_s=CLAIM_S)
        time.sleep(0.05)


if __name__ == "__main__":
    django.setup()
    main(float(sys.argv[1]))
