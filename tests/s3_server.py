"""moto's S3 as a process of its own, with troubles that a test can order: `python s3_server.py PORT`.

`PUT /_trouble` takes a JSON object: `delay_s` before every answer; `objects` and `heads`: {key: S3 error code} for
GETs and HEADs of objects; `all`: the error of every listing and GET; `failing`: how many of the next ones are answered
503. `GET /_trouble` says how many calls there have been since, by kind.
"""

import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple

STATUS = {"InternalError": "500 Oops", "SlowDown": "503 Slow Down", "InvalidRequest": "400 Bad"}  # the others: 403


class Troubled:
    def __init__(self, app: Callable[..., Iterable[bytes]]) -> None:
        self._app = app
        self._orders: dict[str, Any] = {}
        self._calls: Counter[str] = Counter()
        self._failing = 0

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/_trouble":
            return self._ordered(environ, start)
        kind = "list" if "list-type=2" in environ["QUERY_STRING"] else environ["REQUEST_METHOD"]
        self._calls[kind] += 1
        time.sleep(self._orders.get("delay_s", 0))
        error = self._error(kind, environ)
        if error is None:
            return self._app(environ, start)
        start(STATUS.get(error, "403 Forbidden"), [("Content-Type", "application/xml")])
        return [f"<?xml version='1.0'?><Error><Code>{error}</Code><Message>no</Message></Error>".encode()]

    def _error(self, kind: str, environ: dict[str, Any]) -> str | None:
        if self._failing > 0 and kind in {"list", "GET"}:
            self._failing -= 1
            return "SlowDown"
        if kind in {"list", "GET"} and "all" in self._orders:
            return str(self._orders["all"])
        key = environ["PATH_INFO"].strip("/").partition("/")[2]
        error: str | None = self._orders.get({"GET": "objects", "HEAD": "heads"}.get(kind, ""), {}).get(key)
        return error

    def _ordered(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] == "PUT":
            self._orders = json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
            self._failing = self._orders.get("failing", 0)
            self._calls.clear()
        start("200 OK", [("Content-Type", "application/json")])
        return [json.dumps(self._calls).encode()]


if __name__ == "__main__":
    app = Troubled(DomainDispatcherApplication(create_backend_app))
    run_simple("127.0.0.1", int(sys.argv[1]), app, threaded=True)
