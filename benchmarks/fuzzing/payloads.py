"""Payloads: good task files in every format, odd ones that are what they say, and bombs: more than they seem."""

from __future__ import annotations

import base64
import bz2
import csv
import gzip
import io
import json
import random
from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq

MIB = 1024 * 1024
WORDS = ("play", "some", "jazz", "book", "a", "table", "café", "naïve", "日本", "🙂", "the", "weather")


def rows(n: int = 40) -> list[dict[str, Any]]:
    draw = random.Random(n)
    return [
        {
            "id": f"u{number}",
            "text": " ".join(draw.choices(WORDS, k=6)),
            "intent": f"intent{number % 3}",
            "tokens": ["a", "b"],
            "slots": ["O", "B-x"],
            "split": "test" if number % 5 == 0 else "train",
        }
        for number in range(n)
    ]


def good_files() -> dict[str, bytes]:
    """A small good task in every format we read."""
    lines = jsonl(rows())
    return {
        "t.parquet": parquet(pa.Table.from_pylist(rows())),
        "snappy.parquet": parquet(pa.Table.from_pylist(rows(300)), compression="snappy"),
        "plain.parquet": parquet(pa.Table.from_pylist(rows()), compression="none", use_dictionary=False),
        "v2.parquet": parquet(pa.Table.from_pylist(rows(100)), data_page_version="2.0", row_group_size=10),
        "zstd.parquet": parquet(pa.Table.from_pylist(rows(100)), compression="zstd", write_page_index=True),
        "t.arrow": arrow(pa.Table.from_pylist(rows())),
        "lz4.arrow": arrow(pa.Table.from_pylist(rows(300)), compression="lz4"),
        "stream.arrow": stream(pa.Table.from_pylist(rows())),
        "t.jsonl": lines,
        "t.jsonl.gz": gzip.compress(lines, mtime=0),
        "t.jsonl.zst": zstd(lines),
        "t.jsonl.bz2": bz2.compress(lines),
        "t.csv": separated(","),
        "t.csv.gz": gzip.compress(separated(","), mtime=0),
        "t.tsv": separated("\t"),
        "t.txt": "\n".join(row["text"] for row in rows()).encode(),
    }


def jsonl(of: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in of)


def separated(by: str) -> bytes:
    out = io.StringIO()
    writer = csv.DictWriter(out, ["id", "text", "intent", "split"], delimiter=by, extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows())
    return out.getvalue().encode()


def zstd(content: bytes, times: int = 1) -> bytes:
    out = pa.BufferOutputStream()
    with pa.CompressedOutputStream(out, "zstd") as frame:
        for _ in range(times):
            frame.write(content)
    return bytes(out.getvalue())


def gz(content: bytes, times: int, head: bytes = b"") -> bytes:
    """A gzip file that grows: made piece by piece, for it is not to be a bomb here."""
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb", compresslevel=9, mtime=0) as file:
        file.write(head)
        for _ in range(times):
            file.write(content)
    return out.getvalue()


def parquet(table: pa.Table, **options: Any) -> bytes:
    out = io.BytesIO()
    pq.write_table(table, out, **options)
    return out.getvalue()


def arrow(table: pa.Table, compression: str = "uncompressed") -> bytes:
    out = io.BytesIO()
    pyarrow.feather.write_feather(table, out, compression=compression)
    return out.getvalue()


def stream(table: pa.Table) -> bytes:
    out = io.BytesIO()
    with pa.ipc.new_stream(out, table.schema) as writer:
        writer.write_table(table)
    return out.getvalue()


def texts(n: int = 5) -> pa.Array:
    return pa.array([f"some text {number}" for number in range(n)])


def beside(name: str, column: pa.Array) -> bytes:
    """A text column and another one, as Parquet."""
    return parquet(pa.table({"text": texts(len(column)), name: column}))


def _with_metadata(metadata: Mapping[bytes, bytes]) -> bytes:
    return parquet(pa.table({"text": texts()}).replace_schema_metadata(dict(metadata)))


def _field_metadata(metadata: Mapping[bytes, bytes], kind: Callable[[pa.Table], bytes]) -> bytes:
    schema = pa.schema([pa.field("text", pa.string(), metadata=dict(metadata))])
    return kind(pa.Table.from_arrays([texts()], schema=schema))


