"""Every address of the site, collected from the apps."""

from django.contrib import admin
from django.contrib.auth.decorators import login_not_required
from django.urls import include, path
from django.views.generic import RedirectView

handler500 = "apps.dashboard.views.errors.server_error"

admin.autodiscover()

urlpatterns = [
    # one sign-in for everything: the admin's own would be a second door
    path("admin/login/", login_not_required(RedirectView.as_view(pattern_name="users:sign-in", query_string=True))),
    path("admin/", admin.site.urls),
    path("api/v1/", include("trader.api")),
    path("", include("apps.users.urls")),
    path("", include("apps.scanners.urls")),
    path("", include("apps.learning.urls")),
    path("", include("apps.strategies.urls")),
    path("", include("apps.backtesting.urls")),
    path("", include("apps.risk.urls")),
    path("", include("apps.market.urls")),
    path("", include("apps.annotations.urls")),
    path("", include("apps.monitoring.urls")),
    path("", include("apps.dashboard.urls")),
]
