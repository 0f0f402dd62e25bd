"""A web site of one test's own: pages by path, redirects, refusals, and answers written byte by byte."""

import ssl
import threading
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from winnow.datasets.addresses import UrlRules

Answer = Callable[[BaseHTTPRequestHandler], None]


class Site:
    """`pages` maps a path to its bytes, to a status, to a place to redirect to, or to a function that answers."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.pages: dict[str, bytes | int | str | Answer] = {}
        self.asked: Counter[str] = Counter()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer.asked[self.path] += 1
                page = outer.pages.get(self.path, 404)
                if callable(page):
                    self.close_connection = True
                    page(self)
                    return
                content = page if isinstance(page, bytes) else b""
                self.send_response(page if isinstance(page, int) else 302 if isinstance(page, str) else 200)
                if isinstance(page, str):
                    self.send_header("Location", page)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                """Whoever is cut off in the middle of an answer is expected here."""

        self._server = Server(("127.0.0.1", 0), Handler)
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def rules(self) -> UrlRules:
        """The operator has named this place, and no other."""
        return UrlRules(private=frozenset({("127.0.0.1", self.port)}))

    def remove(self) -> None:
        self._server.shutdown()
        self._server.server_close()
