"""Claims about reading people's files: every format gives the same rows, and a bad row gets a sentence."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract import records, rows
from contract.artifact import write_parquet
from contract.errors import BadInput, NotFound
from contract.rows import BadRow, Format, column_names, format_of, read_rows
from tests.contract.making import FORMATS, write_bytes, write_records

DOCUMENT = pa.schema(
    [
        pa.field("id", pa.string()),
        pa.field("text", pa.string(), nullable=False),
        pa.field("tags", pa.list_(pa.string())),
    ]
)
ROWS: list[dict[str, Any]] = [
    {"id": "1", "text": "play some jazz", "tags": ["O", "O", "B-genre"]},
    {"id": None, "text": 'a "quoted", comma;\ttab', "tags": None},
    {"id": "3", "text": "größe 語 🎷 e\u0301", "tags": ["x"]},
    {"id": "4", "text": "=1+1", "tags": ["a", "b"]},
]
# What people write: anything but line ends (a plain text file cannot hold them) and what is only white space.
texts = st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), min_size=1, max_size=30).filter(
    lambda text: bool(text.encode().strip()) and bool(text.strip())
)


def read(path: Path, schema: pa.Schema = DOCUMENT, **options: Any) -> list[dict[str, Any]]:
    return [row for _, batch in read_rows(path, schema, **options) for row in batch.to_pylist()]


def read_all(path: Path, schema: pa.Schema = DOCUMENT, **options: Any) -> tuple[dict[int, str], dict[int, str]]:
    """The texts of the good rows and the sentences about the bad ones, each by the row's number."""
    bad: list[BadRow] = []
    good = {
        number: text
        for numbers, batch in read_rows(path, schema, on_bad_row=bad.append, **options)
        for number, text in zip(numbers.to_pylist(), batch.column("text").to_pylist(), strict=True)
    }
    assert all(row.file == str(path) for row in bad)
    return good, {row.row: f"{row.column}: {row.reason}" for row in bad}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_rows_back(tmp_path: Path, name: str) -> None:
    assert read(write_records(tmp_path / name, ROWS)) == ROWS


@pytest.mark.parametrize("name", ["rows.txt", "rows.text.gz", "rows.txt.zst"])
def test_a_line_of_plain_text_is_a_row(tmp_path: Path, name: str) -> None:
    path = write_bytes(tmp_path / name, "one\n\n  \ntwo words\r\n語".encode())
    assert [row["text"] for row in read(path)] == ["one", "two words", "語"]
    assert column_names(path) == ["text"]


@settings(deadline=None, max_examples=30)
@given(st.lists(texts, min_size=1, max_size=12), st.integers(1, 5))
def test_any_text_survives_any_format_and_batch_size(
    tmp_path_factory: pytest.TempPathFactory, written: list[str], batch_rows: int
) -> None:
    folder = tmp_path_factory.mktemp("rows")
    schema = pa.schema([DOCUMENT.field("text")])
    for name in ("rows.jsonl", "rows.csv", "rows.tsv.gz", "rows.parquet", "rows.arrow", "rows.stream.arrow"):
        path = write_records(folder / name, [{"text": text} for text in written])
        batches = list(read_rows(path, schema, batch_rows=batch_rows))
        assert [text for _, batch in batches for text in batch.column("text").to_pylist()] == written
        assert [n for numbers, _ in batches for n in numbers.to_pylist()] == list(range(1, len(written) + 1))
        assert all(0 < batch.num_rows <= batch_rows for _, batch in batches)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.booleans(), min_size=1, max_size=20), st.integers(1, 6))
