"""The table: each number to reach beside what was reached, losses as losses."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One number to reach, what was reached, and the figures behind it."""

    what: str
    target: str
    reached: str
    is_reached: bool
    said: str


def print_head() -> None:
    print("| what | to reach | reached | | figures |\n|---|---|--:|---|---|", flush=True)


def print_row(row: Row) -> None:
    verdict = "yes" if row.is_reached else "**NO**"
    print(f"| {row.what} | {row.target} | {row.reached} | {verdict} | {row.said} |", flush=True)
