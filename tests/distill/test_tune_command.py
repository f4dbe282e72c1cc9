"""`tune` as it is typed: what it refuses, what it answers, and that asking for help loads nothing heavy."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from contract.errors import BadInput, NotFound
from distill.cli import app
from distill.tuning.run_toml import to_toml
from distill.tuning.search_space import raw_settings
from tests.distill.tuning.world import make_search_world

ROOT = Path(__file__).parents[2]


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    store, config = make_search_world(tmp_path)
    (tmp_path / "RUN.toml").write_text(to_toml(raw_settings(config)))
    (tmp_path / "SPACE.toml").write_text('[space]\n"distill.batch_size" = [4, 8]\n')
    typed = ["tune", str(tmp_path / "RUN.toml"), "--space", str(tmp_path / "SPACE.toml"), "--name", "s"]
    return [*typed, "--trials", "2", "--test-seeds", "1", "--artifacts", str(store.root)]


def test_it_searches_keeps_the_best_and_shows_it_again(command: list[str], tmp_path: Path) -> None:
    runner, artifacts = CliRunner(), command[-2:]
    first = runner.invoke(app, [*command, "--keep-best", "winner", "--json"], catch_exceptions=False)
    answer = json.loads(first.stdout.splitlines()[-1])
    assert len(answer["study"]["trials"]) == 2
    assert (tmp_path / "artifacts" / "runs" / "winner" / "manifest.json").is_file()
    shown = runner.invoke(app, ["tune", "--show", "s", *artifacts, "--json"], catch_exceptions=False)
    assert json.loads(shown.stdout) == answer
    told = runner.invoke(app, ["tune", "--show", "s", *artifacts], catch_exceptions=False).stdout
    assert "best.toml" in told
    assert "study.html" in told


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--storage", "sqlite:///x.db"], "SQLite loses trials"),
        (["--metric", "accurracy"], "are judged by accuracy"),
        (["--set", "distill.update=3"], "did you mean updates?"),
        (["--valid-split", "test"], "does not see"),
    ],
)
def test_what_is_wrong_is_a_sentence(command: list[str], more: list[str], said: str) -> None:
    error = CliRunner().invoke(app, [*command, *more]).exception
    assert isinstance(error, BadInput)
    assert said in str(error)


def test_without_a_study_or_its_name_it_says_what_it_expects(command: list[str]) -> None:
    artifacts = command[-2:]
    assert "expects RUN.toml and --name" in str(CliRunner().invoke(app, ["tune", *artifacts]).exception)
    assert isinstance(CliRunner().invoke(app, ["tune", "--show", "no", *artifacts]).exception, NotFound)


def test_showing_needs_no_optuna_and_help_nothing_heavy() -> None:
    script = (
        "import sys, distill.tuning.cli, distill.tuning.page;"
        "print(sorted({'torch', 'transformers', 'optuna', 'sqlalchemy'} & set(sys.modules)))"
    )
    ended = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"
