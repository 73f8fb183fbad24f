from django.urls import path

from apps.monitoring import views

app_name = "monitoring"
urlpatterns = [
    path("operations/", views.index, name="index"),
    path("operations/residents/", views.residents, name="residents"),
    path("healthz", views.healthz, name="healthz"),
    path("readyz", views.readyz, name="readyz"),
]
