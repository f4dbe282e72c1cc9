"""Adding to a corpus: the new version is, id and all, what all sources make at once."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contract.draft import locked
from contract.errors import BadInput, Busy, CorruptArtifact, NotFound
from contract.store import Store
from indexer.corpus import EXAMPLES, add_to_corpus, build_corpus, open_corpus
from indexer.corpus_settings import CorpusSettings
from indexer.reading import sources
from indexer.reading.bad_rows import ERRORS
from tests.indexer.conftest import sentences

ROOT = Path(__file__).parents[2]
TEXTS = ["a b c", "A b  c", "d e f", "x", "g h. " * 40, "i j k", "bad", "l m n o p", "l m n o q"]


@pytest.fixture(autouse=True)
def spared_disk(monkeypatch):
    """What is killed here loses nothing that was written: only a power cut would tell."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def small_batches(monkeypatch):
    monkeypatch.setattr(sources, "BATCH_ROWS", 7)


def write(folder: Path, rows: list[dict], name: str) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(folder / name)


def listing(corpus) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in corpus.directory.iterdir() if path.name != "manifest.json"}


files_of_rows = st.lists(
    st.lists(st.tuples(st.sampled_from(["1", "1~2", "2", ""]), st.sampled_from(TEXTS)), max_size=25),
    min_size=2,
    max_size=5,
)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(files=files_of_rows, shard=st.integers(1, 8), near=st.sampled_from([None, 0.6]), names=st.booleans())
def test_added_file_by_file_equals_built_at_once(tmp_path, small_batches, files, shard, near, names):
    """Empty files, repeated ids and texts, bad rows, shards that end anywhere, files of one name, several adds."""
    shutil.rmtree(tmp_path, ignore_errors=True)
    paths = []
    for number, rows in enumerate(files):
        records = [{"id": i, "text": 5 if text == "bad" else text} for i, text in rows]
        if number == 0:
            records.append({"id": "first", "text": "one that is there"})
        name = "docs.jsonl" if names else f"docs-{number}.jsonl"
        paths.append(write(tmp_path / str(number), records, name))
    wanted = CorpusSettings(
        min_words=2,
        max_words=8,
        shard_passages=shard,
        near_duplicates=near,
        filters={"digits": 0.5},
        skip_bad_rows=True,
    )
    store = Store(tmp_path / "store")
    grown = build_corpus(store, "grown", paths[:1], wanted)
    for path in paths[1:]:
        grown = add_to_corpus(store, "grown", [path], skip_bad_rows=True)
    whole = build_corpus(store, "whole", paths, wanted)
    assert grown.manifest.params == whole.manifest.params
    assert grown.manifest.counts == whole.manifest.counts
    assert grown.manifest.facts == whole.manifest.facts
    assert listing(grown) == listing(whole)
    assert grown.id == whole.id
    assert grown.verify() == []


def test_a_new_version_stands_beside_the_old_one_which_may_go(store, tmp_path):
    first = write(tmp_path, [{"text": text} for text in sentences(50)], "a.jsonl")
    second = write(tmp_path, [{"text": text} for text in sentences(30, seed=1)], "b.jsonl")
    old = build_corpus(store, "c", [first], CorpusSettings(shard_passages=20))
    Path(first).unlink()
    new = add_to_corpus(store, "c", [second])
    assert new.directory.name == "c@2"
    assert (open_corpus(store, "c").id, open_corpus(store, "c@1").id) == (new.id, old.id)
    shutil.rmtree(old.directory)
    assert new.verify() == []
    assert new.rows == 80


def test_sources_that_are_there_already_are_nothing_to_add(store, tmp_path):
    first = write(tmp_path / "here", [{"text": text} for text in sentences(5)], "a.jsonl")
    corpus = build_corpus(store, "c", [first])
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    assert add_to_corpus(store, "c", [str(tmp_path / "there")]).id == corpus.id
    assert store.versions("corpus", "c") == [1]
    more = write(tmp_path / "there", [{"text": "one more text"}], "b.jsonl")
    added = add_to_corpus(store, "c", [str(tmp_path / "there")])
    assert added.id == add_to_corpus(store, "c", [more, first]).id == build_corpus(store, "d", [first, more]).id
    assert store.versions("corpus", "c") == [1, 2]


def test_building_the_first_version_again_gives_the_first_version(store, tmp_path):
    first = write(tmp_path, [{"text": text} for text in sentences(5)], "a.jsonl")
    second = write(tmp_path, [{"text": "one more text"}], "b.jsonl")
    old = build_corpus(store, "c", [first])
    add_to_corpus(store, "c", [second])
    assert build_corpus(store, "c", [first]).id == old.id


def test_a_refused_source_leaves_the_next_version_free(store, tmp_path):
    first = write(tmp_path, [{"text": text} for text in sentences(5)], "a.jsonl")
    bad = write(tmp_path, [{"text": "one more text"}, {"text": 5}], "b.jsonl")
    build_corpus(store, "c", [first])
    with pytest.raises(BadInput, match="--skip-bad-rows"):
        add_to_corpus(store, "c", [bad])
    assert add_to_corpus(store, "c", [write(tmp_path, [{"text": "one more text"}], "d.jsonl")]).directory.name == "c@2"


