"""Settings written as TOML that `read_config` reads: the standard library reads TOML and does not write it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from contract.manifest import Json

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def to_toml(settings: Mapping[str, Json], *, comment: str = "") -> str:
    """Plain values first, then a section for every mapping in them, in the order they stand in."""
    lines = [f"# {line}" for line in comment.splitlines()]
    _write(settings, (), lines)
    return "\n".join(lines).strip() + "\n"


def _write(settings: Mapping[str, Json], path: tuple[str, ...], lines: list[str]) -> None:
    plain = {key: value for key, value in settings.items() if not isinstance(value, Mapping) and value is not None}
    if path and plain:
        lines += ["", f"[{'.'.join(map(_key, path))}]"]
    lines += [f"{_key(key)} = {_value(value)}" for key, value in plain.items()]
    for key, value in settings.items():
        if isinstance(value, Mapping):
            _write(value, (*path, key), lines)


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _value(name)


def _value(value: Json) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, Mapping):  # a table in a list
        return f"{{{', '.join(f'{_key(key)} = {_value(inner)}' for key, inner in value.items() if inner is not None)}}}"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)