def _nested(depth: int) -> pa.Array:
    column: Any = pa.array([1, 2, 3], pa.int64())
    for _ in range(depth):
        column = pa.ListArray.from_arrays(pa.array(range(len(column) + 1), pa.int32()), column)
    return column


def _struct(depth: int) -> pa.Array:
    column: Any = texts(3)
    for _ in range(depth):
        column = pa.StructArray.from_arrays([column], ["s"])
    return column


def _dictionary(value: str, n: int) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array([0] * n, pa.int32()), [value])


def _duplicated() -> bytes:
    return arrow_of([texts(), texts()], ["text", "text"])


def arrow_of(columns: list[pa.Array], names: list[str]) -> bytes:
    out = io.BytesIO()
    table = pa.Table.from_arrays(columns, names=names)
    with pa.ipc.new_file(out, table.schema) as writer:
        writer.write_table(table)
    return out.getvalue()


def _bad_offsets() -> bytes:
    """An Arrow column whose offsets lead outside its data."""
    good = arrow_of([pa.array(["one", "four", "three"])], ["text"])
    offsets, lies = (b"".join(n.to_bytes(4, "little") for n in row) for row in ((0, 3, 7, 12), (0, 9, 2**31 - 1, 4)))
    assert offsets in good
    return good.replace(offsets, lies)


def _bad_dictionary() -> bytes:
    indices = pa.array([0, 7, -3], pa.int32())
    column = pa.DictionaryArray.from_arrays(indices, pa.array(["a"]), safe=False)
    return arrow_of([column], ["text"])


_WIDE = [f"c{n}" for n in range(3000)]
_DEEP = 20_000

