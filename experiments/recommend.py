"""Paper C's recommender, judged: does anything rank the recipes of a task it has not seen better than the average?

`python -m experiments recommend` judges, leaving out one task after the other, and writes raw results and a page.
`python -m experiments.recommend --runs STORE` makes the evidence that ships, and judges it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow as pa
import typer

from contract.artifact import write_parquet
from contract.console import answer, make_app, progress_shown, run
from contract.manifest import write_whole
from contract.task import read_task
from distill.recommending.evidence import EVIDENCE, BoardName, Run, boards_of, merged, shipped_evidence, write_evidence
from distill.recommending.judgement import JUDGEMENT, Judgement, TaskJudgement, write_judgements
from distill.recommending.leave_one_out import LEARNT, RANDOM, judge, mean_interval
from distill.recommending.own_runs import read_runs
from distill.recommending.published import LICENCE, SOURCE, published_runs
from distill.recommending.ranking import AVERAGE, LEARNED, forest_of_ratios
from distill.recommending.task_features import TaskFeatures, features_of
from distill.reporting.page import Markup, heading, page, section, table, tag
from distill.reporting.plots import Dot, Role, dot_plot
from experiments.data import real_data

NAME = "recommend"
PACKAGE = Path(__file__).parents[1] / "distill" / "recommending"
OF_RATIOS = "forest of ratios"
SHOWN = (AVERAGE, LEARNT, *LEARNED, OF_RATIOS, RANDOM)
MEASURES = ("spearman", "context_spearman", "regret_of_five", "regret_of_one")
# papers.md has these eight of AutoDistiller's way, remade from its runs; it names the tasks of three.
OF_PAPERS = (0.64, 0.51, 0.24, 0.09, 0.07, -0.02, -0.04, -0.31)
_KNOWN = {"sst-2": "sst2", "mrpc": "mrpc", "rte": "rte", "cola": "cola", "stsb": "stsb"}  # whose text is at hand
_TITLES = {
    "spearman": "Spearman over all runs of the task left out",
    "context_spearman": "Spearman over the recipes of one student and teacher",
    "regret_of_five": "Regret of the best of five, points of the teacher’s score",
    "regret_of_one": "Regret of the first choice, points of the teacher’s score",
}


def run_recommend(folder: Path, *, quick: bool = False) -> None:
    """Judge the shipped evidence and write `recommend.parquet` and `recommend.html` into the folder."""
    rankers = {"choices": LEARNED["choices"]} if quick else LEARNED
    beside = {} if quick else {OF_RATIOS: forest_of_ratios}
    with progress_shown() as progress:
        judged = {
            board: judge(runs, progress=progress, learned=rankers, beside=beside)
            for board, runs in boards_of(shipped_evidence()).items()
        }
    folder.mkdir(parents=True, exist_ok=True)
    write_parquet(raw_results(judged), folder / f"{NAME}.parquet")
    write_whole(folder / f"{NAME}.html", rendered(judged["distiller"]).encode())
    for line in said(judged["distiller"]):
        answer.print(line, markup=False, highlight=False, soft_wrap=True)
    answer.print(f"page: {folder / NAME}.html", markup=False, highlight=False, soft_wrap=True)


def raw_results(judged: Mapping[BoardName, Judgement]) -> pa.Table:
    """One row a board, task, ranker and measure; a value is null where the task says nothing."""
    return pa.Table.from_pylist(
        [
            {"board": board, "task": task.task, "runs": task.runs, "recipes": task.recipes, "ranker": ranker,
             "chosen": task.chosen if ranker == LEARNT else None, "measure": measure, "value": value}
            for board, judgement in judged.items()
            for task in judgement.tasks
            for measure, values in _measures(task).items()
            for ranker, value in values.items()
        ]
    )  # fmt: skip


def _measures(task: TaskJudgement) -> dict[str, Mapping[str, float | None]]:
    covered = {
        f"{what}_coverage": {ranker: pair[number] for ranker, pair in task.covered.items()}
        for number, what in enumerate(("kept", "gain"))
    }
    return {**{measure: getattr(task, measure) for measure in MEASURES}, **covered}


def said(judgement: Judgement) -> list[str]:
    """Every measure's mean over tasks by ranker, with its interval, and what is used for it."""
    lines = [f"{len(judgement.tasks)} tasks, student and teacher of the regrets: {', '.join(judgement.context)}"]
    lines.append(f"papers.md, AutoDistiller's way: mean Spearman {np.mean(OF_PAPERS):.2f}")
    for measure in MEASURES:
        means = [f"{ranker} {text}" for ranker in SHOWN if (text := _mean_text(judgement, measure, ranker))]
        lines.append(f"{measure}: {'; '.join(means)}")
    for what, interval in (
        ("learned minus average", judgement.against_average),
        ("used minus random", judgement.against_random),
    ):
        if interval is not None:
            lines.append(
                f"regret of five, {what}: {interval.value:+.2f} [{interval.low:+.2f}, {interval.high:+.2f}], "
                f"p {interval.p:.2f}"
            )
    lines.append(f"against a tuned study: not judged, there is none; intervals: {asdict(judgement.margins)}")
    lines.append(
        "Which rankers there are was settled after a look at these eight tasks, so that the single ones flatter "
        "themselves; which of them stands as “learned” is chosen for each task without it."
    )
    lines.append(f"recommend uses: {judgement.uses}")
    return lines


