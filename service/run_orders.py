"""Orders of runs: held against the form in the contract, and against what is here, before they become jobs.

What only distill can see (settings that do not go together) its job says.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, cast

from fastapi.exceptions import RequestValidationError
from jsonschema import Draft202012Validator, ValidationError

from contract.draft import planned
from contract.errors import NameTaken
from contract.manifest import MANIFEST, Json
from contract.run import MODELS, order_schema
from contract.store import check_name
from jobs.problem import Refused
from service.orders import at, at_most
from service.plan import check_split, open_transfer_set
from service.routes.context import Service
from service.settings import Settings

BEYOND_NUMBERS = 1e15
# How pydantic calls what a form asks for; `service.problems` reads limits by these names.
_LIMITS = {
    "minimum": "ge",
    "exclusiveMinimum": "gt",
    "maximum": "le",
    "minItems": "min_length",
    "maxItems": "max_length",
    "minLength": "min_length",
    "maxLength": "max_length",
    "maxProperties": "max_length",
}
_SAID = {
    "minimum": "expected at least {}",
    "exclusiveMinimum": "expected more than {}",
    "maximum": "expected at most {}",
    "minItems": "expected at least {} items",
    "maxItems": "expected at most {} items",
    "minLength": "expected at least {} characters",
    "maxLength": "expected at most {} characters",
    "maxProperties": "expected at most {} names",
    "pattern": "expected a name: at most 100 letters, digits, '.', '_' or '-', beginning with a letter or digit",
}


def check_form(order: Mapping[str, Json]) -> None:
    """Refuse what is not of the form, naming each field that is wrong."""
    faults = [_fault(_deepest(error)) for error in _form().iter_errors(order)]
    faults += [
        {"type": "number", "loc": ("body", *place), "msg": "expected a number within bounds", "input": number}
        for place, number in _numbers(order)
        if abs(number) > BEYOND_NUMBERS
    ]
    if faults:
        raise RequestValidationError(faults)


def check_run(here: Service, order: Mapping[str, Json]) -> None:
    """Refuse an order that cannot be carried out with what is here."""
    _check_sizes(here.settings, order)
    for section in ("teacher", "student"):
        _check_model(here, f"{section}.model", (order.get(section) or {}).get("model"))
    for number, other in enumerate((order.get("teacher") or {}).get("beside", ())):
        _check_model(here, f"teacher.beside.{number}.model", other.get("model"))
    _check_task(here, order["task"])
    if order.get("transfer_set") is not None:
        with at("transfer_set.name"):
            open_transfer_set(here.store, order["transfer_set"]["name"])
    with at("name"):
        _check_free(here, order)


def _check_task(here: Service, asked: Mapping[str, Json]) -> None:
    with at("task.name"):
        here.tasks.path(asked["name"])
    with at("task.columns" if asked.get("columns") else "task.skip_bad_rows"):
        columns, skips = asked.get("columns"), asked.get("skip_bad_rows", False)
        task = here.tasks.read(asked["name"], columns, skip_bad_rows=skips)
    for field, usual in (("train_split", "train"), ("test_split", "test")):
        named = asked.get(field, usual)
        with at(f"task.{field}"):
            for split in [named] if isinstance(named, str) else named:
                check_split(task, split)
    target = asked.get("target")
    if target is not None and target not in task.targets:
        there = ", ".join(task.targets) or "none to predict"
        raise Refused(
            f"task.target: task {asked['name']} has no {target} column with values; it has {there}", field="task.target"
        )


def _check_model(here: Service, field: str, model: str | None) -> None:
    """Names of models only: those the operator allows, and the folders of the local registry."""
    if model is None or model in here.settings.models:
        return
    registry = here.store.root / MODELS
    local = sorted(path.name for path in registry.iterdir() if path.is_dir()) if registry.is_dir() else []
    if model not in local or check_name("model", model) != model:
        known = ", ".join([*here.settings.models, *local]) or "none"
        raise Refused(
            f"{field}: expected the name of a model that is allowed here ({known}), found another; "
            "who runs this service allows more with TRANSFERSET_MODELS, or lays them into its folder models",
            field=field,
        )


def _check_sizes(settings: Settings, order: Mapping[str, Json]) -> None:
    teacher = order.get("teacher") or {}
    beside = {f"teacher.beside.{number}": other for number, other in enumerate(teacher.get("beside", ()))}
    for section, asked in (
        *((name, order.get(name) or {}) for name in ("teacher", "distill", "finetune")),
        ("teacher.adapt", teacher.get("adapt") or {}),
        *beside.items(),
    ):
        for setting in ("updates", "updates_alone"):
            at_most(settings.max_updates, asked.get(setting) or 0, f"{section}.{setting}", "updates")
        at_most(settings.max_batch_size, asked.get("batch_size") or 0, f"{section}.batch_size", "texts an update")
    student = order.get("student") or {}
    at_most(settings.max_student_layers, student.get("layers") or 0, "student.layers", "layers")
    at_most(settings.max_student_width, student.get("width") or 0, "student.width", "numbers a token")


def _check_free(here: Service, order: Mapping[str, Json]) -> None:
    """A finished run keeps its name; a half-built one goes on, or goes, when its job comes to it."""
    directory = here.store.path("run", order["name"])
    if (directory / MANIFEST).exists():
        raise NameTaken(f"The run {order['name']} is finished; choose another name, or have it removed")
    if directory.exists() and planned(directory) is None:
        raise NameTaken(f"{directory} holds files that are not a run; choose another name")


@cache
def _form() -> Draft202012Validator:
    return Draft202012Validator(order_schema())


def _deepest(error: ValidationError) -> ValidationError:
    """Of several forms a value may have, the fault in the one it comes nearest to."""
    while error.context:
        error = min(error.context, key=lambda inner: (-len(inner.absolute_path), inner.validator == "type"))
    return error


def _fault(error: ValidationError) -> dict[str, Any]:
    """A fault as pydantic would tell it, so that all of our refusals read alike."""
    place, found, form = [*error.absolute_path], cast("Any", error.instance), error.schema
    kind, wanted = str(error.validator), cast("Any", error.validator_value)
    if kind == "required":
        missing = next(name for name in wanted if name not in found)
        return {"type": "missing", "loc": ("body", *place, missing), "msg": "expected it to be there", "input": None}
    if kind == "additionalProperties" and wanted is False:
        known: dict[str, Json] = cast("Any", form)["properties"]
        odd = next(name for name in found if name not in known)
        message = f"there is no such setting; there are: {', '.join(sorted(known))}"
        return {"type": "extra_forbidden", "loc": ("body", *place, odd), "msg": message, "input": found[odd]}
    if kind == "type":
        message = f"expected {_kinds(wanted)}"
    elif kind in ("enum", "const"):
        message = f"expected one of {', '.join(map(str, wanted if kind == 'enum' else [wanted]))}"
    else:
        message = _SAID.get(kind, "expected another form; /docs shows it").format(wanted)
    context = {_LIMITS[kind]: wanted} if kind in _LIMITS else {}
    return {"type": kind, "loc": ("body", *place), "msg": message, "input": found, "ctx": context}


def _kinds(wanted: str | list[str]) -> str:
    names = [wanted] if isinstance(wanted, str) else wanted
    words = {
        "object": "an object", "array": "a list", "string": "a text", "integer": "a whole number", "number": "a number",
        "boolean": "true or false", "null": "null",
    }  # fmt: skip
    return " or ".join(words.get(name, name) for name in names)


def _numbers(value: Json, place: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], float]]:
    """Every number in a value, with its place."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _numbers(inner, (*place, key))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _numbers(inner, (*place, number))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield place, value
