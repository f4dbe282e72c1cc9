"""A `transferset` command as one would type it: said, and run in this process, so that libraries load once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from contract.console import screen

Command = Sequence[str]


def run_command(command: Command, artifacts: Path) -> None:
    """Run it in the store at `artifacts`; raises what the command raises."""
    from transferset import app

    app([*command, "--artifacts", str(artifacts)], standalone_mode=False)


def run_commands(commands: Iterable[Command], artifacts: Path) -> None:
    """Say each, and run it."""
    for command in commands:
        say(command)
        run_command(command, artifacts)


def say(command: Command, after: str = "") -> None:
    """The command on the screen, and what there is to say of it."""
    screen.print(f"\n[bold cyan]$ {typed(command)}[/]{after}", highlight=False, soft_wrap=True)


def typed(command: Command) -> str:
    """As one types it."""
    return "transferset " + " ".join(_quoted(part) for part in command)


def name_of(command: Command) -> str:
    """What the artifact that it makes is called."""
    return command[command.index("--name") + 1]


def _quoted(part: str) -> str:
    return f'"{part}"' if " " in part or "*" in part else part
