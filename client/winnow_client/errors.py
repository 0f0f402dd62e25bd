"""What a service may refuse, as exceptions; `code` is stable, the text is for people."""

from typing import Any

import httpx


class ApiError(Exception):
    """A problem the service described, or that it could not be reached."""

    def __init__(self, code: str, detail: str, *, status: int = 0, body: dict[str, Any] | None = None) -> None:
        super().__init__(f"{code}: {detail}")
        self.code, self.detail, self.status = code, detail, status
        self.body = body or {}

    @property
    def request_id(self) -> str:
        return str(self.body.get("request_id", ""))


class InvalidRequestError(ApiError):
    """400, 413, 415, 422: the request has to change."""


class NotAllowedError(ApiError):
    """401, 403: the key is missing, wrong, or lacks a scope."""


class NotFoundError(ApiError):
    """404: there is no such thing, or it belongs to somebody else."""


class ConflictError(ApiError):
    """409: not in this state."""


class UnavailableError(ApiError):
    """429, 5xx, or no answer at all, after every retry."""


class JobFailedError(ApiError):
    """The job ended without a result; `job` is what the service says of it."""

    def __init__(self, job: dict[str, Any]) -> None:
        error = job.get("error") or {}
        detail = error.get("detail", f"the job was {job['state']}")
        super().__init__(error.get("code", job["state"].upper()), detail, body=error)
        self.job = job


_KINDS: dict[int, type[ApiError]] = {
    401: NotAllowedError,
    403: NotAllowedError,
    404: NotFoundError,
    409: ConflictError,
    429: UnavailableError,
}


def error_from(response: httpx.Response) -> ApiError:
    try:
        body = response.json()
    except ValueError:
        body = {}
    body = body if isinstance(body, dict) else {}
    status = response.status_code
    kind = _KINDS.get(status, UnavailableError if status >= 500 else InvalidRequestError)
    return kind(
        body.get("code", f"HTTP_{status}"), body.get("detail", response.reason_phrase), status=status, body=body
    )
