"""What a trial works with: a small index, a task to build for and one to learn, a tiny teacher; the same every time."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from contract.run import MODELS
from contract.store import Store
from indexer.build import build_index
from indexer.corpus import CorpusSettings, build_corpus
from indexer.index import IndexSettings
from tests.distill.tiny import make_encoder, write_task

WORDS = [f"word{n}" for n in range(400)]
SET: dict[str, Any] = {"index": "web", "task": "talk", "retriever": "lexical", "k": 10}
RUN: dict[str, Any] = {
    "task": {"name": "intents", "shots": 15},
    "teacher": {"model": "tiny", "updates": 60, "learning_rate": 3e-3, "max_length": 32},
    "student": {"layers": 1, "width": 16, "heads": 2, "max_length": 32},
    "transfer_set": {"name": "for-runs"},
    "distill": {"updates": 300, "batch_size": 16, "learning_rate": 2e-2},
    "finetune": {"updates": 20, "batch_size": 16},
    "precision": "float32",
}
FOR_RUNS: dict[str, Any] = {"index": "web", "task": "intents", "retriever": "lexical", "k": 3}


def make_house(artifacts: Path, utterances: int) -> None:
    """An artifacts folder with all that the orders name, but for the transfer sets."""
    draw = random.Random(0)
    tasks = artifacts / "tasks"
    tasks.mkdir(parents=True)
    with (artifacts.parent / "web.jsonl").open("w") as file:
        for _ in range(2000):
            file.write(json.dumps({"text": " ".join(draw.choices(WORDS, k=9))}) + "\n")
        for word in ("song", "lamp", "train", "rain"):
            for n in range(50):
                file.write(
                    json.dumps({"text": f"please find a {word} for {' '.join(draw.choices(WORDS, k=4))} {n}"}) + "\n"
                )
    with (tasks / "talk.jsonl").open("w") as file:
        for n in range(utterances):
            row = {"text": " ".join(draw.choices(WORDS, k=6)), "split": "test" if n % 100 == 0 else "train"}
            file.write(json.dumps(row) + "\n")
    write_task(tasks / "intents.jsonl")
    (artifacts / MODELS).mkdir()
    make_encoder(artifacts / MODELS / "tiny")
    store = Store(artifacts)
    build_corpus(store, "web", [str(artifacts.parent / "web.jsonl")], CorpusSettings())
    build_index(store, "web", "web", IndexSettings(retrievers=("lexical",)))
