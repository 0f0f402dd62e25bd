"""Every refusal as `application/problem+json`: the one place where our errors meet HTTP's numbers."""

import logging
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from winnow import errors
from winnow.errors import InvalidRequest, WinnowError

logger = logging.getLogger(__name__)

# The nearest ancestor in this table decides.
STATUS: Final[dict[type[WinnowError], int]] = {
    errors.MalformedRequest: 400,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.TooLarge: 413,
    errors.UnsupportedMedia: 415,
    errors.RangeNotSatisfiable: 416,
    errors.InvalidRequest: 422,
    errors.QuotaExceeded: 429,
    errors.RateLimited: 429,
    errors.Unavailable: 503,
    errors.StorageFull: 507,
    errors.JobError: 422,
    WinnowError: 500,
}
_RETRY_AFTER_S: Final = {429: "5", 503: "2"}
_BODY_UNREAD: Final = frozenset({408, 413})
_CODES: Final = {
    400: "MALFORMED_REQUEST",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    408: "TIMEOUT",
    413: "TOO_LARGE",
}
MEDIA_TYPE: Final = "application/problem+json"


def status_of(error: WinnowError) -> int:
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def problem(
    status: int, code: str, title: str, detail: str, *, request_id: str, instance: str, fields: Any = ()
) -> JSONResponse:
    """The answer of RFC 9457, with our stable `code`."""
    body = {
        "type": f"urn:winnow:error:{code.lower().replace('_', '-')}",
        "title": title,
        "status": status,
        "detail": detail,
        "instance": instance,
        "code": code,
        "request_id": request_id,
        "errors": [{"pointer": pointer, "detail": text} for pointer, text in fields],
    }
    headers = {"Retry-After": _RETRY_AFTER_S[status]} if status in _RETRY_AFTER_S else {}
    if status in _BODY_UNREAD:
        headers["Connection"] = "close"  # what is left of the body must not be taken for the next request
    if status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(body, status, headers, MEDIA_TYPE)


def install(app: FastAPI) -> None:
    app.add_exception_handler(WinnowError, _on_ours)
    app.add_exception_handler(RequestValidationError, _on_validation)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(Exception, _on_unexpected)


def _answer(request: Request, status: int, code: str, title: str, detail: str, fields: Any = ()) -> JSONResponse:
    request_id = request.scope.get("state", {}).get("request_id", "")
    path = request.url.path[:200]
    return problem(status, code, title, detail, request_id=request_id, instance=path, fields=fields)


def _on_ours(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, WinnowError)  # noqa: S101 - that is how it was installed
    return _answer(request, status_of(error), error.code, error.title, error.detail, error.fields)


def _on_validation(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - that is how it was installed
    fields = [(_pointer(part["loc"]), part["msg"]) for part in error.errors()[:50]]
    detail = "; ".join(f"{pointer}: {text}" for pointer, text in fields[:3])
    return _answer(request, 422, InvalidRequest.code, InvalidRequest.title, detail, fields)


def _pointer(location: tuple[Any, ...]) -> str:
    """The JSON pointer of a place in the body; the names of union branches are no part of it."""
    return "".join(f"/{str(part)[:80]}" for part in location[1:]) or f"/{location[0]}"


def _on_http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 - that is how it was installed
    status = error.status_code
    title = HTTPStatus(status).phrase
    return _answer(request, status, _CODES.get(status, title.upper().replace(" ", "_")), title, str(error.detail))


def _on_unexpected(request: Request, error: Exception) -> JSONResponse:
    logger.error("a request failed on something nobody expected", exc_info=error)
    detail = "the service's log says more; the request id finds the place"
    return _answer(request, 500, WinnowError.code, WinnowError.title, detail)
