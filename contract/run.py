"""The run as an order and as an artifact: what the service, which takes orders and shows runs, and distill share.

run.schema.json is the JSON Schema of an order, a RUN.toml as JSON with a task's name in place of its path. It is made
from `distill.config` by `distill.order.order_schema`; a test says when it is not of today.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files

from contract.manifest import Json

RUN_VERSION = 1  # of the format of a run's directory
REPORT, REPORT_PAGE = "report.json", "report.html"  # attachments: they hold times
STUDENT = "student/"  # before the names of the student's files
MODELS = "models"  # the folder below the artifacts whose folders are models by name: the local registry


@cache
def order_schema() -> dict[str, Json]:
    """The JSON Schema of an order, without references."""
    schema: dict[str, Json] = json.loads(files("contract").joinpath("run.schema.json").read_bytes())
    return schema