def test_good_rows_keep_their_numbers_among_bad_ones(
    tmp_path_factory: pytest.TempPathFactory, good: list[bool], batch_rows: int
) -> None:
    folder = tmp_path_factory.mktemp("rows")
    for name in ("rows.jsonl", "rows.csv", "rows.parquet", "rows.arrow"):
        path = write_records(
            folder / name, [{"id": f"i{n}", "text": "good" if ok else " "} for n, ok in enumerate(good)]
        )
        found, bad = read_all(path, batch_rows=batch_rows)
        assert list(found) == [n for n, ok in enumerate(good, start=1) if ok]
        assert bad == {n: "text: expected text, found nothing" for n, ok in enumerate(good, start=1) if not ok}


@pytest.mark.parametrize("name", [name for name in FORMATS if ".zst" not in name])
def test_by_default_the_first_bad_row_ends_the_reading_and_says_where_it_stands(tmp_path: Path, name: str) -> None:
    path = write_records(tmp_path / name, [ROWS[0], {"id": "2", "text": ""}])
    with pytest.raises(BadInput) as caught:
        read(path)
    assert caught.value.message == (
        f"{path}, row 2, column 'text': expected text, found nothing; "
        "mend the row, or keep the good rows with --skip-bad-rows"
    )


@pytest.mark.parametrize("name", FORMATS)
def test_a_column_by_another_name_is_mapped(tmp_path: Path, name: str) -> None:
    path = write_records(tmp_path / name, [{"sentence": "hello", "key": "k"}])
    assert read(path, columns={"text": "sentence", "id": "key"}) == [{"id": "k", "text": "hello", "tags": None}]


@pytest.mark.parametrize("name", FORMATS)
def test_a_missing_column_is_a_sentence_that_lists_the_found_ones(tmp_path: Path, name: str) -> None:
    path = write_records(tmp_path / name, [{"sentence": "hello", "key": "k"}])
    with pytest.raises(BadInput, match=r"has no column 'text': .* found 'sentence', 'key'; .* --map text=COLUMN"):
        read(path)
    assert column_names(path) == ["sentence", "key"]


def test_a_csv_of_a_header_alone_has_columns_and_no_rows(tmp_path: Path) -> None:
    path = write_bytes(tmp_path / "rows.csv", b"id,text\n")
    assert (column_names(path), read(path)) == (["id", "text"], [])
    with pytest.raises(BadInput, match="has no column 'text'"):
        read(write_bytes(tmp_path / "other.csv", b"id,sentence\n"))


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.csv", "rows.txt", "rows.jsonl.gz", "rows.txt.zst"])
def test_an_empty_file_has_no_rows(tmp_path: Path, name: str) -> None:
    path = write_bytes(tmp_path / name, b"")
    assert (read(path), column_names(path)) == ([], [])


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.parquet", "parquet"),
        ("a.JSONL", "jsonl"),
        ("a.ndjson.GZ", "jsonl"),
        ("en.part-1.csv.zst", "csv"),
        ("a.tsv", "tsv"),
        ("a.txt", "text"),
        ("a.arrow", "arrow"),
        ("a.csv.bz2", "csv"),
        ("a.txt.xz", "text"),
        ("a.parquet.gz", None),
        ("a.arrow.zst", None),
        ("a.gz", None),
        ("a.json", None),
        ("csv", None),
        (".csv", None),
    ],
)
def test_the_name_tells_the_format(name: str, kind: Format | None) -> None:
    assert format_of(Path(name)) == kind


