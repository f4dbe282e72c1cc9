"""Sources: the same files in the same order, ids that stay, and a sentence for what cannot be read."""

import gzip
import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from contract.errors import BadInput, NotFound
from contract.rows import BadRow, refuse_bad_rows
from indexer.reading.sources import BATCH_ROWS, DOCUMENT, Position, check_columns, find_files, read_documents

START = Position()


def refuse(file, bad):
    refuse_bad_rows(bad)


def documents(*sources, columns=None, on_bad_row=refuse, start=START):
    read = read_documents(find_files([str(s) for s in sources]), on_bad_row, columns=columns or {}, start=start)
    return [row for _, batch in read for row in batch.to_pylist()]


def texts(*sources, **more):
    return [row["text"] for row in documents(*sources, **more)]


def write_lines(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def test_all_formats_give_the_same_documents(tmp_path):
    rows = [{"id": "a", "text": "one, two"}, {"id": "b", "text": "three"}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "d.parquet")
    jsonl = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "d.jsonl").write_text(jsonl)
    (tmp_path / "d.jsonl.gz").write_bytes(gzip.compress(jsonl.encode()))
    (tmp_path / "d.jsonl.zst").write_bytes(pa.compress(jsonl.encode(), codec="zstd", asbytes=True))
    (tmp_path / "d.csv").write_text('id,text\na,"one, two"\nb,three\n')
    (tmp_path / "d.tsv").write_text("id\ttext\na\tone, two\nb\tthree\n")
    expected = documents(tmp_path / "d.parquet")
    assert [row["id"] for row in expected] == ["a", "b"]
    assert {row["source"] for row in expected} == {"d"}
    for name in ("d.jsonl", "d.jsonl.gz", "d.jsonl.zst", "d.csv", "d.tsv"):
        assert documents(tmp_path / name) == expected, name


def test_a_document_without_an_id_is_named_after_its_file_and_its_number(tmp_path):
    path = write_lines(tmp_path / "news.txt", "first", "second")
    assert [row["id"] for row in documents(path)] == ["news-1", "news-2"]


def test_an_empty_id_counts_as_none(tmp_path):
    path = write_lines(tmp_path / "d.jsonl", '{"id": "", "text": "one"}', '{"id": "mine", "text": "two"}')
    assert [row["id"] for row in documents(path)] == ["d-1", "mine"]


def test_files_of_the_same_stem_do_not_share_ids(tmp_path):
    for folder in ("a", "b"):
        write_lines(tmp_path / folder / "train.txt", f"first of {folder}", "second")
    ids = [row["id"] for row in documents(tmp_path)]
    assert ids == ["train-1", "train-2", "train.2-1", "train.2-2"]


def test_order_is_sources_then_sorted_files_then_rows(tmp_path):
    for name in ("b/2.txt", "b/10.txt", "b/sub/1.txt", "a.txt"):
        write_lines(tmp_path / name, f"{name} first", f"{name} second")
    found = texts(tmp_path / "b", tmp_path / "a.txt")
    assert [text.split()[0] for text in found[::2]] == ["b/10.txt", "b/2.txt", "b/sub/1.txt", "a.txt"]
    assert found == texts(str(tmp_path / "b" / "**" / "*.txt"), tmp_path / "a.txt")


def test_a_file_named_twice_is_read_once(tmp_path):
    path = write_lines(tmp_path / "a.txt", "only")
    assert texts(path, tmp_path, str(tmp_path / "*.txt")) == ["only"]


def test_hidden_and_foreign_files_in_a_directory_are_passed_over(tmp_path):
    write_lines(tmp_path / "a.txt", "kept")
    write_lines(tmp_path / ".b.txt.partial", "half")
    write_lines(tmp_path / ".cache" / "c.txt", "cached")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    assert texts(tmp_path) == ["kept"]


def test_a_file_with_magic_in_its_name_is_a_file(tmp_path):
    assert texts(write_lines(tmp_path / "a[1].txt", "kept")) == ["kept"]


def test_a_mapped_column_is_read_under_its_own_name(tmp_path):
    path = write_lines(tmp_path / "d.jsonl", '{"key": 7, "body": "one", "tongue": "en"}')
    columns = {"id": "key", "text": "body", "lang": "tongue"}
    assert documents(path, columns=columns) == [{"id": "7", "text": "one", "source": "d", "lang": "en"}]


