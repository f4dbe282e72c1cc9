"""Settings of the service's tests, and one pair of readers for all of them: a new one is half a second."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import settings

from service.reader import Readers, ReadingLimits

settings.register_profile("service", deadline=None)  # a loaded machine is slow, which is no failure
settings.load_profile("service")


@pytest.fixture(scope="session")
def readers() -> Iterator[Readers]:
    readers = Readers(ReadingLimits())
    yield readers
    readers.close()
