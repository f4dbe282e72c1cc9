"""SPACE.toml: which settings of a RUN.toml a study tries, between what and when; checked before anything is trained.

Written by people, read by `transferset tune`. Without one, `default_space` is that of Distiller (He et al. 2021) as far
as distill has it; the student's shape stays as RUN.toml says.
"""

from __future__ import annotations

import json
import math
import random
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel

from contract.errors import BadInput, NotFound
from contract.manifest import Json
from distill.config import RunConfig, make_config

Params = Mapping[str, Json]  # key of RUN.toml -> its value in a trial
Scalar = str | int | float | bool

TUNABLE = ("transfer_set", "student", "objective", "augmentation", "mixup", "curriculum", "selection", "distill",
           "finetune")  # fmt: skip
_WHY_NOT = {
    "task": "trials are compared on one task",
    "teacher": "the teacher and its labels are made once for all trials",
    "seed": "trials are compared at one seed",
    "precision": "trials are compared in one number format",
    "arm": "it is a name",
}
_RANGE, _CHOICES = {"low", "high", "log", "step"}, "choices"
_DRAWS = 200  # of the whole space, checked before any trial
_STATES = ("hidden-ce", "hidden-mse", "hidden-cosine", "pkd", "mi-alpha")  # Distiller's intermediate objectives
_ALPHAS = (0.0, 0.1, 0.5, 0.7, 0.9, 1.0)
_PROBABILITIES = (0.1, 0.3, 0.5)  # of a word to be swapped; Distiller's other operations need models


class Suggests(Protocol):
    """What chooses values: an Optuna trial, or a random draw."""

    def suggest_float(self, name: str, low: float, high: float, *, step: float | None, log: bool) -> float: ...

    def suggest_int(self, name: str, low: int, high: int, *, step: int, log: bool) -> int: ...

    def suggest_categorical(self, name: str, choices: Sequence[Scalar]) -> Scalar: ...


@dataclass(frozen=True)
class Parameter:
    """A setting that trials differ in: one of `choices`, or a number from `low` to `high`, both among them.

    It is whole where both ends are. `when` names settings and the values at which this one means anything; at any
    other it is left at its default.
    """

    key: str
    choices: tuple[Json, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    step: float | None = None
    when: Mapping[str, tuple[Json, ...]] | None = None

    @property
    def is_whole(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)

    def suggested(self, by: Suggests) -> Json:
        if self.choices:
            return self.meant(by.suggest_categorical(self.key, [label_of(choice) for choice in self.choices]))
        if self.is_whole:
            return by.suggest_int(self.key, int(self.low), int(self.high), step=int(self.step or 1), log=self.log)
        return by.suggest_float(self.key, float(self.low), float(self.high), step=self.step, log=self.log)

    def meant(self, label: Scalar) -> Json:
        """The value that Optuna knows by this label."""
        return {label_of(choice): choice for choice in self.choices}.get(label, label)

    def holds(self, value: Json) -> bool:
        """Whether a trial can have this value."""
        if self.choices:
            return value in self.choices
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not self.low <= value <= self.high:
            return False
        return self.step is None or abs((value - self.low) / self.step - round((value - self.low) / self.step)) < 1e-9

    @property
    def examples(self) -> tuple[Json, ...]:
        """Values that say whether RUN.toml takes them all: every choice, or both ends and what lies between."""
        if self.choices:
            return self.choices
        middle = (self.low + self.high) / 2
        return (self.low, self.high) if self.is_whole or self.step else (self.low, middle, self.high)


@dataclass(frozen=True)
class Space:
    """Parameters, each after those its `when` looks at."""

    parameters: tuple[Parameter, ...]

    def suggest(self, by: Suggests, fixed: RunConfig) -> dict[str, Json]:
        """A point of the space: a value for every parameter that means something there."""
        point: dict[str, Json] = {}
        for parameter in self.parameters:
            if self._applies(parameter, point, fixed):
                point[parameter.key] = parameter.suggested(by)
        return point

    def settings(self, raw: Mapping[str, Json], point: Params) -> dict[str, Json]:
        """RUN.toml's settings with the point laid over them; parameters that mean nothing there are left out."""
        settings = deepcopy(dict(raw))
        for parameter in self.parameters:
            _drop(settings, parameter.key)
        for key, value in point.items():
            lay(settings, key, value)
        return settings

    def point_of(self, config: RunConfig) -> dict[str, Json] | None:
        """RUN.toml's own settings as a point of the space; None where it lies outside."""
        point: dict[str, Json] = {}
        for parameter in self.parameters:
            if self._applies(parameter, point, config):
                value = _own(config, parameter.key)
                if not parameter.holds(value):
                    return None
                point[parameter.key] = value
        return point

    def to_json(self) -> Json:
        return {parameter.key: _plain(parameter) for parameter in sorted(self.parameters, key=lambda p: p.key)}

    def _applies(self, parameter: Parameter, point: Params, fixed: RunConfig) -> bool:
        tuned = {other.key for other in self.parameters}
        for key, wanted in (parameter.when or {}).items():
            if key in tuned and key not in point:
                return False
            if (point[key] if key in tuned else value_of(fixed, key)) not in wanted:
                return False
        return True


def read_space(path: Path, raw: Mapping[str, Json]) -> Space:
    """The space of a SPACE.toml for a RUN.toml's settings; BadInput and NotFound in a sentence."""
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NotFound(f"There is no {path}; expected a SPACE.toml with a section [space]") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, IsADirectoryError) as error:
        raise BadInput(f"{path} is not TOML: {error}; mend it there") from error
    return make_space(found, raw, str(path))


