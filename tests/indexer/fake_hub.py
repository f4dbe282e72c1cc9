"""A hub that behaves: as much of the Hugging Face hub's HTTP interface as listing and reading a data set takes."""

from __future__ import annotations

import hashlib
import http.server
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

REPO, REVISION, COMMIT = "org/name", "v1", "c" * 40


class FakeHub(http.server.BaseHTTPRequestHandler):
    """Serves the files below `root` as the data set REPO at REVISION, to whoever has the token."""

    root: Path
    token: str
    requests: list[str]

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self._is_allowed():
            paths = [path for path in body["paths"] if (self.root / path).exists()]
            self._json([self._entry(self.root / path) for path in paths])

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.requests.append(f"{self.command} {path} {self.headers.get('Range', '')}")
        if not self._is_allowed():
            return
        if found := re.fullmatch(rf"/api/datasets/{REPO}(?:/revision/(?P<revision>.+))?", path):
            if found["revision"] in (REVISION, COMMIT):
                self._json({"id": REPO, "sha": COMMIT, "siblings": [], "tags": []})
            else:
                self._refuse(404, "RevisionNotFound")
        elif found := re.fullmatch(rf"/api/datasets/{REPO}/tree/(?:{REVISION}|{COMMIT})(?P<folder>/.*)?", path):
            self._list((found["folder"] or "").strip("/"), "recursive=true" in self.path.lower())
        elif found := re.fullmatch(rf"/datasets/{REPO}/resolve/(?:{REVISION}|{COMMIT})/(?P<file>.+)", path):
            self._send_file(self.root / found["file"])
        else:
            self._refuse(404, "RepoNotFound")

    def _is_allowed(self) -> bool:
        if self.headers.get("Authorization") == f"Bearer {self.token}":
            return True
        self._refuse(401, "GatedRepo")
        return False

    def _list(self, folder: str, recursive: bool) -> None:
        if not (self.root / folder).is_dir():
            self._refuse(404, "EntryNotFound")
            return
        found = (self.root / folder).rglob("*") if recursive else (self.root / folder).iterdir()
        self._json([self._entry(path) for path in sorted(found)])

    def _entry(self, path: Path) -> dict[str, object]:
        name = str(path.relative_to(self.root))
        if path.is_dir():
            return {"type": "directory", "oid": "d" * 40, "size": 0, "path": name}
        content = path.read_bytes()
        entry = {"type": "file", "oid": hashlib.sha1(content).hexdigest(), "size": len(content), "path": name}
        if path.suffix == ".parquet":  # large files lie in LFS, which knows their hash
            lfs = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}
            entry |= {"lfs": lfs}
        return entry

    def _send_file(self, path: Path) -> None:
        content = path.read_bytes()
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        first = int(wanted[1]) if wanted else 0
        last = min(int(wanted[2] or len(content) - 1), len(content) - 1) if wanted else len(content) - 1
        self.send_response(206 if wanted else 200)
        self.send_header("ETag", '"' + hashlib.sha1(content).hexdigest() + '"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Accept-Ranges", "bytes")
        if wanted:
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
        self.send_header("Content-Length", str(last - first + 1))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content[first : last + 1])

    def _json(self, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()


@contextmanager
def serving(root: Path, token: str) -> Iterator[tuple[str, list[str]]]:
    """The hub's address, and the requests it was sent."""
    requests: list[str] = []
    handler = type("Handler", (FakeHub,), {"root": root, "token": token, "requests": requests})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", requests
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
