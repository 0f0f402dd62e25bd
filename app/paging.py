"""Lists in pages: a size that is capped, and a token that says where the next one begins."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final

from fastapi import Query

from app.tokens import Tokens

_LARGEST: Final = 1000

PageSize = Annotated[int, Query(ge=1, le=2**31, description=f"More than {_LARGEST} gives {_LARGEST}")]
PageToken = Annotated[str | None, Query(min_length=1, max_length=1000, description="`next_page_token` of the last one")]


def capped(page_size: int) -> int:
    return min(page_size, _LARGEST)


def page_of(
    tokens: Tokens, purpose: str, rows: Sequence[Any], size: int, as_json: Callable[[Any], dict[str, Any]]
) -> dict[str, Any]:
    """One page; a row more than asked for says that there is another."""
    last = rows[size - 1] if len(rows) > size else None
    token = tokens.sign(purpose, [last.created_at, last.id]) if last is not None else None
    return {"items": [as_json(row) for row in rows[:size]], "next_page_token": token}