# What each is can be read off its name; the first word is the file's name.
ODD_FILES: dict[str, Callable[[], bytes]] = {
    "t.parquet of no rows": lambda: parquet(pa.table({"text": pa.array([], pa.string())})),
    "t.parquet of no columns": lambda: parquet(pa.table({})),
    "t.parquet with 3,000 columns": lambda: parquet(pa.table({"text": texts(2)} | {name: texts(2) for name in _WIDE})),
    "t.parquet with lists in lists": lambda: beside("label", _nested(40)),
    "t.parquet with structs in structs": lambda: beside("label", _struct(60)),
    "t.parquet with text in lists": lambda: parquet(pa.table({"text": _nested(3)})),
    "t.parquet with text in a struct": lambda: parquet(pa.table({"text": _struct(2)})),
    "t.parquet with text of null": lambda: parquet(pa.table({"text": pa.nulls(5)})),
    "t.parquet with text of numbers": lambda: parquet(pa.table({"text": pa.array([1.5, float("nan")])})),
    "t.parquet with text of bytes": lambda: parquet(
        pa.table({"text": pa.array([b"ok", b"\xff\xfe", b"\xed\xa0\x80"])})
    ),
    "t.parquet with large strings": lambda: parquet(pa.table({"text": texts().cast(pa.large_string())})),
    "t.parquet with string views": lambda: parquet(pa.table({"text": texts().cast(pa.string_view())})),
    "t.parquet with a dictionary": lambda: parquet(pa.table({"text": _dictionary("a text", 9)})),
    "t.parquet with labels of decimals": lambda: beside("label", pa.array([1, 2, 3]).cast(pa.decimal128(38, 10))),
    "t.parquet with labels of times": lambda: beside(
        "label", pa.array([0, 2**62, -(2**62)], pa.timestamp("ns", "UTC"))
    ),
    "t.parquet with labels of dates": lambda: beside("label", pa.array([0, 2**31 - 1, -(2**31)], pa.date32())),
    "t.parquet with labels of durations": lambda: beside("label", pa.array([0, 1, 2], pa.duration("us"))),
    "t.parquet with labels of truths": lambda: beside("label", pa.array([True, False, None])),
    "t.parquet with labels of maps": lambda: beside(
        "label", pa.array([[("a", 1)]] * 3, pa.map_(pa.string(), pa.int8()))
    ),
    "t.parquet with labels of bytes": lambda: beside("label", pa.array([b"\xff", b"a", None])),
    "t.parquet with slots of numbers": lambda: beside("slots", pa.array([[1], [2, 3], None])),
    "t.parquet with slots of null": lambda: beside("slots", pa.nulls(3, pa.list_(pa.null()))),
    "t.parquet with tokens of large lists": lambda: beside("tokens", pa.array([["a"]] * 3, pa.large_list(pa.string()))),
    "t.parquet with tokens of fixed lists": lambda: beside("tokens", pa.array([["a"]] * 3, pa.list_(pa.string(), 1))),
    "t.parquet with uuids": lambda: beside("id", pa.array([bytes(16), b"\xff" * 16], pa.uuid())),
    "t.parquet with JSON": lambda: beside("label", pa.array(['{"a": 1}', "[", None], pa.json_())),
    "t.parquet with an unknown extension": lambda: _field_metadata(
        {b"ARROW:extension:name": b"evil.type", b"ARROW:extension:metadata": b"\x80\x04cos\nsystem\n"}, parquet
    ),
    "t.parquet with a python extension": lambda: _field_metadata(
        {
            b"ARROW:extension:name": b"arrow.py_extension_type",
            b"ARROW:extension:metadata": b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x04true\x85R.",
        },
        parquet,
    ),
    "t.arrow with a python extension": lambda: _field_metadata(
        {
            b"ARROW:extension:name": b"arrow.py_extension_type",
            b"ARROW:extension:metadata": b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x04true\x85R.",
        },
        arrow,
    ),
    "t.arrow with a tensor": lambda: _field_metadata(
        {b"ARROW:extension:name": b"arrow.fixed_shape_tensor", b"ARROW:extension:metadata": b'{"shape": [-1]}'}, arrow
    ),
    "t.parquet with false metadata": lambda: _with_metadata({b"pandas": b"{" * 1000, b"ARROW:schema": b"AAAA"}),
    "t.parquet with another schema inside": lambda: _with_metadata(
        {b"ARROW:schema": base64.b64encode(pa.schema([("text", pa.int64())]).serialize().to_pybytes())}
    ),
    "t.parquet with 1 MB of metadata": lambda: _with_metadata({b"k": b"v" * MIB}),
    "t.parquet with odd column names": lambda: parquet(
        pa.table({"text": texts(), "": texts(), "a\0b": texts(), "n" * 9999: texts(), "a.b": texts(), "\n": texts()})
    ),
    "t.parquet with text and TEXT": lambda: parquet(pa.table({"TEXT": texts(), "Text": texts(), "text ": texts()})),
    "t.arrow with the text twice": _duplicated,
    "t.parquet with 2,000 row groups": lambda: parquet(pa.table({"text": texts(2000)}), row_group_size=1),
    "t.parquet of one long text": lambda: parquet(pa.table({"text": ["x" * 3_000_000]})),
    "t.arrow with offsets outside": _bad_offsets,
    "t.arrow with indices outside": _bad_dictionary,
    "t.arrow of run ends": lambda: arrow_of([pa.RunEndEncodedArray.from_arrays(pa.array([3]), texts(1))], ["text"]),
    "t.arrow of a run of billions": lambda: arrow_of(
        [pa.RunEndEncodedArray.from_arrays(pa.array([2**31 - 1], pa.int32()), texts(1))], ["text"]
    ),
    "t.arrow of billions of nulls": lambda: arrow_of([pa.nulls(2**31 - 1)], ["text"]),
    "t.arrow of unions": lambda: arrow_of(
        [pa.UnionArray.from_sparse(pa.array([0, 0], pa.int8()), [texts(2)])], ["text"]
    ),
    "t.jsonl nested deeply": lambda: b'{"text": "a", "x": ' + b"[" * _DEEP + b"]" * _DEEP + b"}\n",
    "t.jsonl nested deeply in objects": lambda: (
        b'{"text": "a", "x": ' + b'{"a":' * _DEEP + b"1" + b"}" * _DEEP + b"}\n"
    ),
    "t.jsonl with a number of 100,000 digits": lambda: b'{"text": "a", "label": ' + b"9" * 100_000 + b"}\n",
    "t.jsonl with a small number of 100,000 digits": lambda: b'{"text": "a", "label": 0.' + b"9" * 100_000 + b"e-9}\n",
    "t.jsonl with an exponent": lambda: b'{"text": "a", "label": 1e999999999}\n{"text": "b", "label": -1e-999999}\n',
    "t.jsonl with NaN": lambda: b'{"text": "a", "label": NaN}\n{"text": "b", "label": -Infinity}\n',
    "t.jsonl with a key twice": lambda: b'{"text": "a", "text": "b", "text": 3}\n',
    "t.jsonl with half a pair": lambda: b'{"text": "\\ud800 \\udc00\\ud800"}\n{"text": "a", "id": "\\udfff"}\n',
    "t.jsonl with NUL": lambda: b'{"text": "a\\u0000b", "id": "\\u0000", "label": "\\u0000"}\n{"text": "\0"}\n',
    "t.jsonl of no objects": lambda: b'[1]\n"text"\n3\nnull\ntrue\n[["text", "a"]]\n',
    "t.jsonl of one line of 4 MB": lambda: b'{"text": "' + b"word " * 800_000 + b'"}\n',
    "t.jsonl with 20,000 keys": lambda: json.dumps({"text": "a"} | {f"k{n}": n for n in range(20_000)}).encode(),
    "t.jsonl with other keys in each": lambda: jsonl([{"text": "a", f"k{n}": n} for n in range(3000)]),
    "t.jsonl with a key of 1 MB": lambda: json.dumps({"text": "a", "k" * MIB: 1}).encode(),
    "t.jsonl with a mark": lambda: b"\xef\xbb\xbf" + jsonl(rows(3)),
    "t.jsonl in UTF-16": lambda: jsonl(rows(3)).decode().encode("utf-16"),
    "t.jsonl in Latin-1": lambda: '{"text": "café"}\n'.encode("latin-1"),
    "t.jsonl in UTF-7": lambda: b'{"text": "+AGE-"}\n',
    "t.jsonl with CRLF": lambda: jsonl(rows(3)).replace(b"\n", b"\r\n"),
    "t.jsonl with CR": lambda: jsonl(rows(3)).replace(b"\n", b"\r"),
    "t.jsonl with other line ends": lambda: jsonl(rows(3)).replace(b"\n", "\u2028\u0085".encode()),
    "t.jsonl of an array": lambda: json.dumps(rows(5), indent=1).encode(),
    "t.jsonl of 30,000 rows": lambda: b'{"text": "a b c"}\n' * 30_000,
    "t.jsonl of 30,000 bad rows": lambda: b'{"txt": 1}\n' * 30_000,
    "t.jsonl with the same id": lambda: b'{"id": "x", "text": "a"}\n' * 3,
    "t.jsonl with ids of ours": lambda: b'{"text": "a"}\n{"id": "train-1", "text": "b"}\n',
    "t.jsonl with splits by the thousand": lambda: jsonl([{"text": f"a {n}", "split": f"s{n}"} for n in range(3000)]),
    "t.jsonl with odd splits": lambda: jsonl([{"text": "a", "split": "../x"}, {"text": "b", "split": ""}]),
    "t.jsonl with long labels": lambda: jsonl([{"text": f"a {n}", "label": "l" * 100_000} for n in range(20)]),
    "t.jsonl with tokens by the million": lambda: jsonl([{"text": "a", "tokens": ["t"] * 300_000}]),
    "t.jsonl with uneven slots": lambda: jsonl([{"text": "a", "tokens": ["a"], "slots": ["O", "O"]}]),
    "t.csv with an open quote": lambda: b'text,label\n"a,b\n' + b"c,d\n" * 50_000,
    "t.csv with 20,000 columns": lambda: (",".join(["text", *_WIDE * 6]) + "\n" + "a," * 18_000 + "b\n").encode(),
    "t.csv with the text twice": lambda: b"text,text,text\na,b,c\n",
    "t.csv with NUL": lambda: b"text,label\na\0b,c\n\0,\0\n",
    "t.csv with rows too long": lambda: b"text\na,b,c,d\n" + b"," * 10_000 + b"\n",
    "t.csv with CR": lambda: b"text,label\ra,b\rc,d\r",
    "t.csv of one field of 4 MB": lambda: b"text\n" + b"x" * 4 * MIB + b"\n",
    "t.csv of commas": lambda: b"text" + b"," * MIB + b"\n",
    "t.csv of quotes": lambda: b"text\n" + b'"' * MIB + b"\n",
    "t.csv of newlines": lambda: b"text\n" + b"\n" * MIB,
    "t.csv with a formula": lambda: b"text,label\n=1+1,@SUM(A1)\n",
    "t.csv in UTF-16": lambda: "text,label\na,b\n".encode("utf-16"),
    "t.tsv with a quote": lambda: b'text\tlabel\n"a\tb\nc\td"\n',
    "t.txt of NUL": lambda: b"\0" * MIB,
    "t.txt of spaces": lambda: b"\n".join([b" \t\xc2\xa0"] * 5000),
    "t.txt of odd characters": lambda: "\u202e\u200b\ufeff\u0300 \U0010ffff\n".encode() * 50,
    "t.jsonl.gz of gz of gz": lambda: gz(gz(gz(jsonl(rows(3)), 1), 1), 1),
    "t.jsonl.gz of many members": lambda: gzip.compress(b'{"text": "a b"}\n', mtime=0) * 3000,
    "t.jsonl.gz with rubbish after": lambda: gzip.compress(jsonl(rows(3)), mtime=0) + b"rubbish" * 100,
    "t.jsonl.gz of zst": lambda: zstd(jsonl(rows(3))),
    "t.jsonl.zst of many frames": lambda: zstd(b'{"text": "a b"}\n') * 2000,
    "t.jsonl.zst with a window of 2 GB": lambda: b"\x28\xb5\x2f\xfd\x00\xa8" + b"\x01\x00\x00",
    "t.exe of MZ": lambda: b"MZ" + bytes(500),
}


