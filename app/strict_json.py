"""Request bodies are JSON to the letter: what a lenient parser would swallow is refused before it is a problem."""

import json
from collections.abc import Callable, Coroutine
from typing import Any, Final, NoReturn

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

_MAX_DIGITS: Final = 400
_MAX_KEYS: Final = 1000  # of one object: no request of ours has a tenth of it, and each unknown key costs a complaint
_MAX_LENGTH: Final = 10_000  # of one list: so many URLs may be given inline


def parse(body: bytes) -> Any:
    """Refuses duplicate keys, NaN, infinities, endless digits, endless lists, deep nesting and lone surrogates."""
    try:
        value = json.loads(
            body.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_no_constant,
            parse_float=_finite,
            parse_int=_bounded,
        )
        _check_lists(value)
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except RecursionError:
        raise HTTPException(400, "the JSON is nested too deeply") from None
    except ValueError as error:
        raise HTTPException(400, f"the body is not JSON as we take it: {str(error)[:200]}") from None
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice in one object")
    if len(found) > _MAX_KEYS:
        raise ValueError(f"an object has more than {_MAX_KEYS} keys")
    return found


def _check_lists(value: Any) -> None:
    open_ = [value]
    while open_:
        here = open_.pop()
        if isinstance(here, list) and len(here) > _MAX_LENGTH:
            raise ValueError(f"a list has more than {_MAX_LENGTH} entries")
        open_ += here if isinstance(here, list) else here.values() if isinstance(here, dict) else ()


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    value = float(text) if len(text) <= _MAX_DIGITS else float("inf")
    if value in {float("inf"), float("-inf")}:
        raise ValueError("a number is too large")
    return value


def _bounded(text: str) -> int:
    if len(text) > _MAX_DIGITS:
        raise ValueError("a number has too many digits")
    return int(text)


class StrictRequest(Request):
    async def json(self) -> Any:
        return parse(await self.body())


class StrictRoute(APIRoute):
    """Reads bodies through `parse`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def strictly(request: Request) -> Response:
            return await handle(StrictRequest(request.scope, request.receive))

        return strictly
