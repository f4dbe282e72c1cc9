"""The table of settings in docs/operations.md, made from the settings themselves.

`python -m service.settings_table docs/operations.md` writes it anew; a test compares it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from contract.errors import BadInput
from jobs.child import OWN
from jobs.settings import PREFIX, WorkerSettings
from service.settings import Settings

BEGIN, END = "<!-- settings: begin -->", "<!-- settings: end -->"
MIB = 1024 * 1024


def settings_table() -> str:
    """Every setting as a row of Markdown: its variable, its default, whom it is for, what it does."""
    return "\n".join(["| variable | default | for | |", "|---|---|---|---|", *_rows()])


def with_table(page: str) -> str:
    """The page with its table made anew; BadInput when it has no place for one."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise BadInput(f"The page has no place for the settings; expected the lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{settings_table()}\n{END}{after}"


def _rows() -> Iterator[str]:
    for name, field in sorted(Settings.model_fields.items()):
        whom = "api, workers" if name in WorkerSettings.model_fields else "api"
        if name in OWN:
            whom = "workers"
        yield f"| `{PREFIX}{name.upper()}` | {_default(name, field)} | {whom} | {field.description} |"


def _default(name: str, field: FieldInfo) -> str:
    value: Any = field.default
    if value is None or value == ():
        return "none"
    if name.endswith("_bytes"):
        return f"{value // MIB} MiB"
    return f"{str(value).lower() if isinstance(value, bool) else value}"


def main() -> None:
    path = Path(sys.argv[1])
    path.write_text(with_table(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
