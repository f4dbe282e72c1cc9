"""Where the real data lies: `TRANSFERSET_DATA`, else `../shared/data`. The project neither contains nor requires it."""

from __future__ import annotations

import os
from pathlib import Path

from contract.errors import NotFound

DEFAULT_DATA = "../shared/data"


def real_data(*parts: str) -> Path:
    """A file or folder of the real data; NotFound with what to do where it is absent."""
    path = Path(os.environ.get("TRANSFERSET_DATA", DEFAULT_DATA), *parts)
    if not path.exists():
        raise NotFound(f"There is no {path}: this needs the real data; name its folder in TRANSFERSET_DATA")
    return path
