"""Requests that are no proper HTTP, over bare sockets: what no library would send, and clients that go away."""

from __future__ import annotations

import random
import re
import socket
import time
from urllib.parse import urlsplit

from benchmarks.fuzzing.cases import Outcome

PATIENCE = 15.0
BODY = b'{"index": "web", "utterances": ["word1 word2"], "k": 2}'
HEAD = b"POST /v1/neighbours HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"


def fuzz(url: str, count: int, seed: int) -> Outcome:
    """Send `count` of them; each is to be answered with 4xx or less, or cut off, in time."""
    outcome, draw = Outcome(), random.Random(seed)
    address = urlsplit(url)
    assert address.hostname is not None
    assert address.port is not None
    for number in range(count):
        kind = [*KINDS][number % len(KINDS)]
        pieces = KINDS[kind] or [draw.randbytes(draw.randrange(1, 2000))]
        outcome.cases += 1
        began = time.monotonic()
        try:
            reply = exchange(address.hostname, address.port, pieces)
        except TimeoutError:
            outcome.fault(f"{kind}: no answer in {PATIENCE:g} s", repr(pieces)[:300])
            continue
        outcome.took(time.monotonic() - began, kind)
        for status in re.findall(rb"HTTP/1\.[01] (\d{3})", reply) or [b"000"]:
            outcome.statuses[f"{kind} {status.decode()}"] += 1
            if status.startswith(b"5"):
                outcome.fault(f"{kind}: server error {status.decode()}", repr(pieces)[:300])
        if b"Traceback" in reply:
            outcome.fault(f"{kind}: a traceback", repr(pieces)[:300])
    return outcome


def exchange(host: str, port: int, pieces: list[bytes]) -> bytes:
    """Send pieces one by one, say that no more will come, read all there is to read."""
    with socket.create_connection((host, port), PATIENCE) as connection:
        reply = b""
        try:
            for piece in pieces:
                connection.sendall(piece)
            connection.shutdown(socket.SHUT_WR)
            while chunk := connection.recv(65536):
                reply += chunk
        except TimeoutError:
            raise
        except OSError:
            pass  # cut off: an answer too
        return reply


def _head(*lines: bytes) -> bytes:
    return HEAD + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


def _chunked(*chunks: bytes) -> list[bytes]:
    return [_head(b"Transfer-Encoding: chunked", b"Connection: close"), *chunks]


# Each is sent piece by piece.
KINDS: dict[str, list[bytes]] = {
    "chunked, whole": _chunked(b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)),
    "chunked, in bytes": _chunked(*(b"1\r\n%c\r\n" % byte for byte in BODY), b"0\r\n\r\n"),
    "chunked, cut": _chunked(b"%x\r\n%s\r\n" % (len(BODY), BODY)),
    "chunked, a size that is none": _chunked(b"zz\r\nhello\r\n0\r\n\r\n"),
    "chunked, a negative size": _chunked(b"-5\r\nhello\r\n0\r\n\r\n"),
    "chunked, a huge size": _chunked(b"fffffffffffffffff\r\nhello\r\n0\r\n\r\n"),
    "chunked, beyond the limit": _chunked(*[b"10000\r\n" + b"x" * 65536 + b"\r\n"] * 40, b"0\r\n\r\n"),
    "chunked, with a trailer": _chunked(b"%x\r\n%s\r\n0\r\nContent-Length: 3\r\n\r\n" % (len(BODY), BODY)),
    "chunked and with a length": [
        _head(b"Transfer-Encoding: chunked", b"Content-Length: 5"),
        b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY),
    ],
    "two lengths": [_head(b"Content-Length: 5", b"Content-Length: 7"), BODY],
    "a length too long": [_head(b"Content-Length: %d" % (len(BODY) + 50)), BODY],
    "a length too short": [_head(b"Content-Length: %d" % (len(BODY) - 9)), BODY],
    "a negative length": [_head(b"Content-Length: -1"), BODY],
    "a length of 5,000 digits": [_head(b"Content-Length: " + b"9" * 5000), BODY],
    "a length of another alphabet": [_head("Content-Length: ٣".encode()), BODY],
    "an enormous length": [_head(b"Content-Length: 9999999999999"), BODY],
    "an unknown encoding": [_head(b"Transfer-Encoding: gzip, chunked"), b"0\r\n\r\n"],
    "a compressed body": [
        _head(b"Content-Encoding: gzip", b"Connection: close", b"Content-Length: %d" % len(BODY)),
        BODY,
    ],
    "HTTP/1.0": [b"GET /livez HTTP/1.0\r\n\r\n"],
    "HTTP/1.0 with a body": [HEAD.replace(b"1.1", b"1.0") + b"Content-Length: 55\r\n\r\n", BODY],
    "HTTP/0.9": [b"GET /livez\r\n"],
    "HTTP/2": [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"],
    "HTTP/9.9": [b"GET /livez HTTP/9.9\r\n\r\n"],
    "no host": [b"GET /v1/jobs HTTP/1.1\r\nConnection: close\r\n\r\n"],
    "two hosts": [b"GET /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\n\r\n"],
    "a host that is none": [b"GET /v1/jobs HTTP/1.1\r\nHost: [::1\r\nConnection: close\r\n\r\n"],
    "an absolute target": [b"GET http://evil.example/v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"],
    "a star": [b"OPTIONS * HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"],
    "CONNECT": [b"CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n"],
    "a method of 5,000 letters": [b"A" * 5000 + b" /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"],
    "a method in Unicode": ["GÉT /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()],
    "a target of 100,000 letters": [b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"],
    "a target of raw bytes": [b"GET /v1/tasks/\xff\xfe\x00 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"],
    "a target of percents": [
        b"GET /v1/tasks/%ff%00%2e%2e%2f%zz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    ],
    "a query of raw bytes": [
        b"GET /v1/tasks?page_token=%ff%fe&limit=%00 HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    ],
    "headers of 1 MB": [_head(b"X: " + b"x" * 1_000_000), BODY],
    "10,000 headers": [_head(*[b"X-%d: y" % n for n in range(10_000)]), BODY],
    "a folded header": [_head(b"X-Long: one\r\n two", b"Content-Length: 55"), BODY],
    "a header without a name": [_head(b": empty", b"Content-Length: 55"), BODY],
    "a header of raw bytes": [
        _head(b"X-Request-ID: \xff\xfe", b"Idempotency-Key: \xff", b"Connection: close", b"Content-Length: 55"),
        BODY,
    ],
    "a smuggled second request": [
        _head(b"Content-Length: 0", b"Transfer-Encoding : chunked"),
        b"0\r\n\r\nGET /v1/jobs HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    ],
    "ten requests at once": [(_head(b"Content-Length: 55") + BODY) * 10],
    "newlines alone": [b"GET /livez HTTP/1.1\nHost: 127.0.0.1\n\n"],
    "a TLS greeting": [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(200))],
    "random bytes": [],
    "nothing": [b""],
    "half a head": [HEAD],
    "an upgrade to a socket": [
        b"GET /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    ],
    "a body to a GET": [
        b"GET /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello"
    ],
    "100-continue": [
        _head(b"Expect: 100-continue", b"Connection: close", b"Content-Length: 55"),
        BODY,
    ],
}
