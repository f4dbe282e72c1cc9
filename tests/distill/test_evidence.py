"""Evidence: a table that reads back as it was written, holds each run once, and ships with what was judged of it."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from contract.errors import CorruptArtifact
from distill.recommending.evidence import (
    SCHEMA,
    Run,
    boards_of,
    identity,
    merged,
    read_evidence,
    shipped_evidence,
    write_evidence,
)
from distill.recommending.own_table import shipped_judgements
from distill.recommending.recipe import NO_DISTILLATION, Recipe
from tests.distill.evidence_for_tests import world


def test_a_table_reads_back_as_it_was_written(tmp_path: Path) -> None:
    runs = world(3, share=0.7, noise=0.01)
    write_evidence(runs, tmp_path / "e.parquet", {"source": "here"})
    assert boards_of(read_evidence(tmp_path / "e.parquet")) == boards_of(runs)
    assert pq.read_schema(tmp_path / "e.parquet").metadata[b"source"] == b"here"


def test_the_same_runs_give_the_same_bytes_in_whatever_order_they_come(tmp_path: Path) -> None:
    runs = world(3)
    write_evidence(runs, tmp_path / "a.parquet")
    write_evidence(runs[::-1], tmp_path / "b.parquet")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    assert identity(runs) == identity(runs[::-1])


def test_another_score_is_another_identity() -> None:
    runs = world(2)
    assert identity(runs) != identity([replace(runs[0], score=0.5), *runs[1:]])


def test_every_field_has_a_column_and_no_two_share_one() -> None:
    names = [item.name for kind in (Run, Recipe, type(world(1)[0].features)) for item in fields(kind)]
    nested = {"recipe", "features"}
    assert sorted(SCHEMA.names) == sorted(set(names) - nested)
    assert len(names) == len(set(names))


def test_each_run_stands_once_and_the_first_to_come_stays() -> None:
    runs = world(2)
    other = replace(runs[0], score=0.1)
    assert merged(runs, [other]) == runs


def test_runs_are_set_beside_the_mean_of_those_without_distillation() -> None:
    run = world(1)[0]
    plain = [
        replace(run, run=f"p{n}", recipe=Recipe(retriever=NO_DISTILLATION), score=score)
        for n, score in enumerate((0.4, 0.5))
    ]
    elsewhere = replace(run, run="other", student="another")
    found = {each.run: each for each in merged([run, elsewhere], plain)}
    assert found[run.run].plain_score == pytest.approx(0.45)
    assert found[run.run].distillation_ratio == pytest.approx((run.score - 0.45) / (0.9 - 0.45))
    assert found["other"].distillation_ratio is None


def test_a_plain_student_as_good_as_its_teacher_leaves_no_ratio() -> None:
    run = replace(world(1)[0], plain_score=0.8999)
    assert run.distillation_ratio is None


@pytest.mark.parametrize("content", [b"", b"not parquet", None])
def test_what_is_no_table_of_evidence_is_refused_in_a_sentence(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "e.parquet"
    if content is None:
        pq.write_table(pa.table({"run": ["a"]}), path)
    else:
        path.write_bytes(content)
    with pytest.raises(CorruptArtifact, match="no table of evidence"):
        read_evidence(path)


def test_a_truncated_table_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "e.parquet"
    write_evidence(world(3), path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CorruptArtifact):
        read_evidence(path)


def test_what_ships_was_judged_as_it_ships() -> None:
    """Whoever changes evidence.parquet makes judgement.json again: python -m experiments.recommend --runs STORE."""
    boards = boards_of(merged(shipped_evidence()))
    judged = shipped_judgements()
    assert {identity(runs) for runs in boards.values()} == set(judged)
    assert len(boards["distiller"]) == 1239


def test_what_ships_names_no_path_and_holds_no_text() -> None:
    table = [run for run in shipped_evidence() if run.board == "transferset"]
    words = {value for run in table for value in (run.task, run.student, run.teacher, *run.recipe.choices.values())}
    assert not [word for word in words if "/" in word or len(word) > 40]
