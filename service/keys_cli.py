"""The commands of API keys: `keys create | list | revoke`, for who runs the service."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from contract.console import ArtifactsOption, JsonOption, answer, make_app, print_json, screen

if TYPE_CHECKING:
    from service.keys import Key, KeyRing

KeysOption = Annotated[
    Path | None, typer.Option("--keys", help="The file of keys (default: $TRANSFERSET_KEYS or ARTIFACTS/keys.json)")
]

keys_app = make_app("keys", "Make and end the keys of the HTTP API.")


@keys_app.command("create")
def create_key(
    name: Annotated[str, typer.Argument(help="Whose key it is.")],
    scope: Annotated[
        Literal["read", "write", "admin"],
        typer.Option("--scope", help="read: look and search; write: also upload and order; admin: everything."),
    ] = "write",
    keys: KeysOption = None,
    artifacts: ArtifactsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a key and show it, this one time. From the first key on, every request needs one."""
    ring = _ring(keys, artifacts)
    is_first = not ring.is_asked_for
    key, secret = ring.create(name, scope)
    if as_json:
        print_json({"key": secret, **_shown(key)})
    else:
        answer.print(secret, highlight=False, soft_wrap=True)
        screen.print(f"key {key.name} ({key.fingerprint}) may {key.scope}; it is not shown again", highlight=False)
    if is_first:
        screen.print(f"note: with {ring.path} the service answers nobody without a key", highlight=False, markup=False)


@keys_app.command("list")
def list_keys(keys: KeysOption = None, artifacts: ArtifactsOption = None, as_json: JsonOption = False) -> None:
    """Name the keys, without what would let anyone in."""
    found = [_shown(key) for key in _ring(keys, artifacts).entries()]
    if as_json:
        print_json(found)
        return
    if not found:
        screen.print("there are no keys: the service answers this machine only, and everyone on it")
    for key in found:
        state = f"revoked {_day(key['revoked_at'])}" if key["revoked_at"] else "holds"
        line = f"{key['name']:<24} {key['fingerprint']} {key['scope']:<6} made {_day(key['created_at'])}  {state}"
        answer.print(line, highlight=False, markup=False, soft_wrap=True)


@keys_app.command("revoke")
def revoke_key(
    key: Annotated[str, typer.Argument(help="The key's name or fingerprint.")],
    keys: KeysOption = None,
    artifacts: ArtifactsOption = None,
) -> None:
    """End a key: a running service refuses it from the next request on."""
    ended = _ring(keys, artifacts).revoke(key)
    screen.print(f"key {ended.name} ({ended.fingerprint}) is revoked", highlight=False)


def _ring(keys: Path | None, artifacts: Path | None) -> KeyRing:
    from service.keys import KeyRing
    from service.settings import read_settings

    return KeyRing(read_settings(keys=keys, artifacts=artifacts).keys_file)


def _shown(key: Key) -> dict[str, Any]:
    return {name: value for name, value in asdict(key).items() if name != "sha256"}


def _day(seconds: int) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(seconds))
