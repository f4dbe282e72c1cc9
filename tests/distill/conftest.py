"""The tiny world, made once; a test that runs in it gets a store of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from contract.store import Store
from distill.config import RunConfig
from tests.distill.tiny import make_encoder, make_world


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture
def world(tmp_path: Path) -> tuple[Store, RunConfig]:
    return make_world(tmp_path)