def make_space(found: Mapping[str, Json], raw: Mapping[str, Json], where: str = "the space") -> Space:
    """The space of a [space] as TOML or JSON has it, checked against RUN.toml; BadInput names the first wrong key."""
    section = found.get("space")
    if not isinstance(section, Mapping) or set(found) != {"space"}:
        raise BadInput(
            f"{where}: expected the one section [space], found {', '.join(map(str, found)) or 'nothing'}; "
            'as in "distill.learning_rate" = {low = 1e-4, high = 3e-3, log = true}'
        )
    parameters = [_parameter(key, value, where) for key, value in _flat(section)]
    if not parameters:
        raise BadInput(f"{where}: expected at least one setting to try in [space], found none")
    space = Space(_in_order(parameters, where))
    _check(space, raw, where)
    return space


def default_space(raw: Mapping[str, Json]) -> Space:
    """Distiller's choices where distill has them, around what RUN.toml says. One more: the batch size."""
    config = make_config(raw)
    objective, batch = config.objective, config.distill.batch_size
    rate = _around(config.distill.learning_rate, 5)
    space: dict[str, Json] = {"distill.learning_rate": {"low": rate[0], "high": rate[1], "log": True}}
    if config.transfer_set is None:  # finetuning learns all, at distillation's rate
        return make_space({"space": space}, raw, "the default space")
    space["distill.batch_size"] = {"choices": sorted({max(1, batch // 2), batch, 2 * batch})}
    space["objective.soft_targets"] = {"choices": ["kl", "mse"]}
    space["objective.temperature"] = {"low": 1.0, "high": 8.0, "log": True, "when": {"objective.soft_targets": "kl"}}
    space["objective.hard_weight"] = {"low": 0.0, "high": 1.0}
    space |= _of_texts(config)
    if config.student.origin != "static":
        own = value_of(config, "objective.intermediate")
        known = ["none", *_STATES]
        choices = known if own in known else [own, *known]
        some = [choice for choice in choices if choice != "none"]
        space["objective.intermediate"] = {"choices": choices}
        space["objective.intermediate_weight"] = {
            "low": 0.01, "high": 10.0, "log": True, "when": {"objective.intermediate": some},
        }  # fmt: skip
        space["objective.alpha"] = {"choices": list(_ALPHAS), "when": {"objective.intermediate": "mi-alpha"}}
        if not objective.layer_pairs:
            space["objective.layer_mapping"] = {
                "choices": ["skip", "last", "emd"], "when": {"objective.intermediate": list(_STATES)},
            }  # fmt: skip
    return make_space({"space": space}, raw, "the default space")


def _of_texts(config: RunConfig) -> dict[str, Json]:
    """Mixup, which tasks with slots do not know, and swapped words, where RUN.toml has no operations of its own."""
    space: dict[str, Json] = {}
    if config.task.kind not in ("slots", "joint") and not config.objective.mlm_weight:
        space["mixup.batches"] = {"choices": ["none", "append"]}
    if not config.augmentation.operations:
        swaps = [[{"name": "swap", "probability": probability}] for probability in _PROBABILITIES]
        space["augmentation.operations"] = {"choices": [[], *swaps]}
    return space


def raw_settings(config: RunConfig) -> dict[str, Json]:
    """The settings that somebody gave, as TOML would hold them: what was left out stays out."""
    return config.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True)


def value_of(config: RunConfig, key: str, where: str = "the settings") -> Json:
    """A setting by its dotted name, defaults too; BadInput when there is none of that name."""
    value: Json = whole_settings(config)
    for part in key.split("."):
        if value is None:
            return None
        if not isinstance(value, Mapping) or part not in value:
            make_config(_laid(config.to_json(), key, 0), where)  # says what was meant
            raise BadInput(f"{where}: there is no setting {key!r}")
        value = value[part]
    return value


def whole_settings(section: BaseModel) -> dict[str, Json]:
    """All settings as JSON, also those that are written only where they are used."""
    written = section.model_dump(mode="json", by_alias=True)
    for name, field in type(section).model_fields.items():
        value, alias = getattr(section, name), field.alias or name
        if isinstance(value, BaseModel):
            written[alias] = whole_settings(value)
        elif alias not in written:
            written[alias] = list(value) if isinstance(value, tuple) else value
    return written


def _own(config: RunConfig, key: str) -> Json:
    """What a run does without being told: layers are mapped by skipping, but for those that have a way of their own."""
    value = value_of(config, key)
    own_way = {"minilm", "minilmv2"} & {*config.objective.intermediate}
    return "skip" if value is None and key == "objective.layer_mapping" and not own_way else value


def lay(settings: dict[str, Json], key: str, value: Json) -> None:
    """`value` into nested settings, at a dotted name."""
    *sections, last = key.split(".")
    for section in sections:
        settings = settings.setdefault(section, {})
    settings[last] = value


def label_of(value: Json) -> Scalar:
    """A choice as a name of its own: itself, or as JSON where it is a list."""
    return value if isinstance(value, str | int | float | bool) else json.dumps(value)


def _parameter(key: str, found: Json, where: str) -> Parameter:
    section = key.split(".")[0]
    if section not in TUNABLE or "." not in key:
        why = f"; {_WHY_NOT[section]}" if section in _WHY_NOT else ""
        raise BadInput(f"{where}: {key} cannot be tried{why}; expected a setting of {', '.join(TUNABLE)}")
    found = {"choices": found} if isinstance(found, list) else found
    if not isinstance(found, Mapping) or not ({*found} <= {*_RANGE, "when"} or {*found} <= {_CHOICES, "when"}):
        raise BadInput(
            f"{where}: {key}: expected {{low = …, high = …}}, with log, step and when if wanted, or {{choices = […]}}, "
            f"found {str(found)[:60]}"
        )
    when = {name: tuple(v) if isinstance(v, list) else (v,) for name, v in found.get("when", {}).items()}
    if _CHOICES in found:
        choices = found[_CHOICES]
        if not isinstance(choices, list) or not choices or len({label_of(c) for c in choices}) < len(choices):
            raise BadInput(f"{where}: {key}: expected a list of choices, none twice, found {str(choices)[:60]}")
        return Parameter(key, tuple(choices), when=when or None)
    return _range(key, found, when, where)


def _range(key: str, found: Mapping[str, Json], when: Mapping[str, tuple[Json, ...]], where: str) -> Parameter:
    low, high, step, log = found.get("low"), found.get("high"), found.get("step"), found.get("log", False)
    numbers = [value for value in (low, high, step) if value is not None]
    if low is None or high is None or any(isinstance(n, bool) or not isinstance(n, int | float) for n in numbers):
        raise BadInput(f"{where}: {key}: expected numbers as low and high, found {low!r} and {high!r}")
    if not all(map(math.isfinite, numbers)) or not low < high:
        raise BadInput(f"{where}: {key}: expected low below high, found {low} and {high}")
    if not isinstance(log, bool) or (log and (low <= 0 or step is not None)):
        raise BadInput(f"{where}: {key}: expected log = true with low above 0 and without step, found low {low}")
    whole = isinstance(low, int) and isinstance(high, int)
    if step is not None and (step <= 0 or (whole and not isinstance(step, int))):
        raise BadInput(f"{where}: {key}: expected a step above 0, whole where low and high are, found {step}")
    if not whole:
        low, high = float(low), float(high)
    return Parameter(key, (), low, high, log, step, when or None)


def _in_order(parameters: Sequence[Parameter], where: str) -> tuple[Parameter, ...]:
    """Each after those it looks at, else by name: the order in a file changes nothing."""
    left = {parameter.key: parameter for parameter in parameters}
    ordered: list[Parameter] = []
    while left:
        ready = [key for key in sorted(left) if not any(name in left for name in left[key].when or {})]
        if not ready:
            raise BadInput(f"{where}: {', '.join(sorted(left))} each wait for the other with when; take one out")
        ordered.append(left.pop(ready[0]))
    return tuple(ordered)


def _check(space: Space, raw: Mapping[str, Json], where: str) -> None:
    """Every value is one that RUN.toml takes, alone and beside others; BadInput otherwise."""
    config = make_config(raw)
    by_key = {parameter.key: parameter for parameter in space.parameters}
    for parameter in space.parameters:
        value_of(config, parameter.key, where)
        for key, wanted in (parameter.when or {}).items():
            there = by_key[key].holds if key in by_key else None
            if there is None:
                value_of(config, key, where)
            elif not all(map(there, wanted)):
                raise BadInput(f"{where}: {parameter.key}: when has a value of {key} that the space has not")
        for value in parameter.examples:
            make_config(_laid(space.settings(raw, _conditions(parameter, by_key)), parameter.key, value), where)
    draw = random.Random(0)
    for _ in range(_DRAWS):
        make_config(space.settings(raw, space.suggest(_Drawn(draw), config)), where)


def _conditions(parameter: Parameter, by_key: Mapping[str, Parameter]) -> dict[str, Json]:
    """The first values at which the parameter means something, and at which those do that it looks at."""
    point: dict[str, Json] = {}
    for key, wanted in (parameter.when or {}).items():
        if key in by_key:
            point |= {**_conditions(by_key[key], by_key), key: wanted[0]}
    return point


@dataclass(frozen=True)
class _Drawn:
    """Values drawn at random."""

    draw: random.Random

    def suggest_float(self, name: str, low: float, high: float, *, step: float | None, log: bool) -> float:  # noqa: ARG002
        if step is not None:
            return low + step * self.draw.randint(0, int((high - low) / step))
        return math.exp(self.draw.uniform(math.log(low), math.log(high))) if log else self.draw.uniform(low, high)

    def suggest_int(self, name: str, low: int, high: int, *, step: int, log: bool) -> int:  # noqa: ARG002
        return self.draw.randrange(low, high + 1, step)

    def suggest_categorical(self, name: str, choices: Sequence[Scalar]) -> Scalar:  # noqa: ARG002
        return self.draw.choice(choices)


def _flat(section: Mapping[str, Json], prefix: str = "") -> Iterator[tuple[str, Json]]:
    """`distill.learning_rate = {…}`, in quotes or not, as dotted name and description."""
    for name, value in section.items():
        inner = isinstance(value, Mapping) and not {*value} & {*_RANGE, _CHOICES}
        if inner and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _laid(settings: Mapping[str, Json], key: str, value: Json) -> dict[str, Json]:
    copied = deepcopy(dict(settings))
    lay(copied, key, value)
    return copied


def _drop(settings: dict[str, Json], key: str) -> None:
    *sections, last = key.split(".")
    for section in sections:
        settings = settings.get(section, {})
    settings.pop(last, None)


def _around(value: float, factor: float) -> tuple[float, float]:
    """A `factor`-th and `factor` times a number, to two digits."""
    return float(f"{value / factor:.2g}"), float(f"{value * factor:.2g}")


def _plain(parameter: Parameter) -> Json:
    fields: dict[str, Any] = {name: value for name, value in asdict(parameter).items() if name != "key"}
    fields["choices"] = list(parameter.choices)
    fields["when"] = {key: list(values) for key, values in (parameter.when or {}).items()} or None
    if parameter.choices:
        return {name: fields[name] for name in ("choices", "when") if fields[name]}
    return {
        name: value for name, value in fields.items() if name != "choices" and value is not None and value is not False
    }