def test_a_format_we_do_not_read_and_a_file_that_is_not_there_get_sentences(tmp_path: Path) -> None:
    (tmp_path / "rows.xlsx").touch()
    with pytest.raises(BadInput, match=r"rows\.xlsx has a format we do not read; expected \.parquet, \.jsonl"):
        read(tmp_path / "rows.xlsx")
    with pytest.raises(NotFound, match=r"There is no file .*rows\.csv"):
        read(tmp_path / "rows.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(BadInput, match="is a directory, a file was expected"):
        read(tmp_path / "folder.csv")


MANY = [{"id": str(n), "text": f"utterance number {n * 7919 % 1000} of many {n}"} for n in range(2000)]


@pytest.mark.parametrize(
    "name",
    [
        "rows.parquet",
        "rows.arrow",
        "rows.stream.arrow",
        "rows.jsonl.gz",
        "rows.csv.gz",
        "rows.txt.gz",
        "rows.jsonl.zst",
        "rows.jsonl.bz2",
        "rows.jsonl.xz",
    ],
)
@pytest.mark.parametrize("kept", [0.05, 0.5, 0.999])
def test_a_file_cut_short_is_said_to_be(tmp_path: Path, name: str, kept: float) -> None:
    content = write_records(tmp_path / "whole" / name.replace("txt", "csv"), MANY).read_bytes()
    path = tmp_path / name
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(BadInput, match=r"is damaged or cut short: it cannot be read as \w+ \(.*\); copy it again"):
        read(path)


@pytest.mark.parametrize("name", ["rows.jsonl.gz", "rows.jsonl.zst", "rows.jsonl.xz", "rows.parquet", "rows.arrow"])
@settings(deadline=None, max_examples=40)
@given(where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_in_a_compressed_file_never_ends_in_a_traceback(
    tmp_path_factory: pytest.TempPathFactory, name: str, where: float, bit: int
) -> None:
    folder = tmp_path_factory.mktemp("flipped")
    path = write_records(folder / name, MANY[:50])
    content = bytearray(path.read_bytes())
    content[int(len(content) * where)] ^= 1 << bit
    path.write_bytes(content)
    try:
        read_all(path)
    except BadInput as error:
        assert str(path) in error.message  # noqa: PT017 - a flip may also do no harm


def test_zstd_and_gzip_files_of_several_members_are_read_to_the_end(tmp_path: Path) -> None:
    first, second = b'{"text": "one"}\n', b'{"text": "two"}\n'
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(gzip.compress(first) + gzip.compress(second))
    other = tmp_path / "rows.jsonl.zst"
    parts = [write_bytes(tmp_path / f"{n}.jsonl.zst", part).read_bytes() for n, part in enumerate((first, second))]
    other.write_bytes(b"".join(parts))
    assert [row["text"] for row in read(path)] == [row["text"] for row in read(other)] == ["one", "two"]


NOT_UTF8 = "expected UTF-8, found bytes that are not"


@pytest.mark.parametrize(
    ("name", "content", "column"),
    [
        ("rows.jsonl", b'{"text": "a"}\n{"text": "\xff"}\n{"text": "c"}\n', ""),
        ("rows.csv", b"id,text\n1,a\n2,\xff\n3,c\n", "text"),
        ("rows.csv", b"id,text\n1,a\n\xff,b\n3,c\n", "id"),
        ("rows.txt", b"a\n\xff\nc\n", "text"),
        ("rows.jsonl", b'{"text": "a"}\n{"text": "\\ud800"}\n{"text": "c"}\n', "text"),
        ("rows.jsonl", b'{"text": "a"}\n{"text": "b", "tags": ["\\udfff"]}\n{"text": "c"}\n', "tags"),
    ],
)
def test_bytes_that_are_no_utf8_cost_one_row(tmp_path: Path, name: str, content: bytes, column: str) -> None:
    good, bad = read_all(write_bytes(tmp_path / name, content))
    assert good == {1: "a", 3: "c"}
    assert bad == {2: f"{column}: {NOT_UTF8}"}


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.binary()])
@pytest.mark.parametrize("ours", ["text", "id"])
def test_bytes_that_are_no_utf8_cost_one_row_of_a_parquet_file(tmp_path: Path, kind: pa.DataType, ours: str) -> None:
    values = pa.array([b"a", b"\xff\xfe", None if ours == "id" else b"c", b"d"], pa.binary())
    damaged = values.cast(kind, safe=False)
    table = pa.table({"x": damaged, "text" if ours == "id" else "id": ["1", "2", "3", "4"]})
    write_parquet(table, tmp_path / "rows.parquet")
    good, bad = read_all(tmp_path / "rows.parquet", columns={ours: "x"})
    assert list(good) == [1, 3, 4]
    assert bad == {2: f"x: {NOT_UTF8}"}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.jsonl", '{"text": "a"}\n{"text": "b"}\n'),
        ("rows.csv", "text,id\na,\nb,\n"),
        ("rows.csv", "text,id\ra,\rb,\r"),
        ("rows.txt", "a\nb\n"),
    ],
)
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_byte_order_mark_and_windows_line_ends_change_nothing(
    tmp_path: Path, name: str, content: str, ends: str, mark: bytes
) -> None:
    path = write_bytes(tmp_path / name, mark + content.replace("\n", ends).encode())
    assert [row["text"] for row in read(path)] == ["a", "b"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"text": "b"', "expected one JSON object a line, found something else"),
        ("plain words", "expected one JSON object a line, found something else"),
        ("[1, 2]", "expected a JSON object, found list"),
        ('"text"', "expected a JSON object, found str"),
        ("null", "expected a JSON object, found NoneType"),
        ("[" * 100_000, "expected one JSON object a line, found something else"),
        ('{"text": 5}', "expected a string, found int"),
        ('{"text": true}', "expected a string, found bool"),
        ('{"text": {"en": "b"}}', "expected a string, found dict"),
        ('{"text": NaN}', "expected text, found nothing"),
        ('{"text": null}', "expected text, found nothing"),
        ('{"id": "no text"}', "expected text, found nothing"),
        ('{"text": " \\t\\n "}', "expected text, found nothing"),
        ('{"text": "b", "id": ' + "9" * 5000 + "}", "expected one JSON object a line, found something else"),
        ('{"text": "b", "id": ["x"]}', "expected a string, found list"),
        ('{"text": "b", "tags": 1}', "expected a list of strings, found int"),
        ('{"text": "b", "tags": ["x", 1]}', "expected a list of strings, found int in it"),
        ('{"text": "b", "tags": [null]}', "expected a list of strings, found NoneType in it"),
    ],
)
def test_a_line_that_is_no_record_costs_one_row(tmp_path: Path, line: str, reason: str) -> None:
    path = write_bytes(tmp_path / "rows.jsonl", f'{{"text": "a"}}\n\n{line}\n{{"text": "c"}}\n'.encode())
    good, bad = read_all(path)
    assert good == {1: "a", 3: "c"}  # the blank line is no row
    assert list(bad) == [2]
    assert bad[2].partition(": ")[2].startswith(reason)


