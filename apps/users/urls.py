from django.urls import path

from apps.users import views

app_name = "users"
urlpatterns = [
    path("sign-in/", views.SignIn.as_view(), name="sign-in"),
    path("sign-in/link/", views.link_redeem, name="link"),
    path("sign-out/", views.SignOut.as_view(), name="sign-out"),
    path("you/", views.settings_edit, name="settings"),
    path("you/password/", views.password_set, name="password"),
]
