"""How services start tasks without importing them: by name, once the transaction is on disk."""

import logging
from typing import Any

from django.db import transaction
from django.utils.module_loading import import_string
from kombu.exceptions import OperationalError

APPLICATION = "celery_worker.app.app"

logger = logging.getLogger(__name__)


def enqueue_on_commit(task: str, *arguments: Any, **named: Any) -> None:
    """Send a task by name when the running transaction commits; at once when there is none.

    With the broker gone nothing is raised: what must happen is a row (a job, a command) that is looked for anyway.
    """
    transaction.on_commit(lambda: _send(task, arguments, named))


def _send(task: str, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
    try:
        import_string(APPLICATION).send_task(task, args=arguments, kwargs=named, retry=False)
    except (OperationalError, OSError) as error:
        logger.warning("task %s not sent, the broker is gone: %s", task, error)
