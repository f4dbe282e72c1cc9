"""Claims of the commands, on a real index: JSON a line, sentences for errors, the same set after kill -9."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import contract.console
from contract.store import Store
from indexer.build import build_index
from indexer.corpus import CorpusSettings, build_corpus
from indexer.index import IndexSettings
from indexer.lexical import LexicalSettings
from service.cli import app
from tests.service.fake_index import generic_texts
from tests.service.tasks_for_tests import write_task

PASSAGES = ["I play bass in a jazz band.", "Some jazz is played at night here.", *generic_texts(300)]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Artifacts with a corpus and its lexical index."""
    root = tmp_path_factory.mktemp("artifacts")
    source = root / "passages.txt"
    source.write_text("\n".join(PASSAGES), encoding="utf-8")
    store = Store(root / "store")
    build_corpus(store, "c", [str(source)], CorpusSettings())
    build_index(store, "i", "c", IndexSettings(retrievers=("lexical",), lexical=LexicalSettings(shard_rows=128)))
    return store.root


class Command:
    """The service's commands, run in this process as `python -m service` runs them."""

    def __init__(self, capsys: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch, root: Path) -> None:
        self.root = root
        self._capsys, self._patch = capsys, patch

    def __call__(self, *arguments: object) -> tuple[int, str, str]:
        """Exit code, stdout, stderr."""
        self._patch.setattr(sys, "argv", ["service", *map(str, arguments), "--artifacts", str(self.root)])
        with pytest.raises(SystemExit) as exited:
            contract.console.run(app)
        out, err = self._capsys.readouterr()
        return int(exited.value.code or 0), out, err

    def json(self, *arguments: object) -> list[Any]:
        code, out, err = self(*arguments, "--json")
        assert code == 0, err
        return [json.loads(line) for line in out.splitlines()]


@pytest.fixture
def command(
    built: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Command:
    root = tmp_path / "artifacts"
    shutil.copytree(built, root)
    monkeypatch.setattr(contract.console, "screen", contract.console.Console(stderr=True, width=200))
    return Command(capsys, monkeypatch, root)


@pytest.fixture
def task(tmp_path: Path) -> Path:
    return write_task(tmp_path)


def test_neighbours_prints_one_object_a_line(command: Command) -> None:
    found = command.json("neighbours", "i", "play bass in a band", "jazz at night", "--k", 2)
    assert [line["utterance"] for line in found] == ["play bass in a band", "jazz at night"]
    assert [line["neighbours"][0]["text"] for line in found] == PASSAGES[:2]
    first = found[0]["neighbours"][0]
    assert {"passage_id", "text", "source", "rank", "score", "retriever"} <= set(first)
    assert (first["rank"], first["retriever"], len(found[0]["neighbours"])) == (0, "lexical", 2)
    assert first["score"] >= found[0]["neighbours"][1]["score"]


@pytest.mark.parametrize("suffix", ["parquet", "jsonl", "csv", "txt"])
def test_utterances_come_from_any_file_we_read(command: Command, tmp_path: Path, suffix: str) -> None:
    texts, path = ["jazz band", "cold weather"], tmp_path / f"t.{suffix}"
    if suffix == "parquet":
        pq.write_table(pa.table({"text": texts}), path)
    elif suffix == "jsonl":
        path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    else:
        path.write_text("\n".join((["text"] if suffix == "csv" else []) + texts))
    assert [line["utterance"] for line in command.json("neighbours", "i", "--file", path, "--k", 1)] == texts


def test_a_file_may_name_its_columns_its_own_way_and_hold_pairs(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps({"one": "jazz band", "two": "cold weather"}) + "\n")
    (found,) = command.json("neighbours", "i", "--file", path, "--map", "text=one", "--map", "text_pair=two")
    assert found["utterance"] == "jazz band cold weather"


def test_neighbours_are_shown_to_people_without_their_control_characters(command: Command) -> None:
    code, out, _ = command("neighbours", "i", "play \x1b[31mjazz [bold]band", "--k", 1)
    assert code == 0
    assert "\x1b[31m" not in out
    assert "[bold]band" in out
    assert "jazz band." in out.replace("\n", "")


def test_a_k_beyond_the_corpus_is_a_note_not_an_error(command: Command) -> None:
    code, out, err = command("neighbours", "i", "jazz", "--k", 1000, "--json")
    assert code == 0
    assert "302 passages, fewer than k = 1000" in err
    assert len(json.loads(out)["neighbours"]) == 302


def test_build_and_inspect_agree(command: Command, task: Path) -> None:
    (made,) = command.json("build", "--index", "i", "--task", task, "--name", "y", "--shots", 5, "--k", 9)
    (found,) = command.json("inspect", "y", "--examples", 2)
    assert made["id"] == found["id"]
    assert made["facts"]["texts"] == found["texts"]
    assert made["counts"] == found["counts"]
    assert made["rows"] == 15
    assert len(found["examples"]) == 2
    assert found["params"]["retriever"] == "lexical"  # what the index has


def test_build_and_inspect_speak_to_people(command: Command, task: Path) -> None:
    code, out, _ = command("build", "--index", "i", "--task", task, "--name", "y", "--generic-share", 0.7)
    assert code == 0
    assert "generic share 0.7" in out
    assert "dropped " in out
    code, out, _ = command("inspect", "y", "--examples", 1)
    assert code == 0
    assert "Distinct-2" in out


def test_every_option_reaches_the_policy(command: Command, task: Path) -> None:
    options: dict[str, Any] = {
        "max_uses": 3,
        "diversity": 0.3,
        "pool": 33,
        "min_rank": 1,
        "max_rank": 7,
        "min_score": 0.5,
        "max_score": 99,
        "min_words": 4,
        "max_words": 11,
        "generic_share": 0.6,
        "budget_rows": 60,
        "budget_words": 500,
    }
    given = [part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", value)]
    given += ["--per-class", "--rounds", 2, "--askers", 5]
    command.json("build", "--index", "i", "--task", task, "--name", "y", "--seed", 4, "--heldout-split", "test", *given)
    (found,) = command.json("inspect", "y")
    assert {name: found["params"]["policy"][name] for name in options} == options
    assert found["params"]["seed"] == 4
    assert found["params"]["policy"]["per_class"] is True
    assert (found["params"]["rounds"], found["params"]["askers"]) == (2, 5)
    assert found["texts"] <= 60


def test_an_arm_is_sized_by_another_and_says_when_it_is_smaller(command: Command, task: Path) -> None:
    common = ("build", "--index", "i", "--task", task)
    (wanted,) = command.json(*common, "--name", "y", "--k", 6)
    (sized,) = command.json(*common, "--name", "r", "--retriever", "random", "--size-of", "y")
    assert sized["facts"]["neighbours"] == wanted["facts"]["neighbours"]
    code, out, _ = command(*common, "--name", "l", "--k", 1, "--size-of", "y")
    assert code == 0
    assert "the arms are not equal" in out


def test_the_task_only_arm_needs_no_index(command: Command, task: Path) -> None:
    (made,) = command.json("build", "--task", task, "--name", "y", "--retriever", "none")
    assert (made["facts"]["texts"], made["facts"]["neighbours"]) == (40, 0)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["neighbours", "i"], "expects utterances"),
        (["neighbours", "nothing", "play"], "There is no index at"),
        (["neighbours", "../../etc", "play"], "names are not paths"),
        (["neighbours", "i", "play", "--retriever", "dense"], "no dense retriever; it has lexical, random"),
        (["neighbours", "i", "play", "--k", "-1"], "expected 1 to 1000, found -1"),
        (["neighbours", "i", "play", "--k", "0"], "expected 1 to 1000, found 0"),
        (["build", "--index", "i", "--task", "TASK", "--name", "y", "--k", "0"], "expected 1 to 1000, found 0"),
        (["neighbours", "i", "--file", "nothing.txt"], "There is no file"),
        (["neighbours", "i", "--file", "README.md"], "a format we do not read"),
        (["inspect", "nothing"], "There is no transfer-set at"),
        (["build", "--index", "i", "--task", "nothing.csv", "--name", "y"], "There is no task file"),
        (["build", "--index", "i", "--task", "TASK", "--name", "a/b"], "names are not paths"),
        (["build", "--index", "i", "--task", "TASK", "--name", "y", "--heldout-split", "train"], "as both"),
        (["build", "--index", "i", "--task", "TASK", "--name", "y", "--generic-share", "7"], "policy.generic_share"),
        (["build", "--index", "i", "--task", "TASK", "--name", "y", "--map", "text"], "expects OURS=THEIRS"),
    ],
)
def test_bad_input_is_a_sentence_and_exit_code_2(
    command: Command, task: Path, arguments: list[str], sentence: str
) -> None:
    code, out, err = command(*[str(task) if argument == "TASK" else argument for argument in arguments])
    assert code == 2
    assert sentence in " ".join(err.split())
    assert "Traceback" not in err
    assert out == ""


