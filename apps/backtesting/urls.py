from django.urls import path

from apps.backtesting import views

app_name = "backtesting"
urlpatterns = [path("backtests/", views.index, name="index")]
