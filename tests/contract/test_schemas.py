"""Claims about contract/README.md: what it tells people is what the code does."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path

import pyarrow as pa
import pytest

from contract import task
from contract.artifact import ROW_GROUP_ROWS
from contract.manifest import MANIFEST, Manifest, read_manifest
from contract.records import COMPRESSIONS, MAX_LINE_BYTES
from contract.rows import _FORMATS
from contract.schemas import CORPUS, NEIGHBOUR, TASK, TRANSFER_SET
from contract.store import FOLDERS

README = (Path(__file__).parents[2] / "contract" / "README.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    """The text from a heading to the next one."""
    return re.split(r"^#+ ", README.split(f"# {title}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]


def table(text: str) -> list[list[str]]:
    """The rows of the first table in `text`, without its head; a cell without its code marks."""
    lines = [line.strip() for line in text.splitlines() if line.strip().startswith("|")]
    return [[cell.strip().replace("`", "") for cell in line.strip("|").split("|")] for line in lines[2:]]


@pytest.mark.parametrize(
    ("title", "schema"),
    [
        ("Corpus", CORPUS),
        ("Task", TASK),
        ("Transfer set", TRANSFER_SET),
        ("Neighbour", pa.schema(list(NEIGHBOUR))),
    ],
)
def test_the_page_names_exactly_the_columns_of_the_schema(title: str, schema: pa.Schema) -> None:
    spelled = {str(TRANSFER_SET.field("neighbours").type): "list<neighbour>", "list<item: string>": "list<string>"}
    expected = [
        [field.name, spelled.get(str(field.type), str(field.type)), "yes" if field.nullable else "no"]
        for field in schema
    ]
    assert [row[:3] for row in table(section(title))] == expected
    assert all(row[3] for row in table(section(title))), "every column says what it is"


def test_the_page_names_exactly_the_fields_of_a_manifest() -> None:
    rows = table(section("The manifest"))
    assert [row[0] for row in rows] == ["id", *(field.name for field in fields(Manifest))]
    assert {row[0] for row in rows if row[2] != "yes"} == {"id", "attachments", "made"}


def test_the_pages_example_is_a_manifest_and_its_id_is_its_contents(tmp_path: Path) -> None:
    example = section("The manifest").split("```json")[1].split("```")[0]
    (tmp_path / MANIFEST).write_text(example)
    assert read_manifest(tmp_path).id == json.loads(example)["id"]


def test_the_page_names_exactly_the_kinds_and_their_folders() -> None:
    assert {row[0]: row[1] for row in table(section("A directory"))} == FOLDERS


def test_the_page_names_exactly_the_known_names_of_text_columns() -> None:
    found = {row[0]: tuple(row[1].split(", ")) for row in table(section("Task files"))}
    assert found == task._ALIASES


def test_the_page_names_the_formats_splits_and_bounds_of_task_files() -> None:
    text = section("Task files")
    missing = [name for name in (*_FORMATS, *COMPRESSIONS, *task.SPLITS, *task.TARGETS) if f"`{name}`" not in text]
    assert [name for name in missing if name != ".text"] == []
    assert f"{MAX_LINE_BYTES // 2**20} MiB" in text
    assert f"{ROW_GROUP_ROWS:,} rows" in section("Shards")


def test_an_utterance_has_the_same_columns_in_a_task_and_in_a_transfer_set() -> None:
    shared = [name for name in TASK.names if name in TRANSFER_SET.names]
    assert [TASK.field(name) for name in shared] == [TRANSFER_SET.field(name) for name in shared]
    assert shared == [name for name in TASK.names if name not in ("id", "split")]
