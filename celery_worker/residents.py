"""A bootstep of the *worker* that hosts residents beside its tasks.

Of the worker and not of the consumer: the consumer stops and starts with the broker's connection, and a desk must
go on obeying the kill switch while the bus is down. Only workers with a thread pool host: nothing forks under them.
"""

from typing import Any

from celery import bootsteps
from celery.signals import worker_shutting_down
from django.utils.module_loading import import_string

HOST = "apps.common.host.ResidentHost"


class ResidentStep(bootsteps.StartStopStep):
    """Starts the host of residents with the worker and stops it with the worker."""

    requires = ("celery.worker.components:Timer",)

    def __init__(self, worker: Any, **kwargs: Any) -> None:
        super().__init__(worker, **kwargs)
        self.host: Any = None

    def include_if(self, worker: Any) -> bool:
        """Say whether this worker hosts: only one with a thread pool does."""
        return worker.pool_cls.__module__.endswith(".thread")

    def start(self, worker: Any) -> None:
        """Start the host; it waits for neither database nor broker."""
        self.host = import_string(HOST)(set(worker.app.amqp.queues.consume_from), worker=worker.hostname)
        # The signal comes at once with TERM or INT; this step's stop only after the tasks have ended.
        worker_shutting_down.connect(self._shutting_down, weak=False)
        self.host.start()

    def stop(self, worker: Any) -> None:
        """Stop the residents and give their leases back."""
        if self.host is not None:
            self.host.stop()

    def terminate(self, worker: Any) -> None:
        """A second signal: the same, residents have had their notice."""
        self.stop(worker)

    def _shutting_down(self, **_: Any) -> None:
        self.host.request_stop()
