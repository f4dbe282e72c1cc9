"""The demo: the whole way, small, with text and weights that every machine can have.

Documentation strings become a corpus, the corpus an index, the index four transfer sets for the task in `task.jsonl`,
and each of them three students. Whatever wins is what it says.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from contract.console import answer, screen, store_at
from contract.errors import TransfersetError
from demo.arms import ArmsPlan, arm_runs, build_commands, compare_command
from demo.commands import Command, name_of, run_commands, say
from demo.docstrings import write_docstrings
from demo.workers import run_side_by_side

HERE = Path(__file__).parent
QUESTIONS = (
    "draw a bar chart of sales per region",
    "why do i get a key error when i look up this column",
    "throw away every row where the price is missing",
)


def run_demo(artifacts: Path | None) -> None:
    """Run every step, saying the command that does it. Stopped on the way, the next run goes on from there."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # the weights are a package; nothing is asked of the network
    began = time.monotonic()
    root = store_at(artifacts).root / "demo" if artifacts is None else artifacts
    root.mkdir(parents=True, exist_ok=True)
    corpus = root / "docstrings.jsonl"
    screen.print("\n[bold]A corpus that is already here:[/] the documentation strings of the installed packages")
    if not corpus.exists():  # kept from the first time: other packages would be another corpus
        screen.print(f"{write_docstrings(corpus):,} paragraphs in {corpus}", highlight=False)

    plan = ArmsPlan(
        prefix="demo",
        index="docs",
        task=HERE / "task.jsonl",
        run_toml=HERE / "run.toml",
        retriever="hybrid",
        k=20,
        seeds=(0, 1, 2),
    )
    page = root / "report.html"
    run_commands(
        [
            ["corpus", "build", str(corpus), "--name", "docs"],
            ["index", "build", "--corpus", "docs", "--name", "docs", "--retrievers", "lexical,dense"],
            ["neighbours", "docs", *QUESTIONS, "--k", "3"],
            *build_commands(plan),
        ],
        root,
    )
    screen.print("\n[bold]Five arms, three seeds each:[/] the same teacher, student and updates; only the text differs")
    _distil([run.command for run in arm_runs(plan)], root)
    run_commands([compare_command(plan, page)], root)
    minutes = (time.monotonic() - began) / 60
    answer.print(
        f"\nDone in {minutes:.1f} minutes. The page with all of it: [bold]{page.resolve()}[/]", highlight=False
    )


def _distil(commands: list[Command], root: Path) -> None:
    """All runs, each said when it is done; those that failed are told at the end."""
    failed = []
    for number, run in enumerate(run_side_by_side(commands, root), start=1):
        say(run.command, f"  [dim]{number} of {len(commands)}[/]")
        answer.print(run.said, end="", markup=False, highlight=False, soft_wrap=True)
        failed += [f"{name_of(run.command)}: {run.error}"] if run.error else []
    if failed:
        raise TransfersetError("; ".join(failed))
