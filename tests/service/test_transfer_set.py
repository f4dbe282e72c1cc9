"""Claims of the transfer set: one form for every arm, no leak, all counted, and the same set however often killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from contract.artifact import Artifact
from contract.errors import BadInput, NameTaken, NotFound
from contract.schemas import TRANSFER_SET
from contract.store import Store
from contract.task import few_shot, read_task
from service.candidates import Work
from service.examples import shard_bounds
from service.heldout import folded
from service.selection import SelectionPolicy
from service.transfer_set import TransferSetRequest, build_transfer_set, open_transfer_set, read_request
from tests.service.fake_index import FakeIndex, generic_texts, opener_of
from tests.service.tasks_for_tests import CLASSES, task_rows, write_task

SMALL_STEPS = Work(utterances=11, passages=90)
INDEX = FakeIndex(generic_texts(400), retrievers=("lexical", "dense"))

Build = Callable[..., Artifact]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "artifacts")


@pytest.fixture
def build(store: Store, tmp_path: Path) -> Build:
    task = write_task(tmp_path)

    def build_one(name: str = "y", *, index: FakeIndex = INDEX, work: Work | None = None, **settings: Any) -> Artifact:
        values = {"task": task, "index": index.name, "retriever": "lexical", "k": 5} | settings
        return build_transfer_set(store, name, read_request(values), work=work, opener=opener_of(index))

    return build_one


def rows_of(artifact: Artifact) -> list[dict[str, Any]]:
    return [row for batch in artifact.batches() for row in batch.to_pylist()]


def neighbours_of(artifact: Artifact) -> list[dict[str, Any]]:
    return [neighbour for row in rows_of(artifact) for neighbour in row["neighbours"]]


@pytest.mark.parametrize("retriever", ["lexical", "dense", "random", "augmented", "none"])
def test_every_arm_has_one_form_and_counts_that_add_up(build: Build, retriever: str) -> None:
    artifact = build(retriever=retriever)
    rows, facts, counts = rows_of(artifact), artifact.manifest.facts, artifact.manifest.counts
    assert next(artifact.batches()).schema == TRANSFER_SET
    assert artifact.rows == len(rows) == facts["rows"] == 40
    assert facts["utterances"] == sum(row["include_utterance"] for row in rows) == counts["utterances"].rows_out
    assert facts["neighbours"] == len(neighbours_of(artifact)) == counts["neighbours"].rows_out
    assert facts["texts"] == facts["utterances"] + facts["neighbours"]
    assert facts["generic_share"] == pytest.approx(facts["neighbours"] / facts["texts"], abs=1e-6)
    assert sum(facts["sources"].values()) == facts["neighbours"]
    assert {neighbour["retriever"] for neighbour in neighbours_of(artifact)} <= {retriever}
    assert facts["retriever"] == retriever


def test_an_utterance_keeps_all_that_the_task_says_of_it(build: Build, store: Store, tmp_path: Path) -> None:
    rich = {"id": "r1", "text": "play jazz", "tokens": ["play", "jazz"], "slots": ["O", "B-genre"], "lang": "en"}
    path = write_task(tmp_path, [{**rich, "intent": "music", "domain": "fun", "split": "train"}], "rich.jsonl")
    (row,) = rows_of(build(task=path))
    assert {key: row[key] for key in ("text", "tokens", "slots", "lang", "intent", "domain", "label")} == {
        **{key: rich[key] for key in ("text", "tokens", "slots", "lang")},
        "intent": "music",
        "domain": "fun",
        "label": None,
    }
    assert row["utterance_id"] == "r1"


def test_the_neighbours_are_those_the_index_finds(build: Build) -> None:
    artifact = build(policy={"max_uses": 1000, "near_utterance": None}, shots=1)
    for row in rows_of(artifact):
        hits = INDEX.search([row["text"]], 5, "lexical")
        matched = [f"p{passage}" for passage, score in zip(hits.rows[0], hits.scores[0], strict=True) if score > 0]
        assert [neighbour["passage_id"] for neighbour in row["neighbours"]] == matched
        assert [neighbour["rank"] for neighbour in row["neighbours"]] == list(range(len(matched)))


def test_a_passage_has_one_home(build: Build) -> None:
    ids = [neighbour["passage_id"] for neighbour in neighbours_of(build(k=30))]
    assert len(ids) == len(set(ids)) > 40


def test_nothing_held_out_leaks_into_any_arm(store: Store, tmp_path: Path) -> None:
    train = [{"text": "play some jazz music", "split": "train"}, {"text": "book a table", "split": "train"}]
    heldout = ["Play some rock music in town!", "is the weather cold", "book a table for two tonight please"]
    test = [{"text": text, "split": "test"} for text in (*heldout, "BOOK a table?")]
    passages = [
        *("play some rock music in town", "he said: play some rock music in town, now", "play a rock song"),
        *("book a table for two tonight", "table music", "jazz music is cold", "play the table", "some town"),
    ]
    index, task = FakeIndex(passages), write_task(tmp_path, [*train, *test])
    request = read_request({"task": task, "index": "fake", "retriever": "lexical", "k": 8})
    artifact = build_transfer_set(store, "y", request, opener=opener_of(index))
    found = {neighbour["text"] for neighbour in neighbours_of(artifact)}
    assert found <= {"play a rock song", "table music", "jazz music is cold", "play the table", "some town"}
    assert "jazz music is cold" in found
    assert {row["text"] for row in rows_of(artifact)} == {"play some jazz music"}  # "book a table" stands in test
    assert artifact.manifest.counts["utterances"].dropped == {"heldout_exact": 1}
    assert artifact.manifest.counts["neighbours"].dropped["heldout_exact"] == 1
    assert artifact.manifest.counts["neighbours"].dropped["heldout_ngram"] >= 1


def test_a_variant_that_equals_held_out_text_is_dropped(store: Store, tmp_path: Path) -> None:
    rows = [{"text": text, "split": "train"} for text in ("play jazz", "stop rock")]
    task = write_task(tmp_path, [*rows, {"text": "Jazz, play", "split": "test"}])
    artifact = build_transfer_set(store, "y", read_request({"task": task, "retriever": "augmented", "k": 30}))
    assert "jazz play" not in {folded(neighbour["text"]) for neighbour in neighbours_of(artifact)}
    assert artifact.manifest.counts["neighbours"].dropped["heldout_exact"] == 1
    assert "index" not in artifact.manifest.inputs


def test_a_near_duplicate_of_its_utterance_is_dropped_but_variants_are_not(store: Store, tmp_path: Path) -> None:
    task = write_task(tmp_path, [{"text": "play some jazz music tonight", "split": "train"}])
    index = FakeIndex(["Play some jazz music, tonight", "tonight play some jazz music please", "some jazz in town"])
    request = read_request({"task": task, "index": "fake", "retriever": "lexical", "k": 3})
    artifact = build_transfer_set(store, "y", request, opener=opener_of(index))
    assert [neighbour["text"] for neighbour in neighbours_of(artifact)] == ["some jazz in town"]
    assert artifact.manifest.counts["neighbours"].dropped == {"near_utterance": 2}
    variants = build_transfer_set(store, "v", read_request({"task": task, "retriever": "augmented", "k": 9}))
    assert variants.manifest.counts["neighbours"].dropped == {}


def test_a_passage_equal_to_one_text_of_a_pair_is_a_duplicate(store: Store, tmp_path: Path) -> None:
    task = write_task(tmp_path, [{"text": "a man plays", "text_pair": "a cat sleeps", "label": "no", "split": "train"}])
    index = FakeIndex(["A cat sleeps.", "a man and a cat"])
    request = read_request({"task": task, "index": "fake", "retriever": "lexical"})
    artifact = build_transfer_set(store, "y", request, opener=opener_of(index))
    assert [neighbour["text"] for neighbour in neighbours_of(artifact)] == ["a man and a cat"]


def test_cosine_decontamination_asks_the_encoder_and_needs_one(build: Build) -> None:
    strict = {"heldout": {"cosine": 0.5}}
    loose, near = build("loose", k=20), build("near", k=20, policy=strict)
    assert near.manifest.counts["neighbours"].dropped["heldout_cosine"] > 0
    assert near.manifest.facts["neighbours"] < loose.manifest.facts["neighbours"]
    with pytest.raises(BadInput, match="an index with an encoder, found none"):
        build("none", index=FakeIndex(["a"]), policy=strict)


def test_shots_are_those_distill_draws(build: Build, tmp_path: Path) -> None:
    artifact = build(shots=4, seed=7)
    rows = few_shot(read_task(tmp_path / "task.jsonl").split("train"), "intent", 4, seed=7)
    assert [row["text"] for row in rows_of(artifact)] == rows["text"].to_pylist()
    assert artifact.manifest.counts["utterances"].dropped == {"shots": 28}
    assert {row["intent"] for row in rows_of(artifact)} == set(CLASSES)


def test_the_generic_only_arm_keeps_the_rows_and_not_their_texts(build: Build) -> None:
    artifact = build(include_utterance=False)
    assert not any(row["include_utterance"] for row in rows_of(artifact))
    assert artifact.manifest.facts["generic_share"] == 1
    assert artifact.manifest.counts["utterances"].dropped == {"not_included": 40}


def test_seven_to_three_is_seven_to_three(build: Build) -> None:
    facts = build(policy={"generic_share": 0.7}).manifest.facts
    assert abs(facts["neighbours"] - 0.7 * facts["texts"]) <= 1


def test_a_class_of_many_utterances_takes_no_more_of_a_budget_than_others(build: Build, tmp_path: Path) -> None:
    rows = [row | {"intent": "music" if n % 8 else "weather"} for n, row in enumerate(task_rows())]
    task = write_task(tmp_path, rows, "uneven.jsonl")

    def per_class(name: str, **policy: Any) -> list[int]:
        made = rows_of(build(name, task=task, k=25, policy={"budget_generic": 60} | policy))
        return [sum(len(row["neighbours"]) for row in made if row["intent"] == of) for of in ("music", "weather")]

    assert per_class("even", per_class=True) == [30, 30]
    assert per_class("uneven")[0] > 45
    even = build("even", task=task, k=25, policy={"budget_generic": 60, "per_class": True})
    assert even.manifest.params["target"] == "intent"


def test_classes_that_are_not_there_get_a_sentence(build: Build, tmp_path: Path) -> None:
    even = {"per_class": True}
    none = [{"text": text, "split": "train"} for text in ("play", "stop")]
    some = [*none, {"text": "book", "intent": "x", "split": "train"}]
    with pytest.raises(BadInput, match="has no intent, label or domain column with values"):
        build(task=write_task(tmp_path, none, "none.jsonl"), policy=even)
    with pytest.raises(BadInput, match="one for every utterance of task some, found 2 of 3 without"):
        build(task=write_task(tmp_path, some, "some.jsonl"), policy=even)


def test_settings_that_came_later_are_in_the_id_only_where_they_are_on(build: Build, tmp_path: Path) -> None:
    """The settings of a set of before, word for word: what was built then has the id it would have now."""
    params: dict[str, Any] = {
        "task": "task",
        "split": "train",
        "target": None,
        "shots": None,
        "seed": 0,
        "skip_bad_rows": False,
        "heldout_splits": ["test"],
        "retriever": "lexical",
        "k": 5,
        "include_utterance": True,
        "policy": {
            "min_rank": 0,
            "max_rank": None,
            "drop_no_match": True,
            "min_score": None,
            "max_score": None,
            "min_words": 1,
            "max_words": None,
            "heldout": {"ngram": 3, "containment": 0.75, "min_words": 5, "cosine": None},
            "near_utterance": 0.8,
            "max_uses": 1,
            "generic_share": None,
            "budget_generic": None,
            "budget_rows": None,
            "budget_words": None,
        },
        "edited": None,
        "shard_texts": 65536,
    }
    assert build().manifest.params == params
    assert build("same", rounds=1, askers=9, policy={"per_class": False, "diversity": None}).manifest.params == params
    policy = {"diversity": 0.5, "per_class": True}
    on = build("on", rounds=2, policy=policy).manifest.params
    later = {"rounds": 2, "askers": 3, "target": "intent"}
    assert on == params | later | {"policy": params["policy"] | policy | {"pool": 15}}


@pytest.mark.parametrize("retriever", ["random", "augmented"])
def test_arms_are_equal_in_size_to_the_text(build: Build, retriever: str) -> None:
    wanted = build("wanted", k=12).manifest
    artifact = build("sized", retriever=retriever, size_of="wanted", k=1)
    assert artifact.manifest.facts["neighbours"] == wanted.facts["neighbours"] > 100
    assert artifact.manifest.facts["generic_short"] == 0
    assert artifact.manifest.inputs["transfer-set"] == wanted.id
    assert artifact.manifest.facts["k"] > 1


def test_an_arm_that_cannot_reach_a_size_says_by_how_much(build: Build) -> None:
    wanted = build("wanted", k=12).manifest.facts["neighbours"]
    facts = build(
        "sized", index=FakeIndex(generic_texts(60, seed=9)), retriever="random", size_of="wanted"
    ).manifest.facts
    assert facts["neighbours"] <= 60
    assert facts["generic_short"] == wanted - facts["neighbours"] > 0
    assert build("lex", size_of="wanted", k=2).manifest.facts["generic_short"] > 0


def test_a_k_beyond_the_corpus_takes_the_whole_corpus(build: Build) -> None:
    artifact = build(index=FakeIndex(generic_texts(12)), k=1000)
    assert artifact.manifest.counts["neighbours"].rows_in == 12 * 40


def test_texts_of_hits_outside_the_bands_are_not_read(build: Build) -> None:
    index = FakeIndex(generic_texts(400))
    build(index=index, k=50, policy={"max_rank": 0})
    assert len(set(index.read)) <= 40


def test_a_passage_is_judged_once_however_many_utterances_found_it(build: Build) -> None:
    index = FakeIndex(generic_texts(20))
    build(index=index, retriever="random", k=20, policy={"budget_generic": 0})
    assert sorted(index.read) == list(range(20))


def test_the_same_request_gives_the_same_set_and_another_seed_another(build: Build, store: Store) -> None:
    one, same, other = (build(name, retriever="random", seed=seed) for name, seed in (("a", 1), ("b", 1), ("c", 2)))
    assert one.id == same.id != other.id
    bytes_of = [(store.path("transfer-set", name) / "part-00000.parquet").read_bytes() for name in ("a", "b")]
    assert bytes_of[0] == bytes_of[1]


def test_the_size_of_the_steps_changes_nothing(build: Build) -> None:
    ids = {build(f"w{n}", work=Work(*sizes)).id for n, sizes in enumerate([(1, 3), (7, 25), (1000, 100_000)])}
    assert len(ids) == 1


def test_the_set_does_not_depend_on_where_the_task_lies(build: Build, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    moved = write_task(tmp_path / "elsewhere")
    assert build("here").id == build("there", task=moved).id


def test_no_user_text_stands_in_the_manifest(build: Build, store: Store) -> None:
    artifact = build()
    manifest = (artifact.directory / "manifest.json").read_text()
    texts = [row["text"] for row in rows_of(artifact)] + [neighbour["text"] for neighbour in neighbours_of(artifact)]
    assert not [text for text in texts if text in manifest]


class Stopped(Exception):
    """A kill, as far as one process can play it."""


@pytest.mark.parametrize("share", [0, 0.2, 0.35, 0.6, 0.99])
def test_a_build_stopped_anywhere_goes_on_to_the_same_set(
    build: Build, store: Store, tmp_path: Path, share: float
) -> None:
    index = FakeIndex(INDEX.texts, retrievers=INDEX.retrievers)
    request = read_request({"task": tmp_path / "task.jsonl", "index": "fake", "retriever": "lexical", "k": 20})
    reports: list[str] = []
    stop_after = 10_000

    def watch(stage: str, done: int, total: int | None) -> None:
        reports.append(stage)
        if len(reports) > stop_after:
            raise Stopped

    def run(name: str) -> Artifact:
        reports.clear()
        return build_transfer_set(store, name, request, progress=watch, work=SMALL_STEPS, opener=opener_of(index))

    undisturbed = run("undisturbed")
    searches, read, stop_after = index.searches, len(index.read), int(share * len(reports))
    with pytest.raises(Stopped):
        run("y")
    assert not (store.path("transfer-set", "y") / "manifest.json").exists()
    with pytest.raises(NotFound, match="not finished"):
        open_transfer_set(store, "y")
    stop_after = 10_000
    again = run("y")
    assert again.id == undisturbed.id
    assert (index.searches, len(index.read)) == (2 * searches, 2 * read)  # nothing is done twice
    assert sorted(path.name for path in again.directory.iterdir()) == ["manifest.json", "part-00000.parquet"]


KILLED = """
import os, signal, sys
from pathlib import Path
from contract.store import Store
from service.transfer_set import build_transfer_set, read_request
from tests.service.fake_index import FakeIndex, generic_texts, opener_of
from tests.service.test_transfer_set import INDEX, SMALL_STEPS

