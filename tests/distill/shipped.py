"""Finished runs to be shipped: the tiny world's tasks of every kind, learnt in a second, in a store of their own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contract.artifact import Artifact
from contract.store import Store
from distill.config import RunConfig, make_config
from distill.pipeline import run_distillation
from distill.settings.task import Kind
from distill.shipping.export import ExportOptions, export_run
from tests.distill.kinds import make_kind
from tests.distill.tiny import make_world

KINDS: tuple[Kind, ...] = ("classes", "regression", "slots", "joint", "out-of-scope")
QUICK = ExportOptions(timed_texts=5, loss=0.2)  # int8 on 40 rows is no measurement


def make_run(root: Path, kind: Kind, **sections: Any) -> tuple[Store, RunConfig, Artifact]:
    """A store with a finished run `r1` of that kind of task, and the config it was made with."""
    short = {"teacher": {"updates": 30}, "distill": {"updates": 50}, "finetune": {"updates": 10}}
    root.mkdir(exist_ok=True)
    if kind == "classes":
        store, config = make_world(root)
        config = make_config({name: {**values, **short.get(name, {}), **sections.get(name, {})} if isinstance(
            values, dict) else values for name, values in config.to_json().items()})  # fmt: skip
    else:
        store, config = make_kind(root, kind, **{**short, **sections})
    return store, config, run_distillation(store, "r1", config)


@dataclass(frozen=True)
class Shipped:
    """A finished run `r1`, and its export in the same store."""

    store: Store
    config: RunConfig
    run: Artifact
    export: Artifact


def make_export(root: Path, kind: Kind, **sections: Any) -> Shipped:
    """A run of that kind of task, exported."""
    store, config, run = make_run(root, kind, **sections)
    return Shipped(store, config, run, export_run(store, "r1", QUICK))