@pytest.mark.parametrize("source", ["missing.txt", "missing/*.parquet", "empty"])
def test_a_source_that_matches_nothing_is_a_sentence(tmp_path, source):
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotFound, match=r"expected|no file we read"):
        find_files([str(tmp_path / source)])


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.txt")
    with pytest.raises(NotFound, match="No file matches"):
        find_files([str(tmp_path / "pipe.txt")])


def test_no_source_is_a_sentence():
    with pytest.raises(BadInput, match="at least one source"):
        find_files([])


def test_a_file_is_what_its_name_and_its_content_say(tmp_path):
    """The law of `add`: what is there already is not read again, wherever it lies now."""
    for folder in ("a", "b"):
        write_lines(tmp_path / folder / "train.txt", "first", "second")
    (file,) = find_files([str(tmp_path)])
    assert find_files([str(tmp_path / "b")], earlier=[file.as_param()]) == []
    write_lines(tmp_path / "c" / "train.txt", "third")
    (more,) = find_files([str(tmp_path)], earlier=[file.as_param()])
    assert more.label == "train.2"


def test_a_file_that_changes_while_it_is_read_is_a_sentence(tmp_path):
    path = write_lines(tmp_path / "a.txt", "one")
    files = find_files([str(path)])
    write_lines(path, "two", "three")
    with pytest.raises(BadInput, match=r"a\.txt changed while it was read"):
        list(read_documents(files, refuse, columns={}))


def test_notes_beside_the_data_are_no_documents(tmp_path):
    for name in ("README.txt", "LICENSE.txt", "requirements.txt", "data.txt"):
        write_lines(tmp_path / name, name)
    assert texts(tmp_path) == ["data.txt"]
    assert texts(tmp_path / "README.txt") == ["README.txt"], "named, it is one"


def test_a_mapping_to_a_column_that_is_not_there_is_refused(tmp_path):
    """It would otherwise be taken for a column that may be missing, and every id made up."""
    files = find_files([str(write_lines(tmp_path / "d.jsonl", '{"key": 7, "text": "one"}'))])
    with pytest.raises(BadInput, match=r"'kye'.*key, text"):
        check_columns(files, {"id": "kye"})
    with pytest.raises(BadInput, match="no column 'txt'"):
        check_columns(files, {"txt": "text"})
    check_columns(files, {"id": "key"})


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_reading_goes_on_from_any_position_without_loss_or_repeat(tmp_path, suffix):
    n = 2 * BATCH_ROWS + 10
    table = pa.table({"text": [f"text {row}" for row in range(n)]})
    if suffix == "parquet":
        pq.write_table(table, tmp_path / "a.parquet")
    else:
        write_lines(tmp_path / "a.jsonl", *(json.dumps(row) for row in table.to_pylist()))
    write_lines(tmp_path / "b.txt", "last")
    files = find_files([str(tmp_path)])
    read = [(p, b) for p, b in read_documents(files, refuse, columns={})]
    whole = [row for _, batch in read for row in batch.to_pylist()]
    assert len(whole) == n + 1
    assert len({row["id"] for row in whole}) == n + 1
    before = 0
    for position, batch in read:
        before += batch.num_rows
        assert documents(tmp_path, start=position) == whole[before:]


def test_bad_rows_before_a_position_are_not_reported_again(tmp_path):
    lines = [json.dumps({"text": f"text {row}"}) for row in range(BATCH_ROWS + 20)]
    lines[5] = lines[BATCH_ROWS + 10] = "not json"
    path = write_lines(tmp_path / "a.jsonl", *lines)
    bad: list[BadRow] = []

    def note(file, row):
        bad.append(row)

    first, _ = next(read_documents(find_files([str(path)]), note, columns={}))
    assert [row.row for row in bad] == [6]
    bad.clear()
    documents(path, on_bad_row=note, start=first)
    assert [row.row for row in bad] == [BATCH_ROWS + 11]


def test_a_source_says_what_it_is_and_not_where_it_lay(tmp_path):
    write_lines(tmp_path / "here" / "a.txt", "same")
    write_lines(tmp_path / "there" / "a.txt", "same")
    here, there = (find_files([str(tmp_path / folder)])[0].as_param() for folder in ("here", "there"))
    assert here == there
    assert str(tmp_path) not in json.dumps(here)


def test_documents_have_the_document_schema(tmp_path):
    files = find_files([str(write_lines(tmp_path / "a.txt", "x"))])
    _, batch = next(read_documents(files, refuse, columns={}))
    assert batch.schema.names == DOCUMENT.names