def test_a_changed_file_of_the_index_is_named_and_leaves_no_finished_set(command: Command, task: Path) -> None:
    for path in sorted((command.root / "indexes" / "i").glob("texts-*")):
        damaged = bytearray(path.read_bytes())
        damaged[len(damaged) // 2] ^= 1
        path.write_bytes(damaged)
    code, _, err = command("build", "--index", "i", "--task", task, "--name", "y")
    assert code == 2
    assert "does not match the sha256 in its manifest" in " ".join(err.split())
    assert Store(command.root).names("transfer-set") == []
    code, _, err = command("inspect", "y")
    assert code == 2
    assert "is not finished" in " ".join(err.split())


def test_a_build_killed_at_any_time_ends_in_the_same_set(command: Command, task: Path) -> None:
    common = ("build", "--index", "i", "--task", task, "--k", 40)
    (undisturbed,) = command.json(*common, "--name", "undisturbed")
    line = [sys.executable, "-m", "service", *map(str, common), "--name", "y", "--artifacts", str(command.root)]
    draft = command.root / "transfer-sets" / "y" / ".draft"
    process = subprocess.Popen(line, cwd=Path(__file__).parents[2], env=os.environ, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not draft.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    (again,) = command.json(*common, "--name", "y")
    assert again["id"] == undisturbed["id"]
    assert not draft.exists()


def test_help_loads_no_heavy_library() -> None:
    code = "import sys, service.cli; print([m for m in ('torch', 'numba', 'faiss', 'pydantic') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.stdout.strip() == "[]"


def test_an_utterance_without_a_known_word_is_noted(command: Command) -> None:
    code, out, err = command("neighbours", "i", "zzzz", "some jazz", "--k", "2")
    assert code == 0
    assert "no passage holds a word of 1 of 2 utterances" in " ".join(err.split())
    assert "zzzz" not in err
    assert out.count("0.000") == 2
    assert "note" not in command("neighbours", "i", "zzzz", "--retriever", "random")[2]
    assert "note" not in command("neighbours", "i", "some jazz", "--k", "1")[2]
