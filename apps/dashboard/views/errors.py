"""Answers when something broke: what happened, what the system does, what to do, and an id for the logs."""

import logging
import sys
import uuid

from django.contrib.auth.decorators import login_not_required
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from apps.users.selectors import Role, identity_read

logger = logging.getLogger(__name__)

DATABASE = {
    "title": "The database does not answer",
    "what": "Pages cannot be shown until it does. Nobody was signed out.",
    "meanwhile": "No new risk leaves while it is gone. Stops at the venue stay there, and the kill switch works.",
    "fix": "The supervisor starts it again by itself; manage.py status says how it is.",
}
OTHER = {
    "title": "This page broke",
    "what": "A fault of ours, not of your input.",
    "meanwhile": "Only this page is concerned: feed, desk and kill switch run in processes of their own.",
    "fix": "Try again; if it stays, look the id up in the logs of the web process.",
}


@login_not_required
def server_error(request: HttpRequest) -> HttpResponse:
    """Show what broke. Asks neither database nor bus; the kill switch stands on this page too."""
    error = sys.exc_info()[1]
    is_database = isinstance(error, OperationalError | InterfaceError)
    identifier = uuid.uuid4().hex[:8]
    logger.error("page broke: id %s, %s %s", identifier, request.method, request.path, exc_info=error)
    person = identity_read(request.COOKIES)
    status = 503 if is_database else 500
    if request.headers.get("HX-Request"):
        words = DATABASE if is_database else OTHER
        context = {"message": words["title"] + ".", "fix": words["fix"], "id": identifier}
        return render(request, "parts/_problem.html", context, status=status)
    context = {
        **(DATABASE if is_database else OTHER),
        "id": identifier,
        "identity": person,
        "can_kill": person is not None and person.may(Role.TRADER),
    }
    return render(request, "error.html", context, status=status)