root, task, after = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
calls = 0

def kill(stage, done, total):
    global calls
    calls += 1
    if calls > after:
        os.kill(os.getpid(), signal.SIGKILL)

request = read_request({"task": task, "index": "fake", "retriever": "lexical", "k": 20})
print(build_transfer_set(Store(root), "y", request, progress=kill, work=SMALL_STEPS, opener=opener_of(INDEX)).id)
"""


def test_kill_9_and_again_gives_the_id_of_an_undisturbed_run(build: Build, store: Store, tmp_path: Path) -> None:
    undisturbed = build("undisturbed", k=20)
    arguments = [sys.executable, "-c", KILLED, str(store.root), str(tmp_path / "task.jsonl")]
    here = Path(__file__).parents[2]
    outcomes = []
    for after in ("2", "6", "1000"):
        outcome = subprocess.run([*arguments, after], cwd=here, env=os.environ, capture_output=True, text=True)
        outcomes.append(outcome.returncode)
    assert outcomes == [-signal.SIGKILL, -signal.SIGKILL, 0], outcome.stderr
    assert outcome.stdout.strip() == undisturbed.id


def test_other_settings_under_a_taken_name_are_refused(build: Build) -> None:
    build("y", k=5)
    with pytest.raises(NameTaken, match=r"params\.k is 5 there and 6 here"):
        build("y", k=6)


def test_a_finished_set_is_not_made_again(build: Build) -> None:
    index = FakeIndex(INDEX.texts)
    first = build(index=index)
    searches = index.searches
    assert build(index=index).id == first.id
    assert index.searches == searches


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"split": "dev"}, "no rows of split 'dev'; it has test, train"),
        ({"heldout_splits": ["tset"]}, "no rows of split 'tset'; it has test, train"),
        ({"heldout_splits": ["train"]}, "other than the split itself, found 'train' as both"),
        ({"shots": 2, "target": "domain"}, "no domain column with values; it has intent"),
        ({"target": "label"}, "no label column"),
        ({"retriever": "hybrid"}, "no hybrid retriever; it has dense, lexical, random"),
        ({"retriever": "bm25"}, "retriever: input should be .* found 'bm25'"),
        ({"k": 1001}, "k: input should be less than or equal to 1000, found '1001'"),
        ({"k": -1}, "k: input should be greater"),
        ({"policy": {"generic_share": 1.2}}, r"policy\.generic_share: input should be less"),
        ({"policy": {"share": 1}}, r"policy\.share: there is no such setting"),
        ({"policy": {"heldout": {"ngram": 0}}}, r"policy\.heldout\.ngram"),
        ({"colour": "red"}, "colour: there is no such setting"),
        ({"retriever": "none", "include_utterance": False}, "texts to keep, found none"),
        ({"include_utterance": False, "policy": {"generic_share": 0.5}}, "both sides of the generic share 0.5"),
        ({"k": 0, "policy": {"generic_share": 0.5}}, "both sides"),
        ({"size_of": "nothing"}, "There is no transfer-set at"),
        ({"policy": {"min_words": 500}, "include_utterance": False}, "leaves no text at all.*length_band"),
        ({"columns": {"text": "words"}}, "no column 'words'"),
    ],
)
def test_bad_input_gets_a_sentence_and_leaves_nothing_that_looks_finished(
    build: Build, store: Store, settings: dict[str, Any], sentence: str
) -> None:
    with pytest.raises((BadInput, NotFound), match=sentence):
        build(**settings)
    assert store.names("transfer-set") == []


@pytest.mark.parametrize("name", ["../../etc", "/etc/passwd", "", ".hidden", "a/b", "x" * 101, "a\nb"])
def test_a_name_that_is_a_path_is_refused(build: Build, tmp_path: Path, name: str) -> None:
    with pytest.raises(BadInput, match="cannot name a transfer-set"):
        build(name)
    assert {path.name for path in tmp_path.iterdir()} == {"task.jsonl"}


def test_a_retriever_that_searches_needs_an_index(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="the name of an index, found none"):
        read_request({"task": tmp_path / "task.jsonl", "retriever": "lexical"})


def test_a_task_without_a_train_split_says_which_it_has(build: Build, tmp_path: Path) -> None:
    path = write_task(tmp_path, [{"text": "play", "split": "test"}], "only_test.jsonl")
    with pytest.raises(BadInput, match="has no rows of split 'train'; it has test"):
        build(task=path)


def test_a_split_that_is_wholly_held_out_is_refused(build: Build, tmp_path: Path) -> None:
    path = write_task(tmp_path, [{"text": "play", "split": "train"}, {"text": "Play!", "split": "test"}], "leak.jsonl")
    with pytest.raises(BadInput, match=r"no utterance left.* 1 of them held out"):
        build(task=path)


def test_a_label_that_only_test_has_is_no_matter_for_text(build: Build, tmp_path: Path) -> None:
    rows = [*task_rows(), {"text": "an odd one out", "intent": "unseen", "split": "test"}]
    artifact = build(task=write_task(tmp_path, rows, "odd.jsonl"), shots=2)
    assert artifact.rows == 6


def test_every_other_split_is_held_out_unless_told_otherwise(build: Build, tmp_path: Path) -> None:
    rows = [*task_rows(), {"text": "valid one", "split": "valid"}]
    path = write_task(tmp_path, rows, "three.jsonl")
    assert build("all", task=path).manifest.params["heldout_splits"] == ["test", "valid"]
    assert build("one", task=path, heldout_splits=["test"]).manifest.params["heldout_splits"] == ["test"]
    assert build("none", task=path, heldout_splits=[]).manifest.params["heldout_splits"] == []


def test_bad_rows_are_kept_beside_the_set_when_the_caller_skips_them(build: Build, tmp_path: Path) -> None:
    path = write_task(tmp_path, [*task_rows(), {"text": 7}, {"text": ""}], "bad.jsonl")
    with pytest.raises(BadInput, match="row 56"):
        build(task=path)
    artifact = build(task=path, skip_bad_rows=True)
    errors = [json.loads(line) for line in artifact.path("errors.jsonl").read_text().splitlines()]
    assert [(error["row"], error["column"]) for error in errors] == [(56, "text"), (57, "text")]
    assert [entry.name for entry in artifact.manifest.attachments] == ["errors.jsonl"]
    assert artifact.rows == 40


def test_a_set_is_cut_into_shards_by_its_texts() -> None:
    assert shard_bounds(np.array([1, 1, 1, 1, 1]), 2) == [(0, 2), (2, 4), (4, 5)]
    assert shard_bounds(np.array([9, 1, 1]), 2) == [(0, 1), (1, 2), (2, 3)]
    assert shard_bounds(np.array([1]), 100) == [(0, 1)]


def test_a_set_of_several_shards_reads_as_one(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = rows_of(build("whole", k=12))
    monkeypatch.setattr("service.examples.SHARD_TEXTS", 50)
    cut = build("cut", k=12)
    assert len(cut.shards) > 3
    assert rows_of(cut) == whole


def test_a_request_survives_the_way_through_json() -> None:
    request = TransferSetRequest(task=Path("t.jsonl"), index="i", policy=SelectionPolicy(max_uses=3))
    assert read_request(json.loads(request.model_dump_json())) == request


def test_shards_hold_no_nulls_where_the_contract_forbids_them(build: Build) -> None:
    for batch in build().batches():
        pa.table(batch).validate(full=True)
        assert batch.column("neighbours").null_count == 0
