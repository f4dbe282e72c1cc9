"""Tiny tasks of every kind in the tiny world: its topic words are slots, its filler alone is out of scope."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from contract.store import Store
from distill.config import RunConfig
from distill.settings.task import Kind
from tests.distill.tiny import FILLER, TOPICS, config_of, make_encoder, make_transfer_set, neighbour, utterances

TOPIC_OF = {word: topic for topic, words in TOPICS.items() for word in words.split()}
TARGETS: dict[Kind, str] = {"regression": "label", "slots": "intent"}


def tagged(text: str) -> list[str]:
    """Every word of a topic is a slot of its own: that a slot goes on, a model this small learns too slowly."""
    return [f"B-{TOPIC_OF[word]}" if word in TOPIC_OF else "O" for word in text.split()]


def fillers(number: int, seed: int) -> list[str]:
    """Texts about nothing."""
    draw = random.Random(seed)
    return [" ".join(draw.sample(FILLER.split(), draw.randrange(2, 6))) for _ in range(number)]


def rows_of(kind: Kind, split: str, number: int, seed: int) -> list[dict[str, Any]]:
    """Task rows of one split."""
    made: list[dict[str, Any]] = []
    for index, (text, intent) in enumerate(utterances(number, seed)):
        row: dict[str, Any] = {"id": f"{split}-{index}", "text": text, "split": split}
        if kind == "regression":  # how many topics the two have in common, and a half
            other, _ = utterances(number, seed + 50)[(index * 7) % number]
            shared = {TOPIC_OF.get(word) for word in text.split()} & {TOPIC_OF.get(word) for word in other.split()}
            row |= {"text_pair": other, "label": f"{len(shared - {None})}.5"}
        else:
            row |= {"intent": intent, "domain": "home" if intent in ("lights", "music") else "away"}
        if kind in ("slots", "joint"):
            row |= {"tokens": text.split(), "slots": tagged(text)}
        made.append(row)
    return made


def write_kind(path: Path, kind: Kind, *, extra: tuple[dict[str, Any], ...] = ()) -> Path:
    rows = rows_of(kind, "train", 80, 1) + rows_of(kind, "test", 40, 2)
    if kind == "out-of-scope":
        outside = ({"id": f"oos-{n}", "text": text, "intent": "oos", "split": "oos_test"} for n, text in
                   enumerate(fillers(20, 5)))  # fmt: skip
        rows += outside
    path.write_text("".join(json.dumps(row) + "\n" for row in [*rows, *extra]))
    return path


def make_kind(root: Path, kind: Kind, **sections: Any) -> tuple[Store, RunConfig]:
    """A store with a transfer set of the task and of neighbours without gold, and the config of a run on them."""
    store = Store(root / "artifacts")
    root.mkdir(exist_ok=True)
    task = write_kind(root / "task.jsonl", kind)
    rows = [
        {**{key: row.get(key) for key in ("text", "text_pair", "tokens", "slots", "intent")}, "utterance_id": row["id"],
         "neighbours": [neighbour(text)]}
        for row, (text, _) in zip(rows_of(kind, "train", 80, 1), utterances(80, 7), strict=True)
    ]  # fmt: skip
    make_transfer_set(store, "near", rows)
    splits = {"test_split": ["test", "oos_test"]} if kind == "out-of-scope" else {}
    chosen = {"path": str(task), "kind": kind, "target": TARGETS.get(kind, "intent"), "shots": None, **splits}
    more = {name: {**values} for name, values in sections.items()}
    config = config_of(make_encoder(root / "encoder"), task, **{**more, "task": {**chosen, **more.get("task", {})}})
    return store, config
