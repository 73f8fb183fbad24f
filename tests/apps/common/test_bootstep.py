"""The bootstep: which workers host, and that residents hear of the end at once."""

from types import SimpleNamespace

import pytest

from celery_worker import residents
from celery_worker.residents import ResidentStep


class Host:
    """Notes what is asked of it."""

    def __init__(self, queues, worker):
        self.queues, self.worker, self.calls = queues, worker, []

    def start(self):
        self.calls.append("start")

    def request_stop(self):
        self.calls.append("request_stop")

    def stop(self):
        self.calls.append("stop")


def worker(pool):
    queues = SimpleNamespace(consume_from={"data": None})
    return SimpleNamespace(
        pool_cls=type("Pool", (), {"__module__": pool}), app=SimpleNamespace(amqp=SimpleNamespace(queues=queues)),
        hostname="data@here",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("pool", "hosts"), [("celery.concurrency.thread", True), ("celery.concurrency.prefork", False)]
)
def test_only_workers_with_threads_host(pool, hosts):
    step = ResidentStep.__new__(ResidentStep)
    assert step.include_if(worker(pool)) is hosts


def test_it_starts_tells_and_stops(monkeypatch):
    monkeypatch.setattr(residents, "import_string", lambda path: Host)
    step, here = ResidentStep(worker("celery.concurrency.thread")), worker("celery.concurrency.thread")
    step.stop(here)
    step.start(here)
    assert (step.host.queues, step.host.worker) == ({"data"}, "data@here")
    residents.worker_shutting_down.send(sender="x", sig="TERM", how="Warm", exitcode=0)
    step.terminate(here)
    residents.worker_shutting_down.disconnect(step._shutting_down)
    assert step.host.calls == ["start", "request_stop", "stop"]