def _mean_text(judgement: Judgement, measure: str, ranker: str) -> str:
    values = _values(judgement, measure, ranker)
    if not values:
        return ""
    found = mean_interval(np.array(values), seed=0)
    return f"{found.value:.2f} [{found.low:.2f}, {found.high:.2f}]"


def _values(judgement: Judgement, measure: str, ranker: str) -> list[float]:
    found = [getattr(task, measure).get(ranker) for task in judgement.tasks]
    return [value for value in found if value is not None]


def rendered(judgement: Judgement) -> str:
    """The page."""
    uses = "“always the best on average”" if judgement.uses == AVERAGE else f"“{judgement.uses}”"
    lead = f"Each task left out in turn. The recommender uses {uses}, as what came out here decides."
    return page(
        "Recommender · Transferset",
        heading("experiment", "Which recipe for a new task?", lead),
        *(_section(judgement, measure) for measure in MEASURES),
        section("In short", tag("ul", *(tag("li", line) for line in said(judgement)))),
    )


def _section(judgement: Judgement, measure: str) -> Markup:
    rankers = [ranker for ranker in SHOWN if _values(judgement, measure, ranker)]
    dots = [_dot(judgement, measure, ranker) for ranker in rankers]
    rows = [(task.task, *(_cell(getattr(task, measure).get(ranker)) for ranker in rankers)) for task in judgement.tasks]
    plot = dot_plot(dots, _TITLES[measure], text=lambda value: f"{value:.2f}")
    caption = "Dots are means over tasks, bars the 95 % interval had other tasks been drawn, rings single tasks."
    return section(
        _TITLES[measure], tag("figure", plot, tag("figcaption", caption)), table("By task", ("Task", *rankers), rows)
    )


def _dot(judgement: Judgement, measure: str, ranker: str) -> Dot:
    values = _values(judgement, measure, ranker)
    found = mean_interval(np.array(values), seed=0)
    role: Role = "best" if ranker == judgement.uses else "plain" if ranker in (RANDOM, OF_RATIOS) else "arm"
    return Dot(ranker, found.value, role, (found.low, found.high), tuple(values))


def _cell(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


app = make_app("recommend", "The evidence that ships.")


@app.command()
def build(
    runs: Annotated[list[Path], typer.Option("--runs", help="Stores of runs on public tasks; repeatable.")],
) -> None:
    """Make evidence.parquet of the published runs and of ours, judge it, and write both into the package."""
    known = {name: _known_features(file) for name, file in _KNOWN.items()}
    evidence = merged(published_runs(real_data("autodistiller"), known), read_runs(runs).runs)
    write_evidence(evidence, PACKAGE / EVIDENCE, _metadata(evidence))
    with progress_shown() as progress:
        judged = [judge(board, progress=progress) for board in boards_of(evidence).values()]
    write_judgements(judged, PACKAGE / JUDGEMENT)
    answer.print(f"{len(evidence):,} runs: {PACKAGE / EVIDENCE}", markup=False, highlight=False, soft_wrap=True)


def _known_features(file: str) -> TaskFeatures:
    return features_of(read_task(real_data("glue", f"{file}.parquet")), target="label")


def _metadata(evidence: Sequence[Run]) -> dict[str, str]:
    counted = {board: len(runs) for board, runs in boards_of(evidence).items()}
    return {
        "distiller": f"{counted['distiller']:,} runs from {SOURCE}; {LICENCE}",
        "transferset": f"{counted.get('transferset', 0):,} runs of this project, Apache-2.0; facts, no text",
        "made_by": "python -m experiments.recommend --runs STORE",
    }


if __name__ == "__main__":
    run(app)