@pytest.mark.parametrize(
    ("value", "found"),
    [("7", "7"), ("1.5", "1.5"), ("9" * 400, "9" * 400), ("NaN", None), ("null", None), ("-Infinity", None)],
)
def test_numbers_are_names_too_and_what_is_no_number_is_nothing(tmp_path: Path, value: str, found: str | None) -> None:
    assert read(write_bytes(tmp_path / "rows.jsonl", f'{{"text": "a", "id": {value}}}'.encode()))[0]["id"] == found


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"2", "expected 2 columns as in the header, found 1"),
        (b"2,b,more", "expected 2 columns as in the header, found 3"),
        (b'2,"b" c', "expected CSV, found a row that is not"),
        (b"2,", "expected text, found nothing"),
    ],
)
def test_a_csv_line_of_another_form_costs_one_row(tmp_path: Path, line: bytes, reason: str) -> None:
    good, bad = read_all(write_bytes(tmp_path / "rows.csv", b"id,text\n1,a\n" + line + b"\n3,c\n"))
    assert good == {1: "a", 3: "c"}
    assert list(bad) == [2]
    assert reason in bad[2]


def test_a_first_record_without_the_text_costs_itself_and_not_the_file(tmp_path: Path) -> None:
    path = write_bytes(tmp_path / "rows.jsonl", b'{"id": "1"}\n' * 150 + b'{"id": "2", "text": "a", "x": 1}\n')
    good, bad = read_all(path)
    assert good == {151: "a"}
    assert set(bad.values()) == {"text: expected text, found nothing"}
    assert len(bad) == 150
    assert column_names(path) == ["id"]
    assert column_names(path, ["x", "y"]) == ["id", "x"]


