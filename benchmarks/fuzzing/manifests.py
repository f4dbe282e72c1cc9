"""Hostile manifests, as a worker gone bad would send them: values of other kinds, names that lead elsewhere, odd JSON.

Some carry the id that their content really has, so that what comes after the comparison of ids is reached as well.
"""

from __future__ import annotations

import copy
import hashlib
import json
import random
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from contract.manifest import Count, FileEntry, Manifest

REPORT = b'{"student": {}, "teacher": {}}'
NAMES = [
    "../up.json",
    "/etc/passwd.json",
    "a/../../up.json",
    ".draft/a.json",
    "manifest.json",
    "a.pkl",
    "a.so",
    "a\\b.json",
    "a\0.json",
    "a\n.json",
    "n" * 5000 + ".json",
    "report.json/report.json",
    "",
    ".",
    "é.json",
    "\ud800.json",
]
VALUES: list[Any] = [
    None,
    True,
    -1,
    0,
    2**63,
    10**30,
    1.5,
    float("nan"),
    float("inf"),
    "",
    "\ud800",
    "\0",
    "x" * 100_000,
    [],
    {},
    [[]],
    {"a": {"b": None}},
    "<script>alert(1)</script>",
]


def hostile_manifest(number: int, name: str) -> bytes:
    """The manifest of a number, for a run of some name."""
    draw = random.Random(number)
    raw = json.loads(_good(name).to_json())
    chance = draw.random()
    if chance < 0.1:
        text = json.dumps(raw).encode()
        return text[: draw.randrange(len(text))]
    if chance < 0.15:
        return draw.choice([b"", b"null", b"[]", b"[" * 50_000, b'{"kind": "run"}', b"\xff\xfe", b'{"a":' * 5000])
    if chance < 0.2:
        raw["facts"] = {"deep": json.loads("[" * 900 + "]" * 900)}
    if draw.random() < 0.3:
        raw["files"][0]["name"] = draw.choice(NAMES)
    for _ in range(draw.choice([0, 1, 1, 2, 4])):
        _change(draw, raw)
    return json.dumps(_with_its_id(raw) if draw.random() < 0.7 else raw).encode()


def send_artifact(client: Any, name: str, number: int) -> Iterator[Any]:
    """Send a run with the manifest of a number, by an HTTP client -> every answer, those to a look at it included."""
    place = f"/v1/exchange/runs/{name}"
    begun = client.put(place, content=hostile_manifest(number, name))
    yield begun
    if begun.status_code != 200:
        return
    arrival = f"{place}/arrivals/{begun.json()['arrival']}"
    for file in begun.json()["missing"]:
        yield client.put(f"{arrival}/{quote(file)}", content=REPORT)
    finished = client.post(f"{arrival}:finish")
    yield finished
    if finished.status_code == 201:
        for what in ("", "/report", "/page", "/model", "/files/report.json"):
            yield client.get(f"/v1/runs/{name}{what}")


def _good(name: str) -> Manifest:
    entry = FileEntry("report.json", 1, len(REPORT), hashlib.sha256(REPORT).hexdigest())
    facts = {"accuracy": 0.5, "name": name}
    return Manifest("run", 1, {"seed": 0}, {"task": "a"}, (entry,), {"texts": Count(1, 1, {})}, facts, (), {})


def _change(draw: random.Random, raw: dict[str, Any]) -> None:
    """Put another value somewhere, or take something away."""
    place: Any = raw
    while True:
        key = draw.choice([*place] if isinstance(place, dict) else range(len(place)))
        inner = place[key]
        if not (isinstance(inner, dict | list) and inner and draw.random() < 0.7):
            break
        place = inner
    if draw.random() < 0.2:
        del place[key]
        if not raw:
            raw["kind"] = "run"
    else:
        place[key] = copy.deepcopy(draw.choice(VALUES))


def _with_its_id(raw: dict[str, Any]) -> dict[str, Any]:
    """With the id of its content, where that can be said."""
    try:
        manifest = Manifest(
            raw["kind"],
            raw["version"],
            raw["params"],
            raw["inputs"],
            tuple(FileEntry(**entry) for entry in raw["files"]),
            {unit: Count(**count) for unit, count in raw["counts"].items()},
            raw["facts"],
            tuple(FileEntry(**entry) for entry in raw["attachments"]),
            raw["made"],
        )
        return raw | {"id": manifest.id}
    except Exception:  # whatever a value that is none does to it
        return raw
