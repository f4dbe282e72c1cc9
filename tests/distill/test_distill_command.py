"""`distill` as it is typed: what it prints, what it refuses, and that asking for help loads nothing heavy."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from contract.errors import BadInput
from distill.cli import app
from tests.distill.tiny import make_world

ROOT = Path(__file__).parents[2]


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    """A run that is over in a moment."""
    store, config = make_world(tmp_path)
    toml = tmp_path / "RUN.toml"
    toml.write_text(f'[task]\npath = "{config.task.path}"\n[transfer_set]\nname = "near"\n')
    short = ["teacher.updates=2", "distill.updates=2", "finetune.updates=2", "student.width=16", "seed=4"]
    chosen = [part for setting in [*short, f"teacher.model={config.teacher.model}"] for part in ("--set", setting)]
    return ["distill", str(toml), "--name", "r1", "--artifacts", str(store.root), *chosen]


def test_it_prints_the_scores_and_where_the_report_lies(command: list[str], tmp_path: Path) -> None:
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert "r1  arm retrieved, seed 4: accuracy" in " ".join(result.stdout.split("\n"))
    assert "report.html" in result.stdout
    assert (tmp_path / "artifacts" / "runs" / "r1" / "report.html").is_file()


def test_as_json_it_is_one_line_and_twice_the_same(command: list[str]) -> None:
    first, again = (CliRunner().invoke(app, [*command, "--json"]).stdout for _ in range(2))
    assert first == again
    (line,) = first.splitlines()
    answer = json.loads(line)
    assert sorted(answer) == ["directory", "id", "name", "report"]
    assert answer["report"]["student"]["from"] == "scratch"


def test_what_is_wrong_is_a_sentence(command: list[str]) -> None:
    result = CliRunner().invoke(app, [*command, "--set", "distill.update=3"])
    assert isinstance(result.exception, BadInput)
    assert "did you mean updates?" in str(result.exception)


def test_on_the_command_line_an_error_is_exit_code_2_without_a_traceback(tmp_path: Path) -> None:
    typed = [sys.executable, "-m", "distill", "distill", str(tmp_path / "no.toml"), "--name", "r1"]
    ended = subprocess.run(typed, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "There is no" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_help_loads_neither_torch_nor_transformers() -> None:
    script = (
        "import sys, distill.cli; print(sorted({'torch', 'transformers', 'sklearn', 'pydantic'} & set(sys.modules)))"
    )
    ended = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"
