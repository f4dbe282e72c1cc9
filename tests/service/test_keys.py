"""API keys: shown once, kept as hashes, ended at once, and never a reason to let somebody in."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from contract.errors import BadInput, CorruptArtifact, NameTaken, NotFound
from service.keys import SCOPES, KeyRing
from service.keys_cli import keys_app


@pytest.fixture
def ring(tmp_path: Path) -> KeyRing:
    return KeyRing(tmp_path / "keys.json", clock=lambda: 1_760_000_000.0)


def test_a_key_is_found_by_its_secret_and_by_nothing_else(ring: KeyRing) -> None:
    key, secret = ring.create("ann", "write")
    assert ring.find(secret) == key
    for other in (secret[:-1], secret + "a", secret.upper(), key.sha256, key.fingerprint, "ann", "", "tset_"):
        assert ring.find(other) is None


@given(st.text(max_size=60))
def test_no_text_whatever_is_a_key(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    ring = KeyRing(tmp_path_factory.mktemp("keys") / "keys.json")
    ring.create("ann", "read")
    assert ring.find(text) is None


def test_the_file_has_no_secret_in_it_and_is_its_owners_alone(ring: KeyRing) -> None:
    _, secret = ring.create("ann", "write")
    assert secret.removeprefix("tset_") not in ring.path.read_text()
    assert stat.S_IMODE(ring.path.stat().st_mode) == 0o600


def test_each_scope_may_what_those_before_it_may(ring: KeyRing) -> None:
    for held, scope in enumerate(SCOPES):
        key, _ = ring.create(scope, scope)
        assert [key.may(asked) for asked in SCOPES] == [place <= held for place in range(3)]


def test_a_revoked_key_is_none_and_another_process_knows_at_once(ring: KeyRing) -> None:
    elsewhere = KeyRing(ring.path)
    key, secret = ring.create("ann", "read")
    assert elsewhere.find(secret) is not None
    ring.revoke(key.fingerprint)
    assert elsewhere.find(secret) is None
    with pytest.raises(NotFound, match="those that do: none"):
        ring.revoke("ann")
    assert [entry.revoked_at for entry in ring.entries()] == [1_760_000_000]


def test_a_name_is_free_again_once_its_key_is_revoked(ring: KeyRing) -> None:
    ring.create("ann", "read")
    with pytest.raises(NameTaken):
        ring.create("ann", "read")
    ring.revoke("ann")
    ring.create("ann", "read")


def test_with_all_keys_revoked_or_their_file_gone_nobody_comes_in(ring: KeyRing) -> None:
    assert not ring.is_asked_for
    _, secret = ring.create("ann", "read")
    ring.revoke("ann")
    assert ring.is_asked_for
    assert KeyRing(ring.path).is_asked_for
    ring.path.unlink()
    assert ring.is_asked_for, "a file that vanishes opens nothing"
    assert ring.find(secret) is None


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"keys": [{}]}', '{"keys": [{"name": "a"}]}', "\0"])
def test_a_file_that_is_none_of_ours_is_an_error_and_lets_nobody_in(ring: KeyRing, content: str) -> None:
    ring.path.write_text(content)
    with pytest.raises(CorruptArtifact, match="no file of API keys"):
        ring.find("tset_" + "a" * 43)


def test_many_processes_that_make_keys_at_once_lose_none(ring: KeyRing) -> None:
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda n: KeyRing(ring.path).create(f"k{n}", "read"), range(24)))
    assert len(ring.entries()) == 24


@pytest.mark.parametrize("name", ["", "../a", "a b", "a" * 101])
def test_a_name_that_is_none_is_refused(ring: KeyRing, name: str) -> None:
    with pytest.raises(BadInput):
        ring.create(name, "read")


def test_the_commands_make_list_and_end_keys(tmp_path: Path) -> None:
    def run(*arguments: str) -> str:
        done = CliRunner().invoke(keys_app, [*arguments, "--artifacts", str(tmp_path)], catch_exceptions=False)
        assert done.exit_code == 0
        return done.stdout

    secret = run("create", "ann", "--scope", "admin").strip()
    found = KeyRing(tmp_path / "keys.json").find(secret)
    assert found is not None
    assert (found.name, found.scope) == ("ann", "admin")
    assert secret not in run("list") + run("list", "--json")
    assert found.sha256 not in run("list") + run("list", "--json")
    run("revoke", "ann")
    assert KeyRing(tmp_path / "keys.json").find(secret) is None
