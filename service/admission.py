"""The admission: who comes in. Asks for a key where there are keys, and turns away who asks too fast.

A service without keys is for this machine alone, and browsers are let on to it by any page one visits: so without keys
a request must call it by a name of this machine, and none may come from another web origin.
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from contract.errors import TransfersetError
from jobs.problem import Refused
from service import metrics
from service.guard import EXCHANGE, UPLOADS
from service.keys import Key, KeyRing
from service.keys import Scope as KeyScope
from service.problems import answer, problem_of_error
from service.rates import Rates
from service.settings import Settings

PUBLIC = ("/", "/livez", "/readyz", "/openapi.json", "/docs")  # nothing in them is anyone's
SEARCHES = ("/v1/neighbours", "/v1/neighbours:explain")  # POSTs, but they change nothing
LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")


class Admission:
    """Lets requests through to `app`, or answers them itself; leaves the key's fingerprint in the scope.

    `check_room` refuses a key's search when too many wait: here, where that costs a tenth of what it does in a route.
    """

    def __init__(self, app: ASGIApp, settings: Settings, keys: KeyRing, check_room: Callable[[str], None]) -> None:
        self.app = app
        self.settings = settings
        self.keys = keys
        self._check_room = check_room
        self._rates = Rates(settings.requests_per_second, settings.request_burst)
        self._uploads = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        is_upload = scope["method"] == "POST" and scope["path"] == UPLOADS
        try:
            self._admit(scope, Headers(scope=scope))
            if is_upload:
                self._admit_upload()
            if scope["method"] == "POST" and scope["path"] in SEARCHES:
                self._check_room(scope.get("key", ""))
        except TransfersetError as error:
            headers = error.headers if isinstance(error, Refused) else {}
            if error.status == 401:
                headers |= {"WWW-Authenticate": 'Bearer realm="transferset"'}
            problem = problem_of_error(error, self.settings.artifacts, scope["path"])
            await answer(problem, headers)(scope, receive, send)
            return
        self._uploads += is_upload
        try:
            await self.app(scope, receive, send)
        finally:
            self._uploads -= is_upload

    def _admit(self, scope: Scope, headers: Headers) -> None:
        if not self.keys.is_asked_for:
            self._check_caller_is_here(headers)
            return
        if _is_public(scope["path"]):
            return
        key = self._key(headers)
        scope["key"] = key.fingerprint
        scope["is_admin"] = key.may("admin")
        needed = needed_scope(scope["method"], scope["path"])
        if not key.may(needed):
            metrics.REFUSED.labels("scope").inc()
            raise Refused(
                f"Key {key.fingerprint} may {key.scope}; this request takes a key with scope {needed}",
                status=403,
                kind="scope",
            )
        wait = self._rates.take(key.fingerprint)
        if wait:
            metrics.REFUSED.labels("rate").inc()
            raise Refused(
                f"Key {key.fingerprint} asks faster than {self._rates.per_second:g} requests a second; "
                f"wait {wait:.1f} seconds, and send more utterances in a request",
                status=429,
                kind="rate-limit",
                limit=self._rates.per_second,
                retry_after=wait,
            )

    def _key(self, headers: Headers) -> Key:
        kind, _, secret = headers.get("authorization", "").partition(" ")
        key = self.keys.find(secret.strip()) if kind.lower() == "bearer" else None
        if key is None:
            metrics.REFUSED.labels("key").inc()
            found = "one that does not hold" if secret else "none"
            raise Refused(
                f"Expected an API key as 'Authorization: Bearer tset_…', found {found}; "
                "who runs this service makes one with `transferset keys create`",
                status=401,
                kind="key",
            )
        return key

    def _check_caller_is_here(self, headers: Headers) -> None:
        """Against pages that make a visitor's browser ask this machine: by a name of theirs, or from their origin."""
        settings = self.settings
        host = _host(headers.get("host", ""))
        if settings.is_local and host not in (*LOCAL_NAMES, *settings.hosts):
            metrics.REFUSED.labels("host").inc()
            raise Refused(
                "Without API keys this service answers only under the names of this machine; "
                "call it as localhost, name it with TRANSFERSET_HOSTS, or make keys with `transferset keys create`",
                status=421,
                kind="host",
            )
        origin = headers.get("origin")
        if origin and origin not in settings.cors_origins and _netloc(origin) != headers.get("host"):
            metrics.REFUSED.labels("origin").inc()
            raise Refused(
                "This request comes from a page of another web origin; allow it with TRANSFERSET_CORS_ORIGINS",
                status=403,
                kind="origin",
            )

    def _admit_upload(self) -> None:
        if self._uploads >= self.settings.max_uploads:
            metrics.REFUSED.labels("uploads").inc()
            raise Refused(
                f"{self._uploads} uploads are on their way now, as many as this server takes at a time; try again soon",
                status=429,
                kind="busy",
                limit=self.settings.max_uploads,
                found=self._uploads + 1,
                retry_after=2,
            )


def needed_scope(method: str, path: str) -> KeyScope:
    """What a key must be allowed for a request."""
    if path.startswith(EXCHANGE):
        return "admin"
    return "read" if method in ("GET", "HEAD") or path in SEARCHES else "write"


def _is_public(path: str) -> bool:
    return path in PUBLIC or path.startswith(("/docs/", "/console/"))


def _netloc(origin: str) -> str | None:
    """`http://localhost:8000` -> localhost:8000; None for what is no URL."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


def _host(header: str) -> str:
    """`[::1]:8000` -> ::1, `localhost:8000` -> localhost."""
    try:
        return urlsplit(f"//{header}").hostname or ""
    except ValueError:
        return ""
