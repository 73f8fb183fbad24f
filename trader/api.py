"""The API at `/api/v1/`, collected from the apps' `api.py` by dotted path: no lower floor imports an upper one."""

from django.urls import path
from django.utils.module_loading import import_string

from apps.common.api import Api
from trader.runtime.status import project_version

ROUTERS = (
    "apps.users.api.router",
    "apps.market.api.router",
    "apps.portfolio.api.router",
    "apps.strategies.api.router",
    "apps.risk.api.router",
    "apps.execution.api.router",
    "apps.monitoring.api.router",
)
DESCRIPTION = """Read what the desk knows, and act by the same rules as the pages.

Send `Authorization: Bearer TOKEN`; `manage.py token create` makes one. Times are UTC, money is text, lists come in
pages by `cursor`. Errors are `application/problem+json` with the field and the fix. A socket at `/api/v1/log/` hands
on every message of the log topics, by number. docs/reference/api.md tells the rest."""

api = Api(
    import_string("apps.users.bearer.known"),
    title="Quarterdeck",
    version=project_version(),
    description=DESCRIPTION,
)
for router in ROUTERS:
    api.add_router("", import_string(router))

urlpatterns = [path("", api.urls)]
sockets = [path("api/v1/log/", import_string("apps.users.log_socket.LogConsumer").as_asgi())]
