"""A small task on disk: utterances of three intents, with splits."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.service.fake_index import WORDS

CLASSES = ("music", "restaurant", "weather")


def task_rows(train: int = 40, test: int = 15, *, seed: int = 1) -> list[dict[str, Any]]:
    draw = random.Random(seed)
    rows = []
    for n in range(train + test):
        text = f"{' '.join(draw.choices(WORDS, k=draw.randint(2, 6)))} n{n}"  # a word of its own: no leaks by chance
        rows.append({"text": text, "intent": CLASSES[n % 3], "split": "train" if n < train else "test"})
    return rows


def write_task(directory: Path, rows: Sequence[dict[str, Any]] | None = None, name: str = "task.jsonl") -> Path:
    path = directory / name
    lines = [json.dumps(row, ensure_ascii=False) for row in (task_rows() if rows is None else rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
