"""The commands: JSON when asked, one sentence and exit code 2 for what a user can mend, quick to help."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from contract.console import run
from indexer.cli import app
from tests.indexer.conftest import sentences

ROOT = Path(__file__).parents[2]


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """Run a command in `tmp_path`: its exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TRANSFERSET_ARTIFACTS", raising=False)

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["indexer", *arguments])
        with pytest.raises(SystemExit) as ended:
            run(app)
        out, err = capsys.readouterr()
        return ended.value.code or 0, out, err

    return call


@pytest.fixture
def docs(tmp_path):
    path = tmp_path / "docs.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in sentences(30)))
    return str(path)


def answer(result: tuple[int, str, str]) -> dict:
    code, out, err = result
    assert code == 0, err
    assert out.count("\n") == 1
    return json.loads(out)


def test_corpus_then_index_then_verify(command, docs):
    corpus = answer(command("corpus", "build", docs, "--name", "c", "--json"))
    assert corpus["counts"]["passages"]["rows_out"] == 30
    assert answer(command("corpus", "info", "c", "--json"))["id"] == corpus["id"]
    index = answer(command("index", "build", "--corpus", "c", "--name", "i", "--retrievers", "lexical", "--json"))
    assert index["inputs"] == {"corpus": corpus["id"]}
    info = answer(command("index", "info", "i", "--json"))
    assert (info["id"], info["corpus"], info["retrievers"]) == (index["id"], "c", ["lexical", "random"])
    assert answer(command("index", "verify", "i", "--json"))["faults"] == []


def test_without_json_people_read_the_counts(command, docs):
    code, out, _ = command("corpus", "build", docs, docs, "--name", "c")
    assert code == 0
    assert "passages: 30 in, 30 out" in out
    assert command("corpus", "info", "c")[1] == out


def test_verify_names_the_changed_files_and_exits_with_two(command, docs, tmp_path):
    command("corpus", "build", docs, "--name", "c")
    command("index", "build", "--corpus", "c", "--name", "i", "--retrievers", "lexical")
    (tmp_path / "artifacts/corpora/c/part-00000.parquet").unlink()
    with (tmp_path / "artifacts/indexes/i/texts-00000.arrow").open("ab") as file:
        file.write(b"more")
    code, _, err = command("index", "verify", "i")
    assert code == 2
    assert "part-00000.parquet is missing" in err
    assert "texts-00000.arrow does not match" in err
    code, out, _ = command("index", "verify", "i", "--json")
    assert code == 2
    assert len(json.loads(out)["faults"]) == 2


def test_artifacts_go_where_they_are_told_to(command, docs, tmp_path):
    command("corpus", "build", docs, "--name", "c", "--artifacts", str(tmp_path / "elsewhere"))
    assert (tmp_path / "elsewhere/corpora/c/manifest.json").exists()


def test_bad_rows_are_told_of_and_their_file_named(command, tmp_path):
    (tmp_path / "docs.jsonl").write_text('{"text": "some good text"}\nnot json\n')
    code, _, err = command("corpus", "build", "docs.jsonl", "--name", "c")
    assert code == 2
    assert "row 2" in err
    code, out, err = command("corpus", "build", "docs.jsonl", "--name", "c", "--skip-bad-rows")
    assert code == 0
    assert "errors.jsonl" in err
    assert "1 bad_row" in out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("corpus", "build", "nothing.txt", "--name", "c"), "No file matches"),
        (("corpus", "build", "docs.jsonl", "--name", "../../etc"), "names are not paths"),
        (("corpus", "build", "docs.jsonl", "--name", "c", "--map", "text"), "OURS=THEIRS"),
        (("corpus", "build", "docs.jsonl", "--name", "c", "--map", "text=body"), "no column 'body'"),
        (("corpus", "build", "docs.jsonl", "--name", "c", "--min-words", "0"), "min words"),
        (("corpus", "info", "c"), "There is no corpus"),
        (("index", "info", "i"), "There is no index"),
        (("index", "build", "--corpus", "c", "--name", "i"), "There is no corpus"),
        (("index", "build", "--corpus", "c", "--name", "i", "--retrievers", "bm25"), "expects lexical, dense"),
        (("index", "build", "--corpus", "c", "--name", "i", "--b", "2"), "from 0 to 1"),
    ],
)
def test_what_a_user_can_mend_is_one_sentence_and_exit_code_two(command, docs, arguments, sentence):
    code, out, err = command(*arguments)
    assert code == 2
    assert sentence in err
    assert "Traceback" not in err + out


def test_a_name_that_is_taken_says_what_differs(command, docs):
    command("corpus", "build", docs, "--name", "c")
    code, _, err = command("corpus", "build", docs, "--name", "c", "--max-words", "9")
    assert code == 2
    assert "max_words is 64 there and 9 here" in err


def test_help_imports_no_heavy_library():
    code = (
        "import sys; import indexer.cli;"
        "assert not {'torch', 'faiss', 'numba', 'sentence_transformers', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True)
