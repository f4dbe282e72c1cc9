"""The guard: the outermost layer of the API. Bounds bodies, answers what nobody foresaw, counts, logs each request.

It gives every request its id and every answer its security headers. No text of a user passes from here into a log.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping

import anyio
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from jobs.logs import id_from, request_id
from jobs.problem import Problem, place_of, problem_of
from jobs.tracing import request_span
from service import metrics
from service.problems import SENTENCES, TooLarge, answer, problem_of_size
from service.settings import Settings

UPLOADS = "/v1/tasks"
EXCHANGE = "/v1/exchange/"
SLOWEST = 1024  # bytes a second, beyond the seconds a client may be silent
PROBES = ("/livez", "/readyz", "/metrics")  # asked every few seconds: worth a line only when something is wrong

# Answers are read by programs: nothing in them may run, be framed, be guessed at or be kept by a cache.
SECURITY = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}
log = logging.getLogger("transferset.http")


class TooSlow(HTTPException):
    """A client that stopped in the middle of its body."""

    def __init__(self, seconds: float) -> None:
        super().__init__(408, f"The body stopped coming, or all but stopped, for {seconds:g} seconds; send it again")


class Guard:
    """See above. Inside of it are CORS, where it is on, then the admission, then the routes."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self.settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = time.perf_counter()
        headers = Headers(scope=scope)
        known_as = request_id.set(id_from(headers.get("x-request-id")))
        reply = _Reply(scope, send, request_id.get() or "")
        try:
            with request_span(headers) as span:
                await self._answer(scope, headers, receive, reply)
                span.end_with(method_of(scope), route_of(scope), reply.status)
        finally:
            spent = time.perf_counter() - began
            _count(scope, reply.status, spent)
            _say(scope, reply.status, spent)
            request_id.reset(known_as)

    async def _answer(self, scope: Scope, headers: Headers, receive: Receive, reply: _Reply) -> None:
        limit = _body_limit(self.settings, scope)
        try:
            announced = _announced_bytes(headers)
            if announced > limit:
                raise TooLarge(limit, announced)
            await self.app(scope, _bounded(receive, limit, self.settings.body_seconds), reply.send)
        except TooLarge as error:
            await reply.problem(problem_of_size(error, scope["path"]))
        except TooSlow as error:
            await reply.problem(problem_of(408, error.detail))
        except Exception as error:
            log.error("%s failed inside: %s", route_of(scope), place_of(error))
            detail = "The server failed inside; its log has the place. The same request may work again later."
            await reply.problem(problem_of(500, detail))


class _Reply:
    """What goes back: counts as begun once its head is sent; a plain-text error is turned into a problem document."""

    def __init__(self, scope: Scope, send: Send, asked: str) -> None:
        self._scope = scope
        self._send = send
        self._asked = asked
        self.status = 0
        self._replaced = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(raw=message["headers"])
            if self.status >= 400 and not headers.get("content-type", "").startswith("application/"):
                self._replaced = True
                kept = {k: v for k, v in headers.items() if k not in ("content-type", "content-length")}
                await self._problem(problem_of(self.status, SENTENCES.get(self.status, "")), kept)
                return
            self._add(headers)
            message["headers"] = headers.raw
        if not self._replaced:
            await self._send(message)

    async def problem(self, problem: Problem) -> None:
        """Answer with `problem`, unless an answer has begun: then the connection is all that can be broken."""
        if self.status:
            raise ConnectionError("the answer broke off")
        self.status = problem.status
        # The rest of a refused body is not read: the connection cannot be used again.
        await self._problem(problem, {"connection": "close"} if problem.status in (408, 413) else {})

    async def _problem(self, problem: Problem, headers: Mapping[str, str]) -> None:
        problem.instance = self._scope["path"]
        response = answer(problem, headers)
        self._add(response.headers)
        await response(self._scope, _nothing, self._send)

    def _add(self, headers: MutableHeaders) -> None:
        headers["X-Request-ID"] = self._asked
        for name, value in SECURITY.items():
            headers.setdefault(name, value)


def route_of(scope: Scope) -> str:
    """The route's template, never the path itself, which holds names of a client's choice."""
    return getattr(scope.get("route"), "path", "no route")


def method_of(scope: Scope) -> str:
    """The method, when it is one there is: a client may send any word."""
    method: str = scope["method"]
    return method if method in ("GET", "POST", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE") else "OTHER"


def _body_limit(settings: Settings, scope: Scope) -> int:
    if scope["path"] == UPLOADS:
        return settings.max_upload_bytes
    is_file = scope["method"] == "PUT" and scope["path"].startswith(EXCHANGE) and "/arrivals/" in scope["path"]
    return settings.max_artifact_bytes if is_file else settings.max_body_bytes


def _count(scope: Scope, status: int, seconds: float) -> None:
    route = route_of(scope)
    metrics.REQUESTS.labels(method_of(scope), route, status).inc()
    metrics.REQUEST_SECONDS.labels(route).observe(seconds)


def _say(scope: Scope, status: int, seconds: float) -> None:
    level = logging.DEBUG if scope["path"] in PROBES and status == 200 else logging.INFO
    if not log.isEnabledFor(level):
        return
    route, spent = route_of(scope), round(seconds * 1000)
    fields = {"method": method_of(scope), "route": route, "status": status, "ms": spent, "key": scope.get("key")}
    known = {name: value for name, value in fields.items() if value is not None}
    log.log(level, "%s %s %s %.0f ms", method_of(scope), route, status, spent, extra=known)


def _announced_bytes(headers: Headers) -> int:
    announced = headers.get("content-length", "")
    return int(announced[:20]) if announced.isdecimal() else 0  # 20 digits are beyond any limit already


def _bounded(receive: Receive, limit: int, seconds: float) -> Receive:
    """The body up to its limit, each part within some time, and not byte by byte. After it there is no hurry."""
    read, waited, is_whole = 0, 0.0, False

    async def bounded() -> Message:
        nonlocal read, waited, is_whole
        if is_whole:
            return await receive()
        began = time.monotonic()
        with anyio.move_on_after(seconds) as patience:
            message = await receive()
        waited += time.monotonic() - began
        read += 0 if patience.cancelled_caught else len(message.get("body", b""))
        if patience.cancelled_caught or waited > seconds + read / SLOWEST:
            raise TooSlow(seconds)
        if read > limit:
            raise TooLarge(limit, read)
        is_whole = not message.get("more_body", False)
        return message

    return bounded


async def _nothing() -> Message:
    return {"type": "http.disconnect"}
