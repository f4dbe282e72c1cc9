"""The variants of an arm: the settings by which runs of one name are told apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from contract.manifest import Json
from distill.config import RunConfig
from distill.reporting.outcome import RunReport
from distill.settings.section import Section

# Settings that do not make an arm: seeds, names, what runs are grouped by, and updates, which the report has.
_NOT_AN_ARM = {
    *("arm", "seed", "task.seed", "teacher.seed", "transfer_set", "transfer_set.name"),
    *("task.path", "task.target", "task.shots", "task.test_split", "task.columns", "task.kind"),
    *("student.layers", "student.width", "student.heads", "student.from"),
    *("distill.updates", "finetune.updates", "finetune.updates_alone"),
}
_OF_DISTILLING = ("distill.", "objective.")
_LEFT_OUT = ""


def arm_settings(report: RunReport) -> dict[str, str]:
    """What makes a run the arm it is, besides the retriever: dotted name -> value as text."""
    flat = {key: value for key, value in _flat(report.settings).items() if key not in _NOT_AN_ARM}
    if report.transfer_set is None:
        flat = {key: value for key, value in flat.items() if not key.startswith(_OF_DISTILLING)}
    else:
        flat["distill.updates"] = _updates(report, "distill")
    return {**flat, "finetune.updates": _updates(report, "finetune")}


def _updates(report: RunReport, phase: Literal["distill", "finetune"]) -> str:
    """Those that were made; where a phase may stop early, those it was allowed, since each seed stops by itself."""
    section = report.settings[phase]
    if section.get("patience") is None:
        return str(getattr(report.updates, phase))
    return f"up to {section.get('updates_alone') or section['updates']}"


def differing_settings(reports: Sequence[RunReport]) -> list[str]:
    """The settings, as dotted names, that are not the same in all runs that have them; see `arm_settings`.

    One that is written only where it is used differs from none.
    """
    all_settings = [(arm_settings(report), report.transfer_set is not None) for report in reports]
    differing = []
    for key in sorted({key for settings, _ in all_settings for key in settings}):
        values = {settings[key] for settings, _ in all_settings if key in settings}
        if _is_later(key):
            having = (s for s, distils in all_settings if distils or not key.startswith(_OF_DISTILLING))
            values |= {_LEFT_OUT for settings in having if key not in settings}
        if len(values) > 1:
            differing.append(key)
    return differing


def _is_later(key: str) -> bool:
    """Whether a setting is left out where it is at its default."""
    section, _, name = key.partition(".")
    if section in RunConfig.later:
        return True
    annotation = RunConfig.model_fields[section].annotation if section in RunConfig.model_fields else None
    kinds = [kind for kind in (annotation, *getattr(annotation, "__args__", ())) if isinstance(kind, type)]
    return any(name.partition(".")[0] in kind.later for kind in kinds if issubclass(kind, Section))


def _flat(settings: Mapping[str, Json], prefix: str = "") -> dict[str, str]:
    """Nested settings as dotted names -> text."""
    flat: dict[str, str] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = str(value)
    return flat
