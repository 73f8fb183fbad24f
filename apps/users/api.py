"""The API about whoever asks."""

from uuid import UUID

from django.http import HttpRequest
from ninja import Router

from apps.common.api import Moment, Out, answers
from apps.users.bearer import READ
from apps.users.tokens import Holder

router = Router(tags=["token"])


class TokenOut(Out):
    """The token that asked."""

    id: UUID
    name: str
    person: str
    role: str
    scopes: list[str]
    expires_at: Moment


@router.get("/token", auth=READ, response=answers(TokenOut), summary="Who asks")
def token(request: HttpRequest) -> dict[str, object]:
    """Return what the token that asked may do, and until when."""
    holder: Holder = request.auth  # type: ignore[attr-defined]
    return {
        "id": holder.token.id,
        "name": holder.token.name,
        "person": holder.person.get_username(),
        "role": holder.role,
        "scopes": holder.token.scopes,
        "expires_at": holder.token.expires_s,
    }