def test_a_column_that_no_record_has_is_missing_from_the_file(tmp_path: Path) -> None:
    path = write_bytes(tmp_path / "rows.jsonl", b'{"body": "a"}\n' * 150)
    with pytest.raises(BadInput, match=r"has no column 'text': .* found 'body'"):
        read(path)


def test_a_file_of_bad_rows_alone_is_read_without_holding_them(tmp_path: Path) -> None:
    path = write_bytes(tmp_path / "rows.jsonl", b'{"text": "a"}\n' + b'{"text": 5, "more": "0123456789"}\n' * 50_000)
    seen = 0

    def count(bad: BadRow) -> None:
        nonlocal seen
        seen += 1

    tracemalloc.start()
    for _ in read_rows(path, DOCUMENT, on_bad_row=count):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seen == 50_000
    assert peak < 1e6


@pytest.mark.parametrize("kind", ["string", "large_string"])
def test_an_arrow_file_with_offsets_that_lead_astray_is_said_to_be_damaged(tmp_path: Path, kind: str) -> None:
    """Arrow believes what a file says of its strings' places; read as they stand they end the process."""
    width = 4 if kind == "string" else 8
    offsets = pa.py_buffer(b"".join(n.to_bytes(width, "little") for n in (0, 1 << 30, 2)))
    kind_of = pa.string() if kind == "string" else pa.large_string()
    column = pa.Array.from_buffers(kind_of, 2, [None, offsets, pa.py_buffer(b"ab")])
    batch = pa.RecordBatch.from_arrays([column], names=["text"])
    with pa.OSFile(str(tmp_path / "rows.arrow"), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)
    with pytest.raises(BadInput, match="damaged or cut short: it cannot be read as arrow"):
        read(tmp_path / "rows.arrow")


def test_a_bad_first_line_does_not_hide_a_missing_column(tmp_path: Path) -> None:
    path = write_bytes(tmp_path / "rows.csv", b"id,sentence\n1\n2,b\n")
    with pytest.raises(BadInput, match="has no column 'text'"):
        read_all(path)


def test_a_quote_that_is_never_closed_ends_the_reading_because_the_rows_after_it_cannot_be_told(tmp_path: Path) -> None:
    path = write_bytes(tmp_path / "rows.csv", b'id,text\n1,a\n2,"b\n3,c\n4,d\n')
    with pytest.raises(
        BadInput, match=r"rows\.csv, line 3: expected CSV, found a row that is not .* write it as JSONL"
    ):
        read_all(path)


def test_line_ends_inside_quotes_belong_to_the_text(tmp_path: Path) -> None:
    path = write_bytes(tmp_path / "rows.csv", b'id,text\n1,"two\nlines"\n\n2,b\n')
    assert read_all(path)[0] == {1: "two\nlines", 2: "b"}


def test_a_column_without_a_name_does_no_harm(tmp_path: Path) -> None:
    path = write_bytes(tmp_path / "rows.csv", b",text\n0,a\n1,b\n")  # as pandas writes an index
    assert read_all(path) == ({1: "a", 2: "b"}, {})


@pytest.mark.parametrize("name", ["rows.csv", "rows.parquet"])
def test_two_columns_of_one_name_are_refused_when_one_is_wanted(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "rows.csv":
        write_bytes(path, b"text,text\na,b\n")
    else:
        write_parquet(pa.table([["a"], ["b"]], names=["text", "text"]), path)
    with pytest.raises(BadInput, match="has 2 columns 'text', expected one"):
        read(path)


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ({"text": [1, 2]}, "column 'text': expected string, found int64"),
        ({"text": [["a"], ["b"]]}, "column 'text': expected string, found list"),
        ({"text": ["a", "b"], "id": [{"x": 1}, None]}, "column 'id': expected string, found struct"),
        ({"text": ["a", "b"], "tags": [1, 2]}, "column 'tags': expected list<.*>, found int64"),
    ],
)
def test_a_parquet_column_of_the_wrong_type_gets_a_sentence(
    tmp_path: Path, column: dict[str, Sequence[Any]], expected: str
) -> None:
    write_parquet(pa.table(column), tmp_path / "rows.parquet")
    with pytest.raises(BadInput, match=expected):
        read(tmp_path / "rows.parquet")


