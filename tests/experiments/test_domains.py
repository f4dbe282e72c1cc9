"""Domains: gains on the rows of each, beside how like its text is to the generic text."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from contract.store import Store
from contract.task import read_task
from distill.reporting.page import heading, page
from experiments.compared import Compared, compare_results
from experiments.domains import OWN_TEXT, Domain, correlations_of, domains_of, domains_of_rows, write_domains
from experiments.experiment import Experiment, PlannedRun
from experiments.mixing import METRICS, RUN_TOML
from experiments.results import results_table
from experiments.similarity import Similarity
from tests.distill.pages import check_page
from tests.distill.runs import keep_run, make_predictions, make_report
from tests.distill.tiny import make_transfer_set, neighbour
from tests.experiments.test_similarity import bags

DOMAINS = 12
ROWS = 240
ARMS = {"no distillation": 0.6, "taught-generic-100": 0.7, "taught-generic-0": 0.8}
WORDS = ["alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel", "india", "juliett", "kilo", "lima"]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Store, Compared]:
    """A task of twelve domains, a set of generic text, and runs of three arms with two seeds."""
    store = Store(tmp_path / "artifacts")
    rows = [
        {"id": f"{split}-{n}", "text": f"{domain} word {n}", "intent": "i", "domain": domain, "split": split}
        for split in ("train", "test")
        for n, domain in enumerate(WORDS * (ROWS // DOMAINS))
    ]
    task = tmp_path / "many.parquet"
    pq.write_table(pa.Table.from_pylist(rows), task)
    passages = [neighbour(f"{WORDS[0]} {WORDS[1]} and more of a kind {n}") for n in range(5)]
    make_transfer_set(store, "many-generic-100", [{"utterance_id": "u", "text": "t", "neighbours": passages}])
    runs = []
    for arm, score in ARMS.items():
        for seed in range(2):
            name = f"many-{arm.replace(' ', '-')}-{seed}"
            keep_run(store, make_report(name, arm, seed), make_predictions(score, rows=ROWS, seed=seed, shuffled=True))
            settings = ("--set", f"task.path={task}", "--set", "transfer_set.name=many-generic-100")
            runs.append(PlannedRun("many-dc", arm, seed, ("distill", str(RUN_TOML), "--name", name, *settings)))
    monkeypatch.setattr("experiments.results.is_finished", lambda store, run: run.name in store.names("run"))
    experiment = Experiment("mixing", "How much?", "no distillation", METRICS, tuple(runs))
    return store, compare_results(store, experiment, results_table(store, experiment))


def test_a_gain_is_the_difference_of_accuracies_on_the_rows_of_the_domain(world: tuple[Store, Compared]) -> None:
    found = {domain.domain: domain for domain in domains_of(*world, bags, fewest=10)}
    assert sorted(found) == sorted(WORDS)
    runs = world[1].parts[0].deciding.runs
    for number, word in enumerate(WORDS):
        rows = [f"test-{row}" for row in range(ROWS) if row % DOMAINS == number]
        scores: dict[str, list[float]] = {arm: [] for arm in ARMS}
        for run in runs:
            said = run.predictions.table.to_pylist()
            right = [row["gold"] == row["predicted"] for row in said if row["id"] in rows]
            scores[run.arm].append(sum(right) / len(rows))
        plain, generic, own = (100 * sum(scores[arm]) / 2 for arm in ARMS)
        gains = found[word].gains
        assert gains == pytest.approx(
            {"generic 100 %": generic - plain, "generic 0 %": own - plain, OWN_TEXT: own - generic}
        )
        assert found[word].test_rows == len(rows)


def test_the_generic_text_is_what_its_arm_learnt_from(world: tuple[Store, Compared]) -> None:
    found = {domain.domain: domain.similarity for domain in domains_of(*world, bags, fewest=10)}
    assert min(found[WORDS[0]].predictability, found[WORDS[1]].predictability) > found["golf"].predictability
    assert found[WORDS[0]].vocabulary > found["golf"].vocabulary


def test_few_domains_are_no_ranking(world: tuple[Store, Compared], tmp_path: Path) -> None:
    assert list(domains_of(*world, bags, fewest=DOMAINS + 1)) == []
    assert write_domains(*world, tmp_path, bags, fewest=DOMAINS + 1) == ""
    assert not (tmp_path / "domains.parquet").exists()


def test_both_tables_and_the_section_are_written(world: tuple[Store, Compared], tmp_path: Path) -> None:
    section = write_domains(*world, tmp_path, bags)
    check_page(page("t", heading("experiment", "t", "lead"), section))
    assert pq.read_table(tmp_path / "domains.parquet")["domain"].to_pylist() == sorted(WORDS)
    pairs = pq.read_table(tmp_path / "correlations.parquet").to_pylist()
    assert {pair["points"] for pair in pairs} == {DOMAINS}
    assert len(pairs) == len({(pair["gain"], pair["measure"]) for pair in pairs})
    assert "by luck alone" in section


def test_a_gain_that_follows_a_measure_is_found_there_and_not_elsewhere() -> None:
    domains = [
        Domain("p", str(n), 10, Similarity(n / 20, (7 * n % 18) / 18, 0.5, -n), {"g": float(n * n)}) for n in range(18)
    ]
    found = {each.measure: each.correlation for each in correlations_of(domains)}
    assert found["nearest"].rho == 1
    assert found["predictability"].rho == -1
    assert not found["centre"].is_shown
    assert "vocabulary" not in found  # one number for all


def test_rows_are_found_by_their_ids_in_any_order(tmp_path: Path) -> None:
    rows = [{"id": f"r{n}", "text": "t", "intent": "i", "domain": "ab"[n % 2] if n < 4 else None} for n in range(5)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "t.parquet")
    found = domains_of_rows(read_task(tmp_path / "t.parquet"), ["r4", "r3", "r0", "r2", "r1"])
    assert found == {"a": [2, 3], "b": [1, 4]}
