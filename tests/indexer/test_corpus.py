"""The corpus: in = out + dropped, one id however it was made, ids unique, bad input a sentence."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contract.draft import drafting
from contract.errors import BadInput, Busy, NameTaken, NotFound
from contract.schemas import CORPUS
from contract.store import Store
from indexer.corpus import _plan, build_corpus, open_corpus
from indexer.corpus_settings import CorpusSettings
from indexer.reading import sources
from indexer.reading.bad_rows import ERRORS
from indexer.reading.sources import find_files
from tests.indexer.conftest import sentences

ROOT = Path(__file__).parents[2]


def write(folder: Path, rows: list[dict], name: str = "docs.jsonl") -> str:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(folder / name)


def rows_of(corpus) -> list[dict]:
    return pa.Table.from_batches(corpus.batches(), CORPUS).to_pylist()


def test_short_rows_pass_unchanged_as_single_passages(store, tmp_path):
    rows = [{"id": f"r{n}", "text": text, "source": "s", "lang": "en"} for n, text in enumerate(sentences(50))]
    corpus = build_corpus(store, "c", [write(tmp_path, rows)])
    assert [{**row, "id": row["passage_id"]} for row in rows_of(corpus)] == [
        {**row, "passage_id": row["id"], "n_words": len(row["text"].split())} for row in rows
    ]


def test_duplicates_and_short_passages_are_dropped_and_counted(store, tmp_path):
    texts = ["play some jazz", "Play  some JAZZ", "too short", "play some jazz!", "play some jazz"]
    corpus = build_corpus(store, "c", [write(tmp_path, [{"text": text} for text in texts])])
    assert [row["passage_id"] for row in rows_of(corpus)] == ["docs-1", "docs-4"]
    count = corpus.manifest.counts["passages"]
    assert (count.rows_in, count.rows_out, count.dropped) == (5, 2, {"duplicate": 2, "too_short": 1})
    assert corpus.manifest.counts["documents"].rows_out == 5


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    texts=st.lists(st.sampled_from(["a b c", "A b  c", "d e f", "x", "g h. " * 40, "i j k"]), min_size=1, max_size=30),
    ids=st.lists(st.sampled_from(["1", "1~2", "2", ""]), min_size=30, max_size=30),
    shard=st.integers(1, 8),
)
def test_in_is_out_plus_dropped_and_ids_are_unique(tmp_path, texts, ids, shard):
    shutil.rmtree(tmp_path / "store", ignore_errors=True)
    rows = [{"id": i, "text": text} for i, text in zip(ids, texts, strict=False)]
    if set(texts) == {"x"}:
        return
    settings = CorpusSettings(min_words=2, max_words=8, shard_passages=shard)
    corpus = build_corpus(Store(tmp_path / "store"), "c", [write(tmp_path, rows)], settings)
    count = corpus.manifest.counts["passages"]
    assert count.rows_in == count.rows_out + sum(count.dropped.values())
    found = rows_of(corpus)
    assert len({row["passage_id"] for row in found}) == len(found) == corpus.rows == count.rows_out
    assert len({" ".join(row["text"].casefold().split()) for row in found}) == len(found)
    assert all(2 <= row["n_words"] <= 8 for row in found)


def test_a_repeated_id_gets_the_first_free_number(store, tmp_path):
    rows = [{"id": i, "text": f"text number {n}"} for n, i in enumerate(["7", "7", "7~2", "7"])]
    corpus = build_corpus(store, "c", [write(tmp_path, rows)])
    assert [row["passage_id"] for row in rows_of(corpus)] == ["7", "7~3", "7~2", "7~4"]
    assert corpus.manifest.facts["renamed"] == 2


def test_the_id_knows_the_content_and_not_the_place(tmp_path):
    rows = [{"text": text} for text in sentences(30)]
    here = build_corpus(Store(tmp_path / "a"), "one", [write(tmp_path / "here", rows)])
    there = build_corpus(Store(tmp_path / "b"), "two", [str(Path(write(tmp_path / "there" / "sub", rows)).parent)])
    other = build_corpus(Store(tmp_path / "b"), "three", [write(tmp_path / "other", rows[:-1])])
    assert here.id == there.id != other.id
    assert str(tmp_path) not in (there.directory / "manifest.json").read_text()


def test_a_corpus_of_another_bound_is_another_corpus(store, tmp_path):
    source = write(tmp_path, [{"text": text} for text in sentences(30)])
    ids = {build_corpus(store, f"c{n}", [source], CorpusSettings(max_words=n)).id for n in (10, 11)}
    assert len(ids) == 2
    with pytest.raises(NameTaken, match="max_words"):
        build_corpus(store, "c10", [source], CorpusSettings(max_words=12))


class Killed(BaseException):
    """Stands for the process going away: nothing may catch it."""


@pytest.fixture
def small_batches(monkeypatch):
    monkeypatch.setattr(sources, "BATCH_ROWS", 7)


@pytest.mark.parametrize("times", [7, 10])
def test_a_build_stopped_anywhere_goes_on_to_the_same_id(tmp_path, small_batches, times):
    """Documents that repeat across shards, repeated ids and bad rows, stopped after every few batches."""
    rows = [{"id": f"{n % 50}", "text": text} for n, text in enumerate(sentences(40) + sentences(60) + ["a b"] * 3)]
    source = write(tmp_path, rows)
    lines = Path(source).read_text().splitlines()
    for place in (3, 20, 21, 60, 99):
        lines[place] = "{" + lines[place]
    Path(source).write_text("\n".join([*lines, "not json"]) + "\n")
    wanted = CorpusSettings(shard_passages=10, skip_bad_rows=True)
    whole = build_corpus(Store(tmp_path / "whole"), "c", [source], wanted)

    left = [0]

    def stop(stage, done, total):
        if stage == "read documents":
            left[0] -= 1
            if left[0] < 0:
                raise Killed

    store = Store(tmp_path / "stopped")
    for _ in range(200):
        left[0] = times
        try:
            stopped = build_corpus(store, "c", [source], wanted, progress=stop)
            break
        except Killed:
            assert not (store.path("corpus", "c") / "manifest.json").exists()
    assert stopped.id == whole.id
    assert (stopped.directory / ERRORS).read_text() == (whole.directory / ERRORS).read_text()
    assert sorted(path.name for path in stopped.directory.iterdir()) == sorted(
        path.name for path in whole.directory.iterdir()
    )


def test_kill_minus_nine_midway_then_the_same_command_gives_the_same_id(tmp_path, monkeypatch):
    rows = [{"text": text} for text in sentences(2000)]
    source = write(tmp_path, rows)
    code = (
        "import sys, indexer.corpus as c, indexer.reading.sources; indexer.reading.sources.BATCH_ROWS = 20;"
        "s = c.CorpusSettings(shard_passages=20);"
        "from contract.store import Store; from pathlib import Path;"
        "c.build_corpus(Store(Path(sys.argv[1])), 'c', [sys.argv[2]], s)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    arguments = [sys.executable, "-c", code, str(tmp_path / "killed"), source]
    killed = subprocess.Popen(arguments, env=environment, stderr=subprocess.DEVNULL)
    draft = tmp_path / "killed" / "corpora" / "c" / ".draft"
    while killed.poll() is None and not list(draft.glob("part-*.json")):
        time.sleep(0.001)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    receipts = len(list(draft.glob("part-*.json")))
    assert receipts, "it was to be killed midway"
    assert not (draft.parent / "manifest.json").exists()
    monkeypatch.setattr(sources, "BATCH_ROWS", 20)
    settings = CorpusSettings(shard_passages=20)
    ids = {build_corpus(Store(tmp_path / folder), "c", [source], settings).id for folder in ("killed", "whole")}
    assert len(ids) == 1


def test_two_builders_of_one_corpus_do_not_meet(store, tmp_path):
    source = write(tmp_path, [{"text": text} for text in sentences(5)])
    with (
        drafting(
            store.path("corpus", "c"), _plan([file.as_param() for file in find_files([source])], CorpusSettings())
        ),
        pytest.raises(Busy),
    ):
        build_corpus(store, "c", [source])
    assert build_corpus(store, "c", [source]).rows == 5


def test_a_finished_corpus_is_left_as_it_is(store, tmp_path):
    source = write(tmp_path, [{"text": text} for text in sentences(5)])
    made = build_corpus(store, "c", [source]).manifest.made
    assert build_corpus(store, "c", [source]).manifest.made == made


def test_the_first_bad_row_ends_the_build_with_a_sentence(store, tmp_path):
    path = tmp_path / "docs.txt"
    path.write_bytes("good enough text\ncaf\xe9 au lait please\n".encode("latin-1"))
    with pytest.raises(BadInput, match=r"docs.txt, row 2.*UTF-8.*--skip-bad-rows"):
        build_corpus(store, "c", [str(path)])
    with pytest.raises(NotFound):
        open_corpus(store, "c")


def test_bad_rows_are_skipped_counted_by_reason_and_listed_without_their_text(store, tmp_path):
    path = tmp_path / "docs.jsonl"
    lines = [
        '{"text": "good enough text"}',
        "{SECRET",
        '{"text": 5}',
        '{"text": "SECRET \\ud800"}',
        '{"text": "SECRET"',
    ]
    path.write_text("\n".join([*lines, '{"text": "also good text"}']))
    with pytest.raises(BadInput):
        build_corpus(store, "c", [str(path)])
    corpus = build_corpus(store, "c", [str(path)], CorpusSettings(skip_bad_rows=True))
    count = corpus.manifest.counts["documents"]
    assert (count.rows_in, count.rows_out) == (6, 2)
    assert sum(count.dropped.values()) == 4
    assert all(reason.startswith("bad_row: ") for reason in count.dropped)
    errors = [json.loads(line) for line in corpus.path(ERRORS).read_text().splitlines()]
    assert [error["row"] for error in errors] == [2, 3, 4, 5]
    assert "SECRET" not in corpus.path(ERRORS).read_text() + (corpus.directory / "manifest.json").read_text()


def test_bad_rows_after_the_last_good_one_are_counted_too(store, tmp_path, small_batches):
    path = write(tmp_path, [{"text": text} for text in sentences(7)])
    with Path(path).open("a") as file:
        file.write("bad\nbad\n")
    corpus = build_corpus(store, "c", [path], CorpusSettings(shard_passages=7, skip_bad_rows=True))
    assert corpus.manifest.counts["documents"].rows_in == 9
    assert corpus.rows == 7


@pytest.mark.parametrize("content", ["", "\n\n  \n", "x\ny z\n"], ids=["empty", "blank", "too short"])
def test_a_corpus_with_nothing_left_is_a_sentence_and_no_artifact(store, tmp_path, content):
    path = tmp_path / "docs.txt"
    path.write_text(content)
    with pytest.raises(BadInput, match=r"No passage is left of docs\.txt"):
        build_corpus(store, "c", [str(path)])
    assert store.names("corpus") == []
    path.write_text("this is long enough\n")
    assert build_corpus(store, "c", [str(path)]).rows == 1, "the name is free for the mended file"
    shutil.rmtree(store.path("corpus", "c"))
    with pytest.raises(NotFound):
        open_corpus(store, "c")


def test_a_truncated_parquet_is_a_sentence(store, tmp_path):
    pq.write_table(pa.table({"text": sentences(2000)}), tmp_path / "a.parquet")
    whole = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "a.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadInput, match=r"a.parquet.*copy it again"):
        build_corpus(store, "c", [str(tmp_path / "a.parquet")])


def test_wrong_columns_are_a_sentence_that_names_those_there_are(store, tmp_path):
    source = write(tmp_path, [{"body": "some good text"}])
    with pytest.raises(BadInput, match=r"'text'.*'body'.*--map text="):
        build_corpus(store, "c", [source])
    assert build_corpus(store, "d", [source], CorpusSettings(columns={"text": "body"})).rows == 1


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "x" * 101, "a\nb"])
def test_hostile_names_are_refused(store, tmp_path, name):
    with pytest.raises(BadInput, match="cannot name a corpus"):
        build_corpus(store, name, [write(tmp_path, [{"text": "some good text"}])])


@pytest.mark.parametrize("bounds", [{"min_words": 0}, {"min_words": 5, "max_words": 4}, {"shard_passages": 0}])
def test_settings_that_make_no_sense_are_refused(bounds):
    with pytest.raises(BadInput, match="Expected"):
        CorpusSettings(**bounds)


def test_memory_follows_the_shard(store, tmp_path, small_batches):
    """Ten times the documents, the same number of passages held at once (law 10)."""
    shards = []
    for number, n in enumerate((100, 1000)):
        source = write(tmp_path / str(n), [{"text": text} for text in sentences(n)])
        corpus = build_corpus(store, f"c{number}", [source], CorpusSettings(shard_passages=20))
        shards.append(max(shard.rows for shard in corpus.shards))
    assert max(shards) <= sources.BATCH_ROWS + 20
