"""The real data in small: files of its names and columns with texts of the tiny world, and a package of an encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from distill.models.pretrained import MINILM_PACKAGE
from tests.distill.kinds import rows_of
from tests.distill.masked_lms import make_masked_lm
from tests.distill.tiny import make_encoder, utterances

SOURCES = ("wikipedia_a", "sgd_dialogues")


def make_data(root: Path) -> Path:
    """Tasks, GLUE, passages in two languages, and a model, below `root`."""
    for lang in ("en", "de"):
        _write(root / "generic" / lang / "part-000.parquet", _passages(lang))
    for task in ("clinc150", "hwu64", "snips", "xsid"):
        splits = ("train", "valid", "test") if task == "xsid" else ("train", "test")
        rows = [row for number, split in enumerate(splits) for row in rows_of("joint", split, 40, number + 1)]
        _write(root / "tasks" / f"{task}.parquet", [row | {"lang": "en"} for row in rows])
    for task in ("trec", "sst2", "mrpc"):
        _write(root / "glue" / f"{task}.parquet", _pairs() if task == "mrpc" else _labelled())
    make_encoder(root / "models" / "e5-small")
    return root


def make_package(root: Path) -> Path:
    """A folder for sys.path in which the package of `minilm` holds the tiny encoder."""
    package = root / MINILM_PACKAGE
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    make_masked_lm(package / "model", with_head=False)
    return root


def _passages(lang: str) -> list[dict[str, Any]]:
    pairs = zip(utterances(300, 11), utterances(300, 12), strict=True)
    texts = dict.fromkeys(f"{text} {other}" for (text, _), (other, _) in pairs)
    return [{"id": f"{lang}-{n}", "text": text, "source": SOURCES[n % 2], "lang": lang} for n, text in enumerate(texts)]


def _labelled() -> list[dict[str, Any]]:
    splits = enumerate(("train", "valid", "test"), 1)
    return [
        {"id": row["id"], "sentence1": row["text"], "sentence2": None, "label": row["intent"], "split": split}
        for number, split in splits
        for row in rows_of("joint", split, 40, number)
    ]


def _pairs() -> list[dict[str, Any]]:
    rows = _labelled()
    return [row | {"sentence2": other["sentence1"]} for row, other in zip(rows, reversed(rows), strict=True)]


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)
