"""Every refusal as `application/problem+json`: the one place where our errors meet HTTP's numbers."""

import logging
import math
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from winnow import errors
from winnow.errors import InvalidRequest, RateLimited, WinnowError

logger = logging.getLogger(__name__)

# The nearest ancestor in this table decides.
STATUS: Final[dict[type[WinnowError], int]] = {
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.InvalidRequest: 422,
    errors.QuotaExceeded: 429,
    errors.RateLimited: 429,
    errors.Unavailable: 503,
    errors.StorageFull: 507,
    errors.JobError: 422,
    errors.WorkerStorageFull: 507,
    WinnowError: 500,
}
_RETRY_AFTER_S: Final = {429: 5, 503: 2}
_BODY_UNREAD: Final = frozenset({408, 413})
_CODES: Final = {
    400: "MALFORMED_REQUEST",
    403: "FORBIDDEN",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    408: "TIMEOUT",
    413: "TOO_LARGE",
    415: "UNSUPPORTED_MEDIA_TYPE",
    416: "RANGE_NOT_SATISFIABLE",
}
_SHOWN_FIELDS: Final = 50
_SHOWN_LETTERS: Final = 300  # of a message that may quote the caller
MEDIA_TYPE: Final = "application/problem+json"


def status_of(error: WinnowError) -> int:
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def problem_type(code: str) -> str:
    return f"urn:winnow:error:{code.lower().replace('_', '-')}"


def problem_body(
    status: int, code: str, title: str, detail: str, *, request_id: str, instance: str, fields: Any = ()
) -> dict[str, Any]:
    """The object of RFC 9457, with our stable `code`."""
    return {
        "type": problem_type(code),
        "title": title,
        "status": status,
        "detail": detail,
        "instance": instance,
        "code": code,
        "request_id": request_id,
        "errors": [{"pointer": pointer, "detail": text} for pointer, text in fields],
    }


def problem(
    status: int,
    code: str,
    title: str,
    detail: str,
    *,
    request_id: str,
    instance: str,
    fields: Any = (),
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    body = problem_body(status, code, title, detail, request_id=request_id, instance=instance, fields=fields)
    sent = {"Retry-After": str(_RETRY_AFTER_S[status])} if status in _RETRY_AFTER_S else {}
    if status in _BODY_UNREAD:
        sent["Connection"] = "close"  # what is left of the body must not be taken for the next request
    if status == HTTPStatus.UNAUTHORIZED:
        sent["WWW-Authenticate"] = "Bearer"
    return JSONResponse(body, status, sent | dict(headers or {}), MEDIA_TYPE)


def unexpected(request_id: str, instance: str, error: BaseException) -> JSONResponse:
    """A mistake of ours: the log says what, the caller is told where to look."""
    logger.error("request %s failed on something nobody expected", request_id, exc_info=error)
    detail = "the service's log says more; the request id finds the place"
    return problem(500, WinnowError.code, WinnowError.title, detail, request_id=request_id, instance=instance)


def job_problem(code: str, error: Mapping[str, Any] | None) -> dict[str, Any]:
    """Why a job ended, in the same words as a refusal; the row keeps the words of the last error it met."""
    told = error if error is not None and error.get("code") == code else {}
    title = told.get("title") or _TITLES.get(code, WinnowError.title)
    return {"type": problem_type(code), "title": title, "code": code, "detail": told.get("detail") or title}


def install(app: FastAPI) -> None:
    app.add_exception_handler(WinnowError, _on_ours)
    app.add_exception_handler(RequestValidationError, _on_validation)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(FileNotFoundError, _on_missing_file)


def _answer(request: Request, status: int, code: str, title: str, detail: str, **more: Any) -> JSONResponse:
    request_id = request.scope.get("state", {}).get("request_id", "")
    return problem(status, code, title, detail, request_id=request_id, instance=request.url.path[:200], **more)


def _on_ours(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, WinnowError)  # noqa: S101 - that is how it was installed
    headers = {}
    if isinstance(error, RateLimited):
        headers["Retry-After"] = str(math.ceil(60 / request.app.state.parts.settings.rate_per_minute))
    status = status_of(error)
    return _answer(request, status, error.code, error.title, error.detail, fields=error.fields, headers=headers)


def _on_missing_file(request: Request, _error: Exception) -> JSONResponse:
    """The row was there and its file was not: deleted since, or never restored from a backup."""
    lost = errors.NotFound("the file is no longer there")
    return _answer(request, status_of(lost), lost.code, lost.title, lost.detail)


def _on_validation(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - that is how it was installed
    parts = error.errors()[:_SHOWN_FIELDS]
    fields = [(_pointer(part["loc"], error.body), str(part["msg"])[:_SHOWN_LETTERS]) for part in parts]
    detail = "; ".join(f"{pointer}: {text}" for pointer, text in fields[:3])
    return _answer(request, 422, InvalidRequest.code, InvalidRequest.title, detail, fields=fields)


def _pointer(location: tuple[Any, ...], body: Any) -> str:
    """The JSON pointer of a place in the body; the names of union branches are no part of it."""
    place, *steps = location
    here = body if place == "body" else None
    names: list[str] = []
    branch: Any = None  # the object whose branch has been named: a field of it may be called the same
    for step in steps:
        if isinstance(here, dict) and here is not branch and step in (here.get("type"), here.get("method")):
            branch = here
            continue
        names.append(str(step)[:80].replace("~", "~0").replace("/", "~1"))
        here = _inside(here, step)
    return "".join(f"/{name}" for name in names) or f"/{'' if place == 'body' else place}"


def _inside(value: Any, step: Any) -> Any:
    if isinstance(value, dict):
        return value.get(step)
    return value[step] if isinstance(value, list) and isinstance(step, int) and step < len(value) else None


def _on_http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 - that is how it was installed
    status = error.status_code
    title = HTTPStatus(status).phrase
    code = _CODES.get(status, title.upper().replace(" ", "_"))
    return _answer(request, status, code, title, str(error.detail), headers=error.headers)


def _codes(kind: type[WinnowError]) -> Iterable[type[WinnowError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _codes(child)


_TITLES: Final = {kind.code: kind.title for kind in _codes(errors.JobError)}
