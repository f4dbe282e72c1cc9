"""The one command: mounts the three programs' commands, and adds `demo` and `doctor`."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup

from contract.console import ArtifactsOption, JsonOption, make_app, run
from distill.cli import app as distill_app
from indexer.corpus_cli import corpus_app
from indexer.index_cli import index_app
from jobs.clean_cli import app as clean_app
from jobs.cli import app as jobs_app
from service.cli import app as service_app
from service.keys_cli import keys_app


class InOrder(TyperGroup):
    """Commands in the order of the work, not of the alphabet."""

    def list_commands(self, ctx: Any) -> list[str]:
        first = ("demo", "doctor", "corpus", "index")
        return [*first, *(name for name in super().list_commands(ctx) if name not in first)]


app = make_app("transferset", "Makes the text that small language models learn from.", InOrder)
app.add_typer(corpus_app, name="corpus", rich_help_panel="Index")
app.add_typer(index_app, name="index", rich_help_panel="Index")
app.add_typer(keys_app, name="keys", rich_help_panel="Build transfer sets")
for panel, room in (
    ("Build transfer sets", service_app),
    ("Distil", distill_app),
    ("Serve", jobs_app),
    ("Serve", clean_app),
):
    for command in room.registered_commands:
        command.rich_help_panel = "Serve" if command.name == "serve" else panel
    app.registered_commands += room.registered_commands


@app.command(rich_help_panel="Begin here")
def demo(artifacts: ArtifactsOption = None) -> None:
    """Run the whole way, small: corpus, index, four transfer sets, students on each, and which one won."""
    from demo.demo import run_demo

    run_demo(artifacts)


@app.command(rich_help_panel="Begin here")
def doctor(artifacts: ArtifactsOption = None, as_json: JsonOption = False) -> None:
    """Say what this machine has and lacks for each part of the product."""
    from demo.doctor import examine, show

    show(examine(artifacts), as_json=as_json)


def main() -> None:
    """The entry point of the `transferset` command."""
    run(app)


if __name__ == "__main__":
    main()
