"""What a job keeps of an error: names (of tasks, splits, columns), rows, numbers. Never a value of the user's rows.

The rule: an error may name what a user must see to mend it and has given a name to: a column, a split, the kinds of
columns to predict. A text, an id, a label, a slot is pointed at by its row. A CSV without a header names its columns
by its first row; nobody can tell that from a header.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from starlette.testclient import TestClient

from tests.service.house import ended, running, settings_in

SECRET = "xylophone"
GOOD = [
    {
        "id": f"{SECRET}-{n}",
        "text": f"play the {SECRET} {n}",
        "intent": f"{SECRET}_{n % 2}",
        "tokens": [SECRET],
        "slots": [f"B-{SECRET}"],
        "lang": SECRET,
        "split": "test" if n % 4 == 0 else "train",
    }
    for n in range(12)
]


def lines(*changed: dict[str, Any]) -> bytes:
    """Good rows, and after them those with other values."""
    rows = [*GOOD, *({**GOOD[0], "id": f"more-{n}", **change} for n, change in enumerate(changed))]
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def parquet(rows: list[dict[str, Any]]) -> bytes:
    out = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), out)
    return bytes(out.getvalue())


# What is wrong with the file, or with the order: (file name, content, the order's settings, what the error says).
FAILURES: dict[str, tuple[str, bytes, dict[str, Any], str]] = {
    "an id twice": (
        "t.jsonl",
        lines({"id": f"{SECRET}-0"}),
        {},
        "one id stands in more than one row, first in 1 and 13",
    ),
    "ids out of texts": ("t.jsonl", lines({}), {"columns": {"id": "text"}}, "one id stands in more than one row"),
    "no text": ("t.jsonl", lines({"text": " "}), {}, "row 13, column 'text': expected text, found nothing"),
    "a text that is none": ("t.jsonl", lines({"text": [SECRET]}), {}, "column 'text': expected a string, found list"),
    "uneven slots": ("t.jsonl", lines({"slots": [SECRET] * 3}), {}, "found 1 tokens and 3 slots"),
    "odd tokens": ("t.jsonl", lines({"tokens": [SECRET, 3]}), {}, "expected a list of strings, found int in it"),
    "a row that is no JSON": ("t.jsonl", lines() + f'{{"text": "{SECRET}'.encode(), {}, "row 13"),
    "a row that is no object": ("t.jsonl", lines() + f'["{SECRET}"]\n'.encode(), {}, "row 13"),
    "another encoding": ("t.jsonl", lines() + f'{{"text": "{SECRET} é"}}\n'.encode("latin-1"), {}, "UTF-8"),
    "no such split": ("t.jsonl", lines(), {"split": "dev"}, "no rows of split 'dev'; it has test, train"),
    "no such column": ("t.jsonl", lines(), {"columns": {"text": "spruch"}}, "has no column 'spruch'"),
    "nothing to predict": ("t.jsonl", lines(), {"target": "domain"}, "it has intent"),
    "cut short": ("t.parquet", parquet(GOOD)[:-20], {}, "damaged"),
    "a text in a list": ("t.parquet", parquet([{"text": [row["text"]]} for row in GOOD]), {}, "expected string"),
    "a label in a struct": ("t.parquet", parquet([{**row, "label": {"a": SECRET}} for row in GOOD]), {}, "'label'"),
    "a row too long": ("t.csv", f"text,label\n{SECRET},{SECRET},{SECRET}\n".encode(), {}, "row 1"),
    "an open quote": ("t.csv", f'text,label\n"{SECRET},{SECRET}\n'.encode(), {}, "row 1"),
    "no such retriever": ("t.jsonl", lines(), {"retriever": "dense"}, "has no dense retriever"),
    "a set with nothing in it": ("t.jsonl", lines(), {"policy": {"min_words": 99}, "include_utterance": False}, "no "),
}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with running(settings_in(tmp_path_factory.mktemp("service"), workers=4)) as client:
        yield client


def test_no_job_keeps_or_logs_a_value_of_the_rows_it_failed_over(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    """The files are laid there between the order, which would refuse them, and the job: so it is the job that fails."""
    service = client.app.state.service  # type: ignore[attr-defined]
    caplog.set_level(logging.DEBUG)
    jobs = {}
    for number, (what, (file, content, settings, _)) in enumerate(FAILURES.items()):
        (service.settings.tasks_folder / file.replace("t.", f"task{number}.")).write_bytes(content)
        order = {"index": "web", "task": f"task{number}", "k": 3} | settings
        jobs[what], _ = service.jobs.submit("transfer-set", f"failed{number}", order)
    for what, job in jobs.items():
        found = ended(client, job.id)
        assert found["state"] == "failed", what
        assert FAILURES[what][3] in found["error"]["detail"], f"{what}: {found['error']['detail']}"
        assert found["error"]["status"] < 500, what
        assert SECRET not in json.dumps(found), what
    for file in Path(service.settings.artifacts).glob("jobs.sqlite*"):
        assert SECRET.encode() not in file.read_bytes()
    assert SECRET not in caplog.text


def test_a_sentence_that_repeats_names_without_end_is_cut(client: TestClient) -> None:
    service = client.app.state.service  # type: ignore[attr-defined]
    (service.settings.tasks_folder / "wide.jsonl").write_bytes(json.dumps({"n" * 900_000: 1}).encode())
    job, _ = service.jobs.submit("transfer-set", "wide", {"index": "web", "task": "wide", "k": 3})
    detail = ended(client, job.id)["error"]["detail"]
    assert "has no column 'text'" in detail
    assert len(detail) < 2100
