"""What answers of several routers have in common."""

from typing import Annotated, Any

from fastapi import Header, Response

from app.service import Said

IdempotencyKey = Annotated[
    str | None,
    Header(min_length=1, max_length=255, description="The same key and body get the first answer again, for 48 hours"),
]


def respond(response: Response, said: Said, place: str) -> dict[str, Any]:
    """A new thing: where it is, and whether it was there before."""
    response.status_code = said.status
    response.headers["Location"] = f"/v1/{place}/{said.body['id']}"
    if said.replayed:
        response.headers["Idempotency-Replayed"] = "true"
    return said.body
