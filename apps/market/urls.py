from django.urls import path

from apps.market import views

app_name = "market"
urlpatterns = [path("data/", views.data, name="data")]