def test_a_damaged_earlier_version_is_not_built_upon(store, tmp_path):
    first = write(tmp_path, [{"text": text} for text in sentences(50)], "a.jsonl")
    more = write(tmp_path, [{"text": "one more text"}], "b.jsonl")
    corpus = build_corpus(store, "c", [first], CorpusSettings(shard_passages=20))
    for name in ("part-00000.parquet", corpus.shards[-1].name, EXAMPLES):
        path = corpus.directory / name
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        with pytest.raises(CorruptArtifact, match=name):
            add_to_corpus(store, "c", [more])
        path.write_bytes(content)
        shutil.rmtree(store.path("corpus", "c", 2), ignore_errors=True)
    assert add_to_corpus(store, "c", [more]).rows == corpus.rows + 1


def test_adding_to_what_is_not_there_or_by_two_at_once_is_a_sentence(store, tmp_path):
    first = write(tmp_path, [{"text": text} for text in sentences(5)], "a.jsonl")
    more = write(tmp_path, [{"text": "one more text"}], "b.jsonl")
    with pytest.raises(NotFound, match="no corpus"):
        add_to_corpus(store, "c", [first])
    build_corpus(store, "c", [first])
    with locked(store.path("corpus", "c", 2)), pytest.raises(Busy):
        add_to_corpus(store, "c", [more])


class Killed(BaseException):
    """Stands for the process going away: nothing may catch it."""


@pytest.mark.parametrize("times", [7, 10])
def test_an_add_stopped_anywhere_goes_on_to_the_same_id(tmp_path, small_batches, times):
    wanted = CorpusSettings(shard_passages=10, skip_bad_rows=True, near_duplicates=0.7)
    rows = [{"id": f"{n % 30}", "text": text} for n, text in enumerate(sentences(160) + sentences(20) + ["a b"] * 3)]
    first = write(tmp_path, [*rows[:45], {"text": 5}], "a.jsonl")
    second = write(tmp_path, [{"text": ["bad"]}, *rows[45:]], "b.jsonl")
    whole = build_corpus(Store(tmp_path / "whole"), "c", [first, second], wanted)
    store = Store(tmp_path / "stopped")
    build_corpus(store, "c", [first], wanted)
    left = [0]

    def stop(stage, done, total):
        if stage == "read documents":
            left[0] -= 1
            if left[0] < 0:
                raise Killed

    for _ in range(200):
        left[0] = times
        try:
            stopped = add_to_corpus(store, "c", [second], progress=stop, skip_bad_rows=True)
            break
        except Killed:
            assert store.versions("corpus", "c") == [1]
    assert listing(stopped) == listing(whole)
    assert stopped.id == whole.id
    assert (stopped.directory / ERRORS).read_bytes().count(b"\n") == 2


@pytest.mark.slow
def test_kill_minus_nine_at_twenty_moments_of_an_add_gives_the_same_id(tmp_path):
    files = [
        write(
            tmp_path,
            [{"id": f"{n % 300}", "text": text} for n, text in enumerate(sentences(1500, seed))],
            f"{seed}.jsonl",
        )
        for seed in range(2)
    ]
    code = (
        "import sys, indexer.corpus as c, indexer.reading.sources; indexer.reading.sources.BATCH_ROWS = 20;"
        "from indexer.corpus_settings import CorpusSettings;"
        "from contract.store import Store; from pathlib import Path;"
        "store, first, second = Store(Path(sys.argv[1])), *sys.argv[2:4];"
        "settings = CorpusSettings(shard_passages=30, near_duplicates=0.8);"
        "c.build_corpus(store, 'c', [first], settings);"
        "print('built', flush=True);"
        "print(c.add_to_corpus(store, 'c', [second]).id)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    arguments = [sys.executable, "-c", code, str(tmp_path / "killed"), *files]
    subprocess.run([*arguments[:3], str(tmp_path / "killed"), files[0], files[0]], env=environment, check=True)
    draft = tmp_path / "killed" / "corpora" / "c@2" / ".draft"
    for moment in range(20):
        process = subprocess.Popen(arguments, env=environment, stdout=subprocess.PIPE, text=True)
        while process.poll() is None and len(list(draft.glob("*.json"))) < 3 * moment:
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    done = subprocess.run(arguments, env=environment, check=True, capture_output=True, text=True).stdout.split()
    at_once = code.replace("[first], settings", "[first, second], settings")
    arguments = [sys.executable, "-c", at_once, str(tmp_path / "whole"), *files]
    whole = subprocess.run(arguments, env=environment, check=True, capture_output=True, text=True)
    assert done[-1] == whole.stdout.split()[-1]


def test_what_was_left_out_of_a_corpus_stays_out_of_what_is_added(store, tmp_path):
    rows = [{"text": text, "source": "ab"[n % 2]} for n, text in enumerate(sentences(200))]
    paths = [write(tmp_path, rows[:100], "a.jsonl"), write(tmp_path, rows[100:], "b.jsonl")]
    chosen = CorpusSettings(without_sources=("a",), sample=0.5)
    build_corpus(store, "grown", paths[:1], chosen)
    grown, whole = add_to_corpus(store, "grown", paths[1:]), build_corpus(store, "whole", paths, chosen)
    assert grown.id == whole.id
    assert 0 < whole.rows < 100
    assert "sample" not in build_corpus(store, "all", paths).manifest.params
