from django.urls import path

from apps.scanners import views

app_name = "scanners"
urlpatterns = [path("scanner/", views.index, name="index")]
