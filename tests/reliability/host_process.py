"""Hosts the residents of the given queues until TERM: `python -m tests.reliability.host_process data`."""

import signal
import sys
import threading

import django


def main() -> None:
    django.setup()
    from apps.common.host import ResidentHost
    from apps.common.residents import register_resident

    register_resident(
        kind="drill",
        queues=("drill",),
        keys="tests.reliability.drill_resident.drill_keys",
        factory="tests.reliability.drill_resident.Drill",
    )
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    host = ResidentHost(set(sys.argv[1:]), worker="drill")
    host.start()
    ended.wait()
    host.stop()


if __name__ == "__main__":
    main()
