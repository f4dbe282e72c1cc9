"""A world for studies: the tiny one with a valid split, and a search that is over in seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from contract.store import Store
from distill.config import RunConfig, make_config
from distill.tuning.search_space import Space, make_space, raw_settings
from distill.tuning.study import StudyOptions
from tests.distill.tiny import make_world, utterances, write_task


def valid_rows(number: int = 24) -> list[dict[str, Any]]:
    rows = enumerate(utterances(number, 3))
    return [{"id": f"valid-{i}", "text": text, "intent": intent, "split": "valid"} for i, (text, intent) in rows]


def make_search_world(root: Path, *, valid: bool = True) -> tuple[Store, RunConfig]:
    """A store and a config whose trials take a moment, and differ."""
    root.mkdir(parents=True, exist_ok=True)
    store, config = make_world(root)
    write_task(root / "task.jsonl", train=40, test=24, extra=valid_rows() if valid else ())
    short = {"distill": {"updates": 9, "batch_size": 8, "learning_rate": 1e-2}, "finetune": {"updates": 2}}
    raw = raw_settings(config) | short
    raw["teacher"] = {**raw["teacher"], "updates": 30}
    raw["student"] = {**raw["student"], "dropout": 0.1}  # so that a look that left it off would be seen
    return store, make_config(raw)


def small_space(config: RunConfig) -> Space:
    return make_space(
        {
            "space": {
                "distill.learning_rate": {"low": 1e-4, "high": 5e-2, "log": True},
                "objective.intermediate": ["none", "pkd", "mi-alpha"],
                "objective.alpha": {"choices": [0.1, 0.9], "when": {"objective.intermediate": "mi-alpha"}},
            }
        },
        raw_settings(config),
    )


def options(**changes: Any) -> StudyOptions:
    return StudyOptions(**{"trials": 4, "test_seeds": 1, **changes})
