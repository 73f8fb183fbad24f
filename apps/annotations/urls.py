from django.urls import path

from apps.annotations import views

app_name = "annotations"
urlpatterns = [path("annotate/", views.index, name="index")]
