"""The compose file and the image: parsed, and every service's own command run as a process with its environment.

There is no container engine here: what differs is where /artifacts lies, and the database, which is SQLite.
"""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from contract.store import Store
from indexer.corpus import build_corpus
from jobs.process import BUILDERS
from service.settings import Settings
from tests.service.test_server import ROOT, started, until

COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
WORKERS = ("build-worker", "distill-worker")
OURS = ("api", *WORKERS, "indexer")
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def command(service: str) -> list[str]:
    """The service's command, variables at their defaults; `transferset` is the module of that name."""
    words = [re.sub(r"\$\{\w+:-(\w+)\}", r"\1", word) for word in SERVICES[service]["command"]]
    assert words[0] == "transferset"
    return ["-m", *words]


def environment(service: str, artifacts: Path) -> dict[str, str]:
    """The service's environment, on this machine: its folder, a SQLite file, a free port of the loopback address."""
    here = {
        "TRANSFERSET_ARTIFACTS": str(artifacts),
        "TRANSFERSET_DATABASE": f"sqlite:///{artifacts}/jobs.sqlite",
        "TRANSFERSET_HOST": "127.0.0.1",
        "TRANSFERSET_PORT": "0",
        "TRANSFERSET_HEALTH_FILE": str(artifacts / "worker.alive"),
    }
    return {name: here.get(name, value) for name, value in SERVICES[service]["environment"].items()}


def healthcheck(service: str, **replaced: str) -> list[str]:
    """The service's health check as a Python command, with addresses and paths of this machine."""
    kind, python, *words = SERVICES[service]["healthcheck"]["test"]
    assert (kind, python) == ("CMD", "python")
    for there, here in replaced.items():
        words = [
            word.replace({"address": "http://127.0.0.1:8000", "file": "/tmp/worker.alive"}[there], here)
            for word in words
        ]
    return words


def test_the_file_is_what_compose_reads() -> None:
    schema = ["--builtin-schema", "vendor.compose-spec"]
    check = [sys.executable, "-m", "check_jsonschema", *schema, str(ROOT / "docker-compose.yml")]
    assert subprocess.run(check, capture_output=True, text=True, check=False).stdout == "ok -- validation done\n"


def test_the_services_are_there_and_the_indexer_is_a_job() -> None:
    assert set(SERVICES) == {*OURS, "postgres"}
    assert [name for name in SERVICES if SERVICES[name].get("profiles") == ["job"]] == ["indexer"]


@pytest.mark.parametrize("name", OURS)
def test_our_services_run_as_nobody_on_one_named_volume(name: str) -> None:
    service = SERVICES[name]
    assert service["user"] == "10001:10001"
    assert service["cap_drop"] == ["ALL"]
    assert service["volumes"] == ["artifacts:/artifacts"]
    assert service["read_only"] is True
    assert [mount.partition(":")[0] for mount in service["tmpfs"]] == ["/tmp"]
    assert service["environment"]["TRANSFERSET_ARTIFACTS"] == "/artifacts"
    assert {"artifacts", "postgres"} == set(COMPOSE["volumes"])


