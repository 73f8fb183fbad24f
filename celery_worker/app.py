"""The Celery application: `celery -A celery_worker.app worker -Q data -P threads`.

Celery runs bounded work. What runs for ever is hosted beside it by a bootstep (`celery_worker.residents`).
"""

import os

from celery import Celery
from celery.signals import beat_init, setup_logging, worker_process_init
from kombu import Exchange, Queue

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "trader.settings")
os.environ.setdefault("CELERY_SKIP_CHECKS", "1")  # half a second of each start: `up` and `make lint` check

from django.conf import settings
from django.db import connections
from django.utils.module_loading import import_string

from celery_worker.heartbeat import HeartbeatStep
from celery_worker.residents import ResidentStep
from celery_worker.schedule import schedule_collect

QUEUES = ("data", "scanning", "training", "execution")
ROUTES = {
    "scanners.*": "scanning",
    "features.*": "scanning",
    "learning.*": "training",
    "backtesting.*": "training",
    "execution.*": "execution",
    "strategies.*": "execution",
    "risk.*": "execution",
    "portfolio.*": "execution",
}

app = Celery("quarterdeck")
app.conf.update(
    broker_url=settings.REDIS_URL.replace("unix://", "redis+socket://", 1),
    task_ignore_result=True,
    # Each queue has an exchange of its own: bound to a shared one, a message would reach all of them.
    task_queues=[Queue(name, Exchange(name, type="direct"), routing_key=name) for name in QUEUES],
    task_default_queue="data",
    task_default_exchange="data",
    task_default_routing_key="data",
    task_routes={pattern: {"queue": queue} for pattern, queue in ROUTES.items()},
    task_acks_late=True,
    worker_prefetch_multiplier=1,
    # A worker without its broker goes on hosting residents, and comes back by itself.
    broker_connection_retry=True,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    broker_connection_timeout=2.0,
    broker_transport_options={"socket_connect_timeout": 2.0, "health_check_interval": 10},
    worker_cancel_long_running_tasks_on_connection_loss=False,
    # Nobody asks workers questions over the broker: `status` reads leases and pids. It would cost idle CPU.
    worker_enable_remote_control=False,
    worker_send_task_events=False,
    worker_hijack_root_logger=False,
    worker_redirect_stdouts=False,
    beat_scheduler="django_celery_beat.schedulers:DatabaseScheduler",
    beat_max_loop_interval=30,
    timezone="UTC",
    enable_utc=True,
)
app.autodiscover_tasks()
app.steps["worker"].update((ResidentStep, HeartbeatStep))


@setup_logging.connect
def _logs(**_: object) -> None:
    """Let the project's own logs be configured, and Celery leave them alone."""
    _logs_configure(rotates=True)


def _logs_configure(rotates: bool) -> None:
    import_string("apps.common.logs.logs_configure")(os.environ.get("QD_PROCESS", "worker"), rotates=rotates)


@worker_process_init.connect
def _child(**_: object) -> None:
    """Give each forked worker process its own log file handles and connections."""
    _logs_configure(rotates=False)
    connections.close_all()


@beat_init.connect
def _beat(sender: object, **_: object) -> None:
    """Take the schedule that the apps declare; what the admin changed in the database stays."""
    app.conf.beat_schedule = schedule_collect()
