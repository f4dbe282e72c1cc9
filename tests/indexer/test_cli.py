"""The commands: JSON when asked, one sentence and exit code 2 for what a user can mend, quick to help."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from contract.console import run
from contract.store import Store
from indexer.cli import app
from indexer.index import open_index
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
    assert (info["id"], info["corpus"], info["retrievers"]) == (index["id"], "c@1", ["lexical", "random"])
    assert answer(command("index", "verify", "i", "--json"))["faults"] == []


def test_a_corpus_is_added_to_and_removed_by_name(command, docs, tmp_path):
    (tmp_path / "more.txt").write_text("one more passage to add\n")
    first = answer(command("corpus", "build", docs, "--name", "c", "--json"))
    grown = answer(command("corpus", "add", "c", "more.txt", "--json"))
    assert grown["name"] == "c@2"
    assert grown["id"] == answer(command("corpus", "build", docs, "more.txt", "--name", "d", "--json"))["id"]
    info = answer(command("corpus", "info", "c", "--json"))
    assert (info["id"], info["versions"]) == (grown["id"], [1, 2])
    assert answer(command("corpus", "info", "c@1", "--json"))["id"] == first["id"]
    code, _, err = command("corpus", "remove", "c")
    assert (code, "c@1, c@2" in err) == (2, True)
    answer(command("index", "build", "--corpus", "c@1", "--name", "i", "--retrievers", "lexical", "--json"))
    code, _, err = command("corpus", "remove", "c@1")
    assert (code, "the index i was made from" in err) == (2, True)
    assert answer(command("corpus", "remove", "c@2", "--json")) == {"removed": "c@2"}
    assert answer(command("corpus", "info", "c", "--json"))["id"] == first["id"]


def test_what_is_dropped_is_shown_by_reason_with_a_few_ids(command, tmp_path):
    rows = [{"id": f"n{n}", "text": "12 34 56 78"} for n in range(9)] + [{"id": "ok", "text": "a good text here"}]
    (tmp_path / "docs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = ("--filter", "digits=0.5", "--near-duplicates", "0.8", "--lang", "en", "--keep-lang", "en,de")
    code, out, err = command("corpus", "build", "docs.jsonl", "--name", "c", *arguments)
    assert code == 0, err
    assert "9 digits" in out
    assert "n0, n1, n2, n3, n4" in out
    assert "12 34" not in out + err


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
        (("corpus", "build", "docs.jsonl", "--name", "c", "--lang", "klingon"), "language tag"),
        (("corpus", "build", "docs.jsonl", "--name", "c", "--filter", "beauty"), "a filter out of"),
        (("corpus", "build", "docs.jsonl", "--name", "c", "--near-duplicates", "3"), "from 0.5 to 1"),
        (("corpus", "build", "nosuch://a.txt", "--name", "c"), "a scheme no library here knows"),
        (("corpus", "build", "docs.jsonl", "--name", "c", "--storage-option", "x"), "KEY=VALUE"),
        (("corpus", "add", "c", "docs.jsonl"), "There is no corpus"),
        (("corpus", "remove", "c"), "There is no corpus"),
        (("corpus", "info", "c"), "There is no corpus"),
        (("index", "info", "i"), "There is no index"),
        (("index", "build", "--corpus", "c", "--name", "i"), "There is no corpus"),
        (("index", "build", "--corpus", "c", "--name", "i", "--retrievers", "bm25"), "out of lexical and dense"),
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


def test_an_on_demand_index_fills_a_cache_that_can_be_seen_and_emptied(command, docs, tiny_model, tmp_path):
    answer(command("corpus", "build", docs, "--name", "c", "--json"))
    options = ("--retrievers", "lexical,on-demand", "--encoder", f"static:{tiny_model}", "--dims", "8")
    index = answer(command("index", "build", "--corpus", "c", "--name", "i", *options, "--json"))
    assert index["params"]["on-demand"]["encoder"]["dims"] == 8
    assert answer(command("index", "info", "i", "--json"))["retrievers"] == ["lexical", "hybrid", "random"]
    assert answer(command("index", "cache", "--json")) == []
    hits = open_index(Store(tmp_path / "artifacts"), "i").search(["jazz"], 5, "hybrid")
    (cache,) = answer(command("index", "cache", "--json"))
    assert cache["vectors"] == (hits.dense_rank >= 0).sum() > 0
    assert f"{cache['vectors']} vectors" in command("index", "cache")[1]
    (emptied,) = answer(command("index", "cache", "--empty", "--json"))
    assert emptied["vectors"] == 0
    assert answer(command("index", "verify", "i", "--json"))["faults"] == []


@pytest.mark.parametrize("retrievers", ["dense,on-demand", "on-demand", "bm25", "", "lexical,lexical"])
def test_retrievers_that_make_no_sense_get_a_sentence(command, docs, retrievers):
    answer(command("corpus", "build", docs, "--name", "c", "--json"))
    code, _, err = command("index", "build", "--corpus", "c", "--name", "i", "--retrievers", retrievers)
    assert code == 2
    assert "Expected" in err
