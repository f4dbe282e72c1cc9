"""The demo's runs: all are made, and those that failed are told at the end."""

from __future__ import annotations

from pathlib import Path

import pytest

from contract.errors import TransfersetError
from demo.commands import typed
from demo.demo import _distil
from tests.experiments.worlds import make_experiment


def test_runs_that_fail_are_named_after_all_others_were_made(tmp_path: Path) -> None:
    store, experiment = make_experiment(tmp_path, seeds=1)
    broken = ["distill", str(tmp_path / "no.toml"), "--name", "broken"]
    with pytest.raises(TransfersetError, match=r"broken: There is no .*no\.toml"):
        _distil([broken, *(run.command for run in experiment.runs)], store.root)
    assert store.names("run") == sorted(run.name for run in experiment.runs)


def test_a_command_is_said_as_one_types_it() -> None:
    assert typed(["compare", "demo-*", "--html", "a page.html"]) == 'transferset compare "demo-*" --html "a page.html"'
