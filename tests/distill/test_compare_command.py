"""The `compare` command: names and patterns in; a table, JSON or a page out; a sentence when something is amiss."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from contract.console import run
from contract.store import Store
from distill.cli import app
from tests.distill.pages import check_page
from tests.distill.runs import keep_arms


@pytest.fixture
def artifacts(tmp_path: Path) -> Path:
    keep_arms(Store(tmp_path / "artifacts"), {"no distillation": 0.70, "retrieved": 0.80})
    return tmp_path / "artifacts"


def called(monkeypatch: pytest.MonkeyPatch, artifacts: Path, *arguments: str) -> int:
    """The exit code of `distill compare …`, run as from a shell."""
    monkeypatch.setattr(sys, "argv", ["distill", "compare", *arguments, "--artifacts", str(artifacts)])
    with pytest.raises(SystemExit) as ended:
        run(app)
    return int(ended.value.code or 0)


def test_the_json_is_one_document_on_stdout(
    monkeypatch: pytest.MonkeyPatch, artifacts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert called(monkeypatch, artifacts, "c-*", "--json", "--resamples", "200") == 0
    (group,) = json.loads(capsys.readouterr().out)["groups"]
    assert group["winner"] == "retrieved"


def test_the_table_is_whole_in_a_pipe(
    monkeypatch: pytest.MonkeyPatch, artifacts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert called(monkeypatch, artifacts, "c-retrieved-*", "c-no-*", "--resamples", "200") == 0
    out = capsys.readouterr().out
    assert "Winner: retrieved" in out
    assert "Updates" in out


def test_the_page_is_written_where_it_was_asked_for(
    monkeypatch: pytest.MonkeyPatch, artifacts: Path, tmp_path: Path
) -> None:
    target = tmp_path / "page.html"
    assert called(monkeypatch, artifacts, "c-*", "--html", str(target), "--name", "mine", "--resamples", "200") == 0
    assert check_page(target.read_text(encoding="utf-8")).one("h1").text == "mine"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nope-*"], "No finished run matches 'nope-*'"),
        (["nope"], "There is no run at"),
        (["c-*", "--baseline", "nothing"], "There is no arm 'nothing'"),
        (["c-*", "--metric", "bleu"], "cannot be compared by 'bleu'; expected accuracy, macro_f1"),
        (["c-*", "--arm", "x"], "--arm expects NAME=PATTERN"),
        (["c-*", "--html", "/no/such/folder/x.html"], "The page cannot be written"),
    ],
)
def test_what_a_user_can_mend_is_a_sentence_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch,
    artifacts: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    sentence: str,
) -> None:
    assert called(monkeypatch, artifacts, *arguments) == 2
    captured = capsys.readouterr()
    assert sentence in captured.err.replace("\n", " ")
    assert "Traceback" not in captured.err
    assert captured.out == ""
