"""The place of the Annotate page: what will stand here, and how to get it there."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET


@require_GET
def index(request: HttpRequest) -> HttpResponse:
    """Show the page."""
    return render(request, "annotations/index.html", {"page": "annotate"})
