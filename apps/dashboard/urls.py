from django.urls import path

from apps.dashboard.views import desk, kill, market, orders

app_name = "dashboard"
urlpatterns = [
    path("", desk.desk, name="desk"),
    path("market/", market.first, name="market-first"),
    path("market/<slug:venue>/<slug:slug>/", market.market, name="market"),
    path("market/<slug:venue>/<slug:slug>/bars.json", market.bars, name="bars"),
    path("market/<slug:venue>/<slug:slug>/why/", market.why_last, name="market-why"),
    path("market/<slug:venue>/<slug:slug>/quality/", market.quality, name="quality"),
    path("instruments/", desk.instruments, name="instruments"),
    path("desk/instruments.json", desk.collected, name="collected"),
    path("desk/counts.json", desk.counts, name="counts"),
    path("reconciliation/", desk.reconciliation, name="reconciliation"),
    path("why/signal/<int:signal_id>/", desk.why_signal, name="why-signal"),
    path("why/refusal/<uuid:refusal_id>/", desk.why_refusal, name="why-refusal"),
    path("orders/new/", orders.order_new, name="order-new"),
    path("orders/preview/", orders.order_preview, name="order-preview"),
    path("orders/", orders.order_submit, name="order-submit"),
    path("orders/<int:order_id>/cancel/", orders.cancel, name="order-cancel"),
    path("orders/commands/<int:command_id>/", orders.command, name="order-command"),
    path("positions/<int:account_id>/<int:instrument_id>/close/", orders.close, name="position-close"),
    path("kill/engage", kill.engage, name="kill-engage"),
    path("kill/release", kill.release, name="kill-release"),
    path("kill/banner", kill.banner, name="kill-banner"),
]
