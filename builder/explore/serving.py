"""One page for the browser on this machine: on the loopback address only, behind a token that nobody can guess.

Nothing else is served: there are no directories and no other paths. Requests that name another host are refused, so
that no site can reach the page by making its own name mean this machine.
"""

from __future__ import annotations

import contextlib
import hmac
import os
import secrets
import threading
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer, ThreadingMixIn
from typing import BinaryIO

from builder.errors import OutputError
from builder.explore.page import policy
from builder.streams import CHUNK

_TOKEN = 24
_TIMEOUT = 30.0
"""Seconds that a request may take to come in."""
_IN_TERMINAL = ("www-browser", "links", "elinks", "lynx", "w3m")
"""Browsers that would take the terminal from us."""


def open_browser(url: str) -> None:
    """Have the user's browser show an address, if there is one with windows; return at once, whatever becomes of it."""

    def look() -> None:
        import webbrowser

        with contextlib.suppress(webbrowser.Error):
            browser = webbrowser.get()
            if os.path.basename(getattr(browser, "name", "")) not in _IN_TERMINAL:
                browser.open(url)

    # A browser that was not running yet may be what is waited for.
    threading.Thread(target=look, daemon=True).start()


class Viewer:
    """Serves a page, a file, until ``close``; ``url`` is where it is. Raises OutputError if that cannot be."""

    def __init__(self, page: BinaryIO, port: int = 0) -> None:
        try:
            self._server = _Server(page.fileno(), port)
        except OSError as error:
            raise OutputError(
                f"cannot serve on 127.0.0.1:{port}: {error.strerror}", hint="without --port a free one is taken"
            ) from error
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}{self._server.path}"

    def run(self) -> None:
        """Serve until interrupted, or until ``stop`` is called by another thread."""
        self._server.serve_forever(poll_interval=0.2)

    def stop(self) -> None:
        """Let ``run`` return."""
        self._server.shutdown()

    def close(self) -> None:
        """Stop listening."""
        self._server.server_close()


class _Server(ThreadingMixIn, TCPServer):
    """Not HTTPServer, which asks the resolver for this machine's name."""

    daemon_threads = True

    def __init__(self, page: int, port: int) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        number = self.server_address[1]
        self.hosts = (f"127.0.0.1:{number}", f"localhost:{number}")
        self.path = f"/{secrets.token_urlsafe(_TOKEN)}/"
        self.page = page
        self.headers = {
            "Content-Type": "text/html; charset=utf-8",
            "Content-Length": str(os.fstat(page).st_size),
            "Content-Security-Policy": f"{policy()}; frame-ancestors 'none'",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": "no-store",
        }

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: a browser that went away is no error."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = _TIMEOUT
    server_version, sys_version = "pybuild", ""

    def do_GET(self) -> None:
        if not self._found():
            return
        at = 0
        # Several requests at a time share the descriptor, and so its position.
        while chunk := os.pread(self.server.page, CHUNK, at):
            self.wfile.write(chunk)
            at += len(chunk)

    def do_HEAD(self) -> None:
        self._found()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  its name in the base class
        """Say nothing: the token is in the path."""

    def _found(self) -> bool:
        """Send the page's headers, or an error."""
        if self.headers.get("Host") not in self.server.hosts:
            self.send_error(421)
        elif not hmac.compare_digest(self.path.encode("utf-8", "replace"), self.server.path.encode()):
            self.send_error(404)
        else:
            self.send_response(200)
            for name, value in self.server.headers.items():
                self.send_header(name, value)
            self.end_headers()
            return True
        return False
