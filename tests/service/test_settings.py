"""Settings: what the environment and the command line may say, and what is said of what they may not."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.errors import BadInput
from service.settings import Settings, read_settings


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"TRANSFERSET_{name.upper()}", raising=False)


def test_without_settings_the_service_listens_to_this_machine_alone() -> None:
    assert read_settings().host == "127.0.0.1"


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRANSFERSET_PORT", "8123")
    monkeypatch.setenv("TRANSFERSET_ARTIFACTS", "/srv/artifacts")
    settings = read_settings()
    assert (settings.port, settings.store.root) == (8123, Path("/srv/artifacts"))


def test_the_command_line_goes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRANSFERSET_PORT", "8123")
    assert read_settings(port=9000).port == 9000


def test_an_option_that_was_not_given_leaves_the_environment_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRANSFERSET_WORKERS", "3")
    assert read_settings(workers=None).workers == 3


def test_an_unknown_setting_is_refused_by_name_with_those_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRANSFERSET_PROT", "8123")
    with pytest.raises(BadInput, match=r"TRANSFERSET_PROT: no such setting; there are .*TRANSFERSET_PORT"):
        read_settings()


def test_other_variables_are_nobodys_business(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRANSFERRED", "yes")
    monkeypatch.setenv("TRANSFERSET_DATA", "/data")  # where benchmarks look
    read_settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [("port", 70_000), ("port", -1), ("port", "http"), ("workers", -1), ("max_k", 0), ("poll_seconds", 0)],
)
def test_a_value_out_of_bounds_is_one_sentence_that_names_the_setting(name: str, value: object) -> None:
    with pytest.raises(BadInput, match=rf"^setting {name} \(TRANSFERSET_{name.upper()}\): "):
        read_settings(**{name: value})


@pytest.mark.parametrize("url", ["mysql://u:secret@h/d", "secret", "", "redis://:secret@h"])
def test_a_database_we_do_not_run_on_is_refused_without_repeating_its_password(url: str) -> None:
    with pytest.raises(BadInput, match="expected sqlite:///FILE or postgresql") as raised:
        read_settings(database=url)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("url", ["sqlite:////tmp/jobs.sqlite", "postgresql+psycopg://u:p@h/d", "postgresql://u@h/d"])
def test_databases_we_run_on_are_taken(url: str) -> None:
    assert read_settings(database=url).database_url == url


def test_the_jobs_lie_in_sqlite_below_the_artifacts_unless_told_otherwise(tmp_path: Path) -> None:
    assert read_settings(artifacts=tmp_path).database_url == f"sqlite:///{tmp_path}/jobs.sqlite"


def test_a_relative_artifacts_folder_gives_a_database_that_does_not_move_with_the_working_directory() -> None:
    assert read_settings(artifacts="here").database_url == f"sqlite:///{Path('here').absolute()}/jobs.sqlite"


def test_tasks_lie_below_the_artifacts_unless_told_otherwise(tmp_path: Path) -> None:
    assert read_settings(artifacts=tmp_path).tasks_folder == tmp_path / "tasks"
    assert read_settings(artifacts=tmp_path, tasks="/srv/tasks").tasks_folder == Path("/srv/tasks")


def test_every_setting_is_described() -> None:
    assert all(field.description for field in Settings.model_fields.values())


@given(st.dictionaries(st.sampled_from(sorted(Settings.model_fields)), st.none() | st.integers() | st.text()))
def test_whatever_is_given_is_taken_or_refused_with_a_sentence(given_values: dict[str, object]) -> None:
    said = ""
    try:
        read_settings(**given_values)
    except BadInput as error:
        said = error.message
    assert not said or said.startswith("setting ")