@pytest.mark.parametrize("kind", [pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())])
def test_every_kind_of_arrow_string_is_text(tmp_path: Path, kind: pa.DataType) -> None:
    write_parquet(pa.table({"text": pa.array(["a", "b"]).cast(kind), "id": [1, 2]}), tmp_path / "rows.parquet")
    assert read(tmp_path / "rows.parquet") == [
        {"id": "1", "text": "a", "tags": None},
        {"id": "2", "text": "b", "tags": None},
    ]


@pytest.mark.parametrize("name", ["rows.txt", "rows.jsonl", "rows.csv", "rows.parquet"])
def test_a_text_of_a_million_words_is_one_row(tmp_path: Path, name: str) -> None:
    text = "word " * 1_000_000 + "end"
    path = tmp_path / name
    write_bytes(path, text.encode()) if name == "rows.txt" else write_records(path, [{"text": text}])
    assert [len(row["text"]) for row in read(path)] == [len(text)]


@pytest.mark.parametrize("name", ["rows.txt", "rows.jsonl", "rows.csv", "rows.jsonl.gz"])
@pytest.mark.parametrize("length", [999, 1000, 1001, 1999, 2000, 5_000_000])
def test_a_line_beyond_the_bound_costs_one_row_in_bounded_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, length: int
) -> None:
    monkeypatch.setattr(records, "MAX_LINE_BYTES", 1000)
    lines = ["a", "x" * length, "c"]
    if ".jsonl" in name:
        lines = [json.dumps({"text": line}) for line in lines]
    header = "text\n" if name == "rows.csv" else ""
    path = write_bytes(tmp_path / name, (header + "\n".join(lines) + "\n").encode())
    read_all(path)  # what is imported and compiled on the way is not the line's
    tracemalloc.start()
    good, bad = read_all(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    if len(lines[1]) < 1000:
        assert (list(good), bad) == ([1, 2, 3], {})
    else:
        assert good == {1: "a", 3: "c"}
        assert "1000" in bad[2]
        assert peak < 1_000_000


def test_a_long_line_inside_quotes_ends_the_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "MAX_LINE_BYTES", 100)
    path = write_bytes(tmp_path / "rows.csv", b'text\n"a\n' + b"x" * 500 + b'\nb"\nc\n')
    with pytest.raises(BadInput, match="line 2: expected CSV"):
        read_all(path)


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.csv", "rows.parquet"])
def test_batches_are_small_where_rows_are_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(rows, "BATCH_BYTES", 10_000)
    path = write_records(tmp_path / name, [{"text": f"{n} " + "abcdefgh" * 500} for n in range(20)])
    batches = list(read_rows(path, DOCUMENT))
    assert sum(batch.num_rows for _, batch in batches) == 20
    assert max(batch.num_rows for _, batch in batches) <= 3


def test_rows_are_read_while_they_are_asked_for(tmp_path: Path) -> None:
    path = write_bytes(tmp_path / "rows.jsonl", b'{"text": "a"}\n' * 10 + b"broken\n")
    first = next(read_rows(path, DOCUMENT, batch_rows=10))
    assert first[1].num_rows == 10


def test_what_the_caller_cannot_write_is_not_called_damage(tmp_path: Path) -> None:
    path = write_bytes(tmp_path / "rows.jsonl", b"broken\n")

    def full(bad: BadRow) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left") as caught:
        read(path, on_bad_row=full)
    assert caught.value.errno == 28
