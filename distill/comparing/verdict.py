"""What a comparison may say, in sentences: which arm won, if any did, and what to know before believing it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from distill.comparing.comparison import Comparison, Group
from distill.comparing.variants import differing_settings
from distill.judging.bootstrap import Difference
from distill.reporting.figures import count, listed, points
from distill.reporting.outcome import NO_DISTILLATION

_TOLD_BY_UPDATES = ("distill.updates", "finetune.updates")


@dataclass(frozen=True)
class Note:
    """A sentence below the table; a warning is one that can turn the result."""

    text: str
    is_warning: bool = False


def verdict(group: Group) -> str:
    """Which arm is best, and whether the test rows support that."""
    best, tied = group.best, [arm.name for arm in group.not_told_apart]
    reached = group.metric.text(best.score.value)
    if len(group.arms) == 1:
        return f"There is one arm only, {best.name}, at {reached}: nothing to compare it with."
    if tied:
        return (
            f"No winner: {best.name} scores {'lowest' if group.metric.is_error else 'highest'} ({reached}), "
            f"but the test rows do not tell it apart from {listed(tied)}."
        )
    luck = " on one seed" if any(len(arm.seeds) == 1 for arm in group.arms) else ""
    return f"Winner{luck}: {best.name}, with {reached}{_lead(group)}."


def notes(group: Group, comparison: Comparison) -> list[Note]:
    """All that must be said beside the table."""
    return [
        *_about_size(group),
        *_about_updates(group),
        *_about_settings(group),
        *_about_seeds(group),
        *_about_signs(group),
        *_about_teachers(group),
        *_about_baseline(group),
        *_about_labels(group),
        Note(_method(group, comparison)),
    ]


def about_selection(comparison: Comparison) -> list[Note]:
    """What concerns all groups: runs left out, and groups that must not be compared with each other."""
    said = []
    if comparison.unfinished:
        said.append(Note(f"Left out, because they are not finished: {listed(list(comparison.unfinished))}.", True))
    if len(comparison.groups) > 1:
        said.append(
            Note(
                "These runs differ in task, labelled rows, test rows or student: they are "
                f"{len(comparison.groups)} comparisons, and a number of one says nothing against a number of another.",
                True,
            )
        )
    return said


def difference_text(difference: Difference | None) -> str:
    """'+9.8 [+8.7, +10.9]', and a difference that the interval does not support is not called one."""
    if difference is None:
        return ""
    interval = difference.interval
    return f"{points(interval.value)} [{points(interval.low)}, {points(interval.high)}]"


def _lead(group: Group) -> str:
    difference = group.best.difference
    if difference is None or not difference.told_apart:
        return ""
    interval = difference.interval
    sign, where = (-1, "below") if group.metric.is_error else (1, "above")
    ends = sorted((sign * interval.low, sign * interval.high))
    return (
        f", {points(sign * interval.value).lstrip('+')} points {where} {group.baseline} "
        f"(95 % interval {points(ends[0]).lstrip('+')} to {points(ends[1]).lstrip('+')})"
    )


def _about_size(group: Group) -> list[Note]:
    """Law 8: arms are equal in size, or it is said by how much not."""
    sized = sorted(((arm.texts, arm.name) for arm in group.arms if arm.texts), reverse=True)
    if len(sized) < 2:
        return []
    largest = sized[0][0]
    if sized[-1][0] == largest:
        return [Note(f"All arms with a transfer set have the same number of texts, {count(largest)}.")]
    others = [f"{name} {count(texts)} ({_less(texts / largest)})" for texts, name in sized[1:]]
    return [Note(f"Arms differ in size: {sized[0][1]} has {count(largest)} texts, {listed(others)}.", True)]


def _about_updates(group: Group) -> list[Note]:
    """Arms train equally long when all their updates are as many, and those that distil part them alike."""
    distilled = [arm for arm in group.arms if arm.texts is not None]
    if len({arm.distill_updates + arm.finetune_updates for arm in group.arms}) > 1:
        arms = group.arms
    elif len({arm.distill_updates for arm in distilled}) > 1:
        arms = tuple(distilled)
    else:
        return []
    told = [f"{arm.name} {count(arm.distill_updates)} + {count(arm.finetune_updates)}" for arm in arms]
    return [Note(f"Updates differ (distill + finetune): {listed(told)}. These arms did not train alike.", True)]


def _about_settings(group: Group) -> list[Note]:
    differing = [key for key in differing_settings([run.report for run in group.runs]) if key not in _TOLD_BY_UPDATES]
    if not differing:
        return []
    return [Note(f"Runs differ in settings besides their transfer set: {listed(differing[:8])}.", True)]


def _about_seeds(group: Group) -> list[Note]:
    seeds = {arm.seeds for arm in group.arms}
    said = []
    if len(seeds) > 1:
        said.append(
            Note(f"Seeds differ: {'; '.join(f'{arm.name} {_numbers(arm.seeds)}' for arm in group.arms)}.", True)
        )
    if any(len(each) == 1 for each in seeds):
        alone = listed([arm.name for arm in group.arms if len(arm.seeds) == 1])
        said.append(Note(f"One seed only: {alone}. How much luck was in the training is not known.", True))
    return said


def _about_signs(group: Group) -> list[Note]:
    """An interval over test rows can exclude zero although the seeds do not agree on which arm is better."""
    base = next((arm for arm in group.arms if arm.name == group.baseline), None)
    if base is None:
        return []
    torn = [
        arm.name
        for arm in group.arms
        if arm.difference
        and arm.difference.told_apart
        and arm.seeds == base.seeds
        and len({own > other for own, other in zip(arm.by_seed, base.by_seed, strict=True)}) > 1
    ]
    if not torn:
        return []
    return [Note(f"Seeds do not agree whether {listed(torn)} is better than {base.name}: run more seeds.", True)]


def _about_teachers(group: Group) -> list[Note]:
    if len(group.teacher.models) < 2:
        return []
    return [Note(f"The runs had different teachers: {listed(list(group.teacher.models))}.", True)]


def _about_baseline(group: Group) -> list[Note]:
    if group.baseline is not None:
        return []
    return [
        Note(
            f"There is no run without distillation (arm {NO_DISTILLATION!r}) among these: no differences; "
            "or choose --baseline."
        )
    ]


def _about_labels(group: Group) -> list[Note]:
    unseen = group.task.unseen_labels
    if not unseen:
        return []
    return [Note(f"Labels that stand in the test only: {count(unseen)}; their rows count as wrong.")]


def _method(group: Group, comparison: Comparison) -> str:
    rows = len(group.runs[0].predictions.ids)
    return (
        f"{group.metric.title} decides: {group.metric.formula}. Differences are in "
        f"{'percentage points' if group.metric.is_share else 'hundredths'}, with the 95 % interval of a paired "
        f"bootstrap over the {count(rows)} test rows ({count(comparison.resamples)} resamples, seed "
        f"{comparison.seed}), scores averaged over seeds: it "
        "says how far other test rows would move them, not other seeds; ± is the standard deviation over seeds. "
        "Distillation ratio = (arm − plain) / (teacher − plain). Effects are beside the baseline, where an arm is told "
        "apart from it: the share of its errors that the arm does not make, and Hedges’ g, the difference over the "
        "deviation of a seed."
    )


def _less(share: float) -> str:
    """0.982 -> '−1.8 %'."""
    return f"{points(share - 1)} %"


def _numbers(seeds: Sequence[int]) -> str:
    return ", ".join(map(str, seeds))
