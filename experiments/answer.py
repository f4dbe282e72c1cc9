"""The answer of an experiment in a sentence a claim, which says no more than the intervals bear."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from distill.comparing.comparison import Arm, CompareOptions, compare_group
from distill.judging.bootstrap import Interval
from distill.judging.metrics import Metric
from distill.reporting.figures import listed
from experiments.compared import Compared, ComparedPart
from experiments.experiment import Claim

Verdict = Literal["better", "worse", "not told apart"]
_SAID: Mapping[Verdict, str] = MappingProxyType(
    {"better": "better than", "worse": "worse than", "not told apart": "not told apart from"}
)


@dataclass(frozen=True)
class Duel:
    """Two arms of a part: `interval` is of the first minus the second, over test rows.

    It is better, or worse, where the interval does not hold zero and no seed says otherwise.
    """

    part: str
    than: str
    metric: Metric
    interval: Interval
    verdict: Verdict


@dataclass(frozen=True)
class Answered:
    """A claim beside what came out of it; no duels where runs are missing."""

    claim: Claim
    duels: tuple[Duel, ...]


def answers_of(compared: Compared) -> list[Answered]:
    """Each claim of the experiment, over the parts that have both its arms."""
    named = dict(zip(*(compared.results[column].to_pylist() for column in ("arm", "report_arm")), strict=True))
    return [
        Answered(
            claim,
            tuple(
                duel
                for than in claim.than
                for part in compared.parts
                if (duel := _duel(part, named.get(claim.arm), named.get(than))) is not None
            ),
        )
        for claim in compared.experiment.claims
    ]


def sentence_of(answered: Answered) -> str:
    """'“retrieved” is better than generic-random on 2 of 3 (not told apart: trec), than …'."""
    arm, by_rival = answered.claim.arm, defaultdict[str, list[Duel]](list)
    for duel in answered.duels:
        by_rival[duel.than].append(duel)
    if not by_rival:
        return f"Not answered yet: no part has runs of “{arm}” and of what it is measured beside."
    return f"“{arm}” is {listed([_beside(rival, duels) for rival, duels in by_rival.items()])}."


def _beside(rival: str, duels: Sequence[Duel]) -> str:
    """'better than augmented on 1 of 3 (worse: snips; not told apart: trec)'."""
    parts = {verdict: [duel.part for duel in duels if duel.verdict == verdict] for verdict in _SAID}
    found = [verdict for verdict, names in parts.items() if names]
    if len(found) == 1:
        return f"{_SAID[found[0]]} {rival}{f' on all {len(duels)}' if len(duels) > 1 else ''}"
    others = "; ".join(f"{verdict}: {', '.join(parts[verdict])}" for verdict in found if verdict != "better")
    return f"better than {rival} on {len(parts['better'])} of {len(duels)} ({others})"


def _duel(part: ComparedPart, arm: str | None, than: str | None) -> Duel | None:
    group = part.deciding
    both = [run for run in group.runs if run.arm in (arm, than)]
    if arm is None or than is None or arm == than or len({run.arm for run in both}) < 2:
        return None
    options = CompareOptions(baseline=than, metric=_name_of(part), variants=False)
    arms = {each.name: each for each in compare_group(both, options).arms}
    difference = arms[arm].difference
    assert difference is not None
    sign = -1 if group.metric.is_error else 1
    gained = sign * difference.interval.value
    told = difference.told_apart and _agree(arms[arm], arms[than], sign)
    verdict: Verdict = "not told apart" if not told else "better" if gained > 0 else "worse"
    return Duel(part.name, than, group.metric, difference.interval, verdict)


def _agree(arm: Arm, than: Arm, sign: int) -> bool:
    """Whether the seeds that both have say the same of which is better."""
    ours, theirs = (dict(zip(each.seeds, each.by_seed, strict=True)) for each in (arm, than))
    return len({sign * (ours[seed] - theirs[seed]) > 0 for seed in ours.keys() & theirs.keys()}) < 2


def _name_of(part: ComparedPart) -> str:
    return next(iter(part.by_metric))
