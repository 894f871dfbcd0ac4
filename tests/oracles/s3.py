"""Amazon's S3 on this machine: moto behind a gate that counts requests and can refuse them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from urllib.parse import parse_qs
from urllib.request import Request, urlopen

STATUS = {"AccessDenied": "403 Forbidden", "ExpiredToken": "400 Bad Request", "SlowDown": "503 Slow Down"}


class Gate:
    """A WSGI application before another. `seen` are (method, path, query); `refuse` may say a code of S3's
    for a request, as AccessDenied, that is answered with the status it stands for. With `keeps` nothing is
    deleted, which S3 says in an answer that is none of an error.
    """

    def __init__(self, app):
        self.app, self.seen, self.keeps = app, [], False
        self.refuse: Callable[[str, str], str | None] = lambda method, path: None

    def __call__(self, environ, start_response):
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        query = parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True)
        self.seen.append((method, path, query))
        code = self.refuse(method, path)
        if code is None and not (self.keeps and "delete" in query):
            return self.app(environ, start_response)
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        if code is None:
            start_response("200 OK", [("Content-Type", "application/xml")])
            error = "<Error><Key>x</Key><Code>AccessDenied</Code><Message>denied</Message></Error>"
            return [f"<DeleteResult>{error}</DeleteResult>".encode()]
        start_response(STATUS[code], [("Content-Type", "application/xml")])
        text = f"<Error><Code>{code}</Code><Message>refused: {code}</Message></Error>"
        return [] if method == "HEAD" else [text.encode()]


class Server:
    """The store at `url`, as a context."""

    def __init__(self):
        from moto.server import DomainDispatcherApplication, create_backend_app
        from werkzeug.serving import WSGIRequestHandler, make_server

        class Quiet(WSGIRequestHandler):
            protocol_version = "HTTP/1.1"  # connections stay open, as those of the real one do

            def log(self, *_): ...

        self.gate = Gate(DomainDispatcherApplication(create_backend_app))
        self._server = make_server("127.0.0.1", 0, self.gate, threaded=True, request_handler=Quiet)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def emptied(self):
        """No bucket any more, nothing refused, nothing seen."""
        urlopen(Request(f"{self.url}/moto-api/reset", method="POST")).close()
        self.gate.__init__(self.gate.app)

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
