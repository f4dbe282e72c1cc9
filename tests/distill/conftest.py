"""The tiny world, made once; a test that runs in it gets a store of its own."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from contract.store import Store
from distill.config import RunConfig
from distill.settings.task import Kind
from tests.distill.shipped import Shipped, make_export
from tests.distill.tiny import make_encoder, make_world


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture
def world(tmp_path: Path) -> tuple[Store, RunConfig]:
    return make_world(tmp_path)


@pytest.fixture(scope="session")
def shipped_kind(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Kind], Shipped]:
    """A run of that kind of task and its export, made once for all tests: nobody writes in that store."""
    return cache(lambda kind: make_export(tmp_path_factory.mktemp(f"shipped-{kind}") / "world", kind))