@pytest.mark.parametrize("name", ["api", *WORKERS, "postgres"])
def test_what_stays_up_is_checked_and_started_again(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"][0] == "CMD"
    assert SERVICES[name]["restart"] == "unless-stopped"


@pytest.mark.parametrize("name", ["api", *WORKERS])
def test_what_needs_the_database_waits_for_it(name: str) -> None:
    assert SERVICES[name]["depends_on"] == {"postgres": {"condition": "service_healthy"}}


def test_nothing_is_open_to_the_network() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports == ["127.0.0.1:8000:8000"]


def test_no_password_stands_in_the_file() -> None:
    assert "${POSTGRES_PASSWORD:?" in SERVICES["postgres"]["environment"]["POSTGRES_PASSWORD"]
    assert "${POSTGRES_PASSWORD:?" in SERVICES["api"]["environment"]["TRANSFERSET_DATABASE"]


@pytest.mark.parametrize("name", OURS)
def test_every_variable_is_a_setting(name: str) -> None:
    known = {f"TRANSFERSET_{field.upper()}" for field in Settings.model_fields}
    assert {variable for variable in SERVICES[name]["environment"] if variable != "HF_HOME"} <= known


def test_uploads_fit_into_the_folder_they_are_received_in() -> None:
    size = re.search(r"size=(\d+)g", SERVICES["api"]["tmpfs"][0])
    assert size is not None
    uploads = int(SERVICES["api"]["environment"]["TRANSFERSET_MAX_UPLOADS"])
    assert uploads * Settings.model_fields["max_upload_bytes"].default <= int(size[1]) * 2**30


def test_each_worker_has_a_queue_of_its_own_and_its_image_what_that_needs() -> None:
    queues = [SERVICES[name]["command"][-1] for name in WORKERS]
    assert queues == list(BUILDERS)
    extras = SERVICES["distill-worker"]["build"]["args"]["EXTRAS"].split(",")
    assert extras == ["distill", "jobs", "minilm"]
    assert "ARG EXTRAS=service,minilm" in DOCKERFILE


@pytest.mark.parametrize("name", WORKERS)
def test_a_worker_has_longer_to_stop_than_it_takes(name: str) -> None:
    grace = int(SERVICES[name]["stop_grace_period"].removesuffix("s"))
    assert grace > Settings.model_fields["stop_seconds"].default


def test_the_image_is_a_slim_python_that_installs_the_pinned_versions_and_runs_as_nobody() -> None:
    lines = DOCKERFILE.splitlines()
    assert "FROM python:3.11-slim" in lines
    assert 'RUN pip install --constraint constraints.txt ".[${EXTRAS}]"' in lines
    assert lines.index("USER transferset") > max(n for n, line in enumerate(lines) if line.startswith("RUN"))
    assert "--uid 10001" in DOCKERFILE


def test_the_image_copies_all_that_the_package_is_made_of() -> None:
    """A package that pyproject.toml names and the image lacks would be noticed on the server, at its first import."""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    copied = {word for line in DOCKERFILE.splitlines() if line.startswith("COPY") for word in shlex.split(line)[1:-1]}
    needed = {*(f"{name}.py" for name in project["py-modules"])}
    needed |= {name.rstrip("*") for name in project["packages"]["find"]["include"]}
    assert needed <= copied | {name.removesuffix("/") for name in copied}
    assert {"pyproject.toml", "constraints.txt"} <= copied


@pytest.mark.slow
def test_every_command_runs_and_every_health_check_holds(tmp_path: Path) -> None:
    """The indexer's job builds an index, the api finds neighbours in it, the worker builds a set of it."""
    artifacts = tmp_path / "artifacts"
    (artifacts / "tasks").mkdir(parents=True)
    (tmp_path / "web.txt").write_text("play some jazz tonight\nbook a table for two\nthe weather is cold\n")
    (artifacts / "tasks" / "music.jsonl").write_text('{"text": "play me some jazz please"}\n')
    build_corpus(Store(artifacts), "corpus", [str(tmp_path / "web.txt")])
    lexical = ["--retrievers", "lexical"]  # the image brings an encoder, these tests do not need one
    with started(artifacts, *command("indexer"), *lexical, **environment("indexer", artifacts)) as indexer:
        assert indexer.process.wait(120) == 0, indexer.said
    with (
        started(artifacts, *command("api"), **environment("api", artifacts)) as api,
        api.client() as client,
        started(artifacts, *command("build-worker"), **environment("build-worker", artifacts)) as worker,
    ):
        found = client.post("/v1/neighbours", json={"index": "index", "utterances": ["some jazz"], "k": 1}).json()
        assert found["utterances"][0]["neighbours"][0]["text"] == "play some jazz tonight"
        order = {"name": "set", "index": "index", "task": "music", "k": 1}
        location = client.post("/v1/transfer-sets", json=order).headers["location"]
        until(lambda: client.get(location).json()["state"] == "finished", seconds=60)
        until((artifacts / "worker.alive").exists)
        for service, replaced in (
            ("api", {"address": str(client.base_url)}),
            ("build-worker", {"file": str(artifacts / "worker.alive")}),
        ):
            with started(artifacts, *healthcheck(service, **replaced)) as check:
                assert check.process.wait(30) == 0, check.said
        assert worker.send(signal.SIGTERM) == 0
        assert api.send(signal.SIGTERM) == 0
    with started(artifacts, *healthcheck("api", address="http://127.0.0.1:9")) as check:
        assert check.process.wait(30) != 0
