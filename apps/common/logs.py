"""Logs: structured, JSON lines in a file per process, readable on a terminal.

Context variables follow a task: `structlog.contextvars.bind_contextvars(decision_id=…)` puts the decision's id
on every line from tick to fill.
"""

import logging
import logging.handlers
import sys
from pathlib import Path
from typing import Any

import structlog
from django.conf import settings

FILE_BYTES = 20_000_000
FILES_KEPT = 5
QUIET = ("daphne", "twisted", "asyncio", "ccxt", "urllib3", "httpx", "amqp", "kombu", "django.server", "aiohttp.access")

_SHARED: list[Any] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.stdlib.PositionalArgumentsFormatter(),
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.StackInfoRenderer(),
]

# without the frames' local variables: they hold keys and secrets
_TRACEBACKS = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False, max_frames=30)
)


def logs_configure(process_name: str, level: str = "INFO", *, rotates: bool = True) -> Path:
    """Send the logs of this process to `<state_dir>/logs/<process_name>.log` and, at a terminal, to stderr.

    Without a folder that can be written, only stderr is used, and it says so. Returns the file's path.
    A forked child must not rotate the file that it shares (`rotates=False`): it follows its parent's rotations.
    """
    path = Path(settings.STATE_DIR) / "logs" / f"{process_name}.log"
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    handlers = [_file_handler(path, rotates)]
    if sys.stderr.isatty() or handlers[0] is None:
        handlers.append(_terminal_handler())
    for handler in handlers:
        if handler is not None:
            root.addHandler(handler)
    root.setLevel(level)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *_SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(process=process_name)
    return path


def _file_handler(path: Path, rotates: bool) -> logging.Handler | None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handler: logging.Handler
        if rotates:
            handler = logging.handlers.RotatingFileHandler(path, maxBytes=FILE_BYTES, backupCount=FILES_KEPT)
        else:
            handler = logging.handlers.WatchedFileHandler(path)
    except OSError as error:
        print(f"logs go to the terminal only: {path} cannot be written: {error}", file=sys.stderr)
        return None
    handler.setFormatter(_formatter([_TRACEBACKS, structlog.processors.JSONRenderer(default=str)]))
    return handler


def _terminal_handler() -> logging.Handler:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        _formatter(
            [
                structlog.dev.ConsoleRenderer(
                    colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
                )
            ]
        )
    )
    return handler


def _formatter(last: list[Any]) -> logging.Formatter:
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=_SHARED,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
    )
