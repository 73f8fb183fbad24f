from django.urls import path

from apps.risk import views

app_name = "risk"
urlpatterns = [
    path("risk/", views.index, name="index"),
    path("risk/halts/<uuid:halt_id>/end/", views.halt_finish, name="halt-end"),
]