def _swollen_text(n: int) -> bytes:
    return parquet(pa.table({"text": _dictionary("x" * MIB, n)}))


# Small files that want to become large ones.
BOMBS: dict[str, Callable[[], bytes]] = {
    "t.jsonl.gz of newlines": lambda: _once("newlines", lambda: gz(b"\n" * MIB, 400)),
    "t.jsonl.gz of one line": lambda: _once("line", lambda: gz(b"x" * MIB, 400, b'{"text": "')),
    "t.jsonl.gz of rows": lambda: _once("rows", lambda: gz(b'{"text": "a"}\n' * 80_000, 100)),
    "t.csv.gz of commas": lambda: _once("commas", lambda: gz(b"," * MIB, 300, b"text")),
    "t.csv.gz of a quote": lambda: _once("quote", lambda: gz(b"a\n" * MIB, 150, b'text\n"')),
    "t.jsonl.zst of zeros": lambda: _once("zeros", lambda: zstd(bytes(MIB), 400)),
    "t.jsonl.zst of brackets": lambda: _once("brackets", lambda: zstd(b"[" * MIB, 100)),
    "t.parquet of one word": lambda: _once("word", lambda: _swollen_text(10_000)),
    "t.parquet of labels": lambda: _once(
        "labels", lambda: parquet(pa.table({"text": texts(9000), "label": _dictionary("y" * 60_000, 9000)}))
    ),
    "t.parquet of empty lists": lambda: _once(
        "lists", lambda: beside("tokens", pa.array([[]] * 20_000, pa.list_(pa.string())))
    ),
    "t.parquet of long lists": lambda: _once(
        "tokens",
        lambda: beside("tokens", pa.ListArray.from_arrays(pa.array([0, 9_000_000]), _dictionary("O", 9_000_000))),
    ),
    "t.arrow of zeros": lambda: _once(
        "arrow", lambda: arrow(pa.table({"text": pa.array([" " * 200 * MIB])}), compression="zstd")
    ),
}
_MADE: dict[str, bytes] = {}


def _once(name: str, make: Callable[[], bytes]) -> bytes:
    """Bombs take seconds to make."""
    if name not in _MADE:
        _MADE[name] = make()
    return _MADE[name]
