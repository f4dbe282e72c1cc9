"""How the commands speak: progress on a terminal or in a log, JSON when asked, one sentence for an error.

The one file of `contract` that imports Typer and Rich; only the rooms' `cli.py` import it.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.text import Text
from typer.core import TyperGroup

from contract.errors import BadInput, TransfersetError
from contract.manifest import Count
from contract.progress import Progress
from contract.store import Store, default_store

LOG_EVERY_S = 5.0  # how often plain progress lines appear in a log

screen = Console(stderr=True)  # progress and notes; what a command answers goes to stdout
answer = Console()

# The extra of a library that the rooms do not bring.
_EXTRA_OF = {
    **dict.fromkeys(("optuna", "psycopg", "sklearn"), "tune"),
    **dict.fromkeys(("onnx", "onnxscript", "onnxruntime"), "onnx"),
    "dbos": "jobs",
    "ray": "ray",
}

MACHINES = "Machines"  # the panel of options that decide where and when work is done, never what comes out

ArtifactsOption = Annotated[
    Path | None,
    typer.Option("--artifacts", help="The folder of all artifacts (default: $TRANSFERSET_ARTIFACTS or ./artifacts)"),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
NameOption = Annotated[str, typer.Option("--name", help="The artifact's name.")]
RestartOption = Annotated[bool, typer.Option("--restart", help="Discard a half-built artifact of that name.")]
EngineOption = Annotated[
    Literal["local", "ray"],
    typer.Option(help="local (this machine's cores) or ray (a cluster)", rich_help_panel=MACHINES),
]
RayAddressOption = Annotated[
    str | None,
    typer.Option(help="The Ray cluster's address (default: a new one on this machine)", rich_help_panel=MACHINES),
]
WorkersOption = Annotated[
    int | None, typer.Option(min=1, help="Shards made at once (default: the cores)", rich_help_panel=MACHINES)
]
MemoryBudgetOption = Annotated[
    str | None, typer.Option(help="What a machine may take, as in 2GB: fewer shards at once", rich_help_panel=MACHINES)
]
MapOption = Annotated[
    list[str] | None, typer.Option("--map", help="OURS=THEIRS: the file's name for one of our columns.")
]


def make_app(name: str, summary: str, group: type[TyperGroup] = TyperGroup) -> typer.Typer:
    """A Typer app as all our commands are: no completion options, help when called bare, `group` orders them."""
    return typer.Typer(
        name=name, help=summary, cls=group, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
    )


def run(app: typer.Typer) -> NoReturn:
    """Run a command. What a user can mend is one sentence on stderr and exit code 2; Ctrl-C is 130."""
    try:
        app()
    except TransfersetError as error:
        _say_error(error.message)
        sys.exit(2)
    except ModuleNotFoundError as error:
        _say_error(_missing_library(error))
        sys.exit(2)
    except OSError as error:
        _say_error(f"The system refused {error.filename or 'a file'}: {error.strerror or error}")
        sys.exit(2)
    except SystemExit as exit_:
        if exit_.code == 130:  # Typer's way to end on Ctrl-C
            screen.print("stopped; the same command goes on from here")
        raise
    sys.exit(0)


def _missing_library(error: ModuleNotFoundError) -> str:
    extra = _EXTRA_OF.get((error.name or "").partition(".")[0])
    what = (
        f"install it with: pip install 'transferset[{extra}]'"
        if extra
        else "install the room it belongs to: "
        "pip install 'transferset[indexer]', 'transferset[service]' or 'transferset[distill]'"
    )
    return f"This command needs the library {error.name}, which is not installed; {what}"


def store_at(artifacts: Path | None) -> Store:
    """The store a command works in."""
    return default_store() if artifacts is None else Store(artifacts)


def print_json(value: Any) -> None:
    """One JSON value on one line of stdout; what a terminal might obey or no encoding can write is escaped."""
    line = json.dumps(value, ensure_ascii=False, allow_nan=False)
    print(re.sub("[\x7f-\x9f\ud800-\udfff]", lambda found: f"\\u{ord(found[0]):04x}", line), flush=True)


def balance(count: Count) -> str:
    """A Count in words: what came in, what went out, and the drops by reason."""
    dropped = ", ".join(f"{rows:,} {reason}" for reason, rows in count.dropped.items() if rows)
    return f"{count.rows_in:,} in, {count.rows_out:,} out" + (f", dropped {dropped}" if dropped else "")


def read_map(pairs: list[str] | None) -> dict[str, str]:
    """`--map text=sentence` given any number of times -> {"text": "sentence"}."""
    mapping = {}
    for pair in pairs or []:
        ours, separator, theirs = pair.partition("=")
        if not (ours and separator and theirs):
            raise BadInput(f"--map expects OURS=THEIRS, as in --map text=sentence, found {pair!r}")
        mapping[ours] = theirs
    return mapping


@contextmanager
def progress_shown() -> Iterator[Progress]:
    """A Progress that draws bars on a terminal and writes a plain line now and then into a log."""
    if not screen.is_terminal:
        yield _LogProgress()
        return
    columns = (
        TextColumn("{task.description:<22}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with RichProgress(*columns, console=screen) as bars:
        stages: dict[str, TaskID] = {}

        def show(stage: str, done: int, total: int | None) -> None:
            if stage not in stages:
                stages[stage] = bars.add_task(stage, total=total)
            bars.update(stages[stage], completed=done, total=total)

        yield show


class _LogProgress:
    """Plain lines: a stage's first and last step, and one every LOG_EVERY_S seconds between."""

    def __init__(self) -> None:
        self._last: dict[str, float] = {}

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        now = time.monotonic()
        if stage in self._last and done != total and now - self._last[stage] < LOG_EVERY_S:
            return
        self._last[stage] = now
        of = f" of {total:,}" if total is not None else ""
        print(f"{stage}: {done:,}{of}", file=sys.stderr, flush=True)


def _say_error(message: str) -> None:
    screen.print(Text.assemble(("error", "bold red"), " ", plain(message)), soft_wrap=True)


def plain(text: str) -> str:
    """Text on one line that a terminal does not read as commands."""
    return "".join(c if c.isprintable() else " " if c.isspace() else "?" for c in text)
