"""Settings of the service's tests."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("service", deadline=None)  # a loaded machine is slow, which is no failure
settings.load_profile("service")
