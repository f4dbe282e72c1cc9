"""The ledger: the last word on every run, whatever a kill left of the file."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from experiments.ledger import Entry, Ledger, commit_of

ENTRIES = st.lists(
    st.builds(
        Entry,
        st.sampled_from(["a", "b", "c"]),
        st.floats(0, 1e6),
        st.just("abc123+"),
        st.none() | st.text(max_size=20),
    ),
    max_size=8,
)


def test_a_ledger_that_is_not_there_has_no_entries(tmp_path: Path) -> None:
    assert Ledger(tmp_path / "none.jsonl").entries() == {}


@given(ENTRIES)
def test_it_has_the_last_word_on_every_run(tmp_path_factory: object, entries: list[Entry]) -> None:
    ledger = Ledger(tmp_path_factory.mktemp("ledger") / "l.jsonl")  # type: ignore[attr-defined]
    for entry in entries:
        ledger.add(entry)
    assert ledger.entries() == {entry.run: entry for entry in entries}


def test_a_line_cut_anywhere_takes_no_other_with_it(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "l.jsonl")
    first, second, third = (Entry(run, 1.5, "abc") for run in "xyz")
    ledger.add(first)
    whole = len(ledger.path.read_bytes())
    ledger.add(second)
    both = ledger.path.read_bytes()
    for cut in range(whole, len(both)):
        ledger.path.write_bytes(both[:cut])
        ledger.add(third)
        assert ledger.entries() == {"x": first, "z": third}


def test_a_folder_of_no_repository_has_no_commit(tmp_path: Path) -> None:
    assert commit_of(tmp_path) == ""
