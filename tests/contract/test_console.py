"""Claims about the commands' manners: one sentence for an error, JSON when asked, plain lines in a log."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract import console, errors
from contract.console import make_app, print_json, progress_shown, read_map, run, store_at
from contract.errors import BadInput, TransfersetError

ROOT = Path(__file__).parents[2]
HOSTILE = "name \x1b[2J\x1b]0;owned\x07 [red]text[/] [/] \\[bold] :bomb: \u202e \udcff\nnext"


def fail_with(error: BaseException) -> int:
    app = make_app("fail", "Fails.")

    @app.command()
    def command() -> None:
        raise error

    sys.argv = ["fail"]
    with pytest.raises(SystemExit) as exit_:
        run(app)
    code = exit_.value.code
    assert isinstance(code, int)
    return code


@pytest.fixture(autouse=True)
def _restored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["fail", "--nothing"])


def test_an_error_is_one_sentence_on_stderr_and_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert fail_with(BadInput("data/x.csv has no column 'text'; map one")) == 2
    assert capsys.readouterr() == ("", "error data/x.csv has no column 'text'; map one\n")


def test_a_long_sentence_is_not_broken_into_lines(capsys: pytest.CaptureFixture[str]) -> None:
    fail_with(BadInput("word " * 200 + "end"))
    assert capsys.readouterr().err.count("\n") == 1


def test_hostile_words_in_an_error_are_neither_obeyed_nor_lost(capsys: pytest.CaptureFixture[str]) -> None:
    assert fail_with(BadInput(HOSTILE)) == 2
    assert capsys.readouterr().err == ("error name ?[2J?]0;owned? [red]text[/] [/] \\[bold] :bomb: ? ? next\n")


@given(st.text(max_size=60))
def test_no_message_can_send_a_terminal_a_control_character(message: str) -> None:
    assert console.plain(message).isprintable() or message == ""
    assert len(console.plain(message)) == len(message)


def test_what_the_system_refuses_is_a_sentence_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert fail_with(PermissionError(13, "Permission denied", "/srv/artifacts")) == 2
    assert capsys.readouterr().err == "error The system refused /srv/artifacts: Permission denied\n"


def test_a_library_that_is_not_installed_is_named_with_what_to_install(capsys: pytest.CaptureFixture[str]) -> None:
    assert fail_with(ModuleNotFoundError("No module named 'faiss'", name="faiss")) == 2
    said = capsys.readouterr().err
    assert said.startswith("error This command needs the library faiss, which is not installed; ")
    assert "pip install 'transferset[indexer]'" in said


@pytest.mark.parametrize(
    ("library", "extra"), [("optuna", "tune"), ("sklearn.cluster", "tune"), ("onnx", "onnx"), ("onnxruntime", "onnx")]
)
def test_a_library_of_an_extra_of_its_own_is_named_with_it(
    library: str, extra: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fail_with(ModuleNotFoundError(f"No module named {library!r}", name=library)) == 2
    assert capsys.readouterr().err.endswith(f"not installed; install it with: pip install 'transferset[{extra}]'\n")


def test_ctrl_c_is_130_and_says_how_to_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert fail_with(KeyboardInterrupt()) == 130
    assert capsys.readouterr().err.endswith("stopped; the same command goes on from here\n")


def test_a_wrong_option_is_exit_code_2() -> None:
    app = make_app("x", "X.")
    app.command()(lambda: None)
    sys.argv = ["x", "--nonsense"]
    with pytest.raises(SystemExit) as exit_:
        run(app)
    assert exit_.value.code == 2


def test_a_bug_keeps_its_traceback() -> None:
    app = make_app("x", "X.")

    @app.command()
    def command() -> None:
        raise ZeroDivisionError

    sys.argv = ["x"]
    with pytest.raises(ZeroDivisionError):
        run(app)


def test_a_command_in_a_process_ends_without_a_traceback_and_bears_a_closed_pipe() -> None:
    code = (
        "import sys\nfrom contract.console import make_app, print_json, run\nfrom contract.errors import NotFound\n"
        "app = make_app('x', 'X.')\n@app.command()\ndef rows() -> None:\n"
        "    for n in range(100_000): print_json({'n': n})\n"
        "@app.command()\ndef absent() -> None:\n    raise NotFound('There is no index x')\nrun(app)"
    )
    absent = subprocess.run(
        [sys.executable, "-c", code, "absent"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (absent.returncode, absent.stdout, absent.stderr) == (2, "", "error There is no index x\n")
    rows = subprocess.Popen(
        [sys.executable, "-c", code, "rows"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert rows.stdout is not None
    assert rows.stderr is not None
    assert rows.stdout.readline() == b'{"n": 0}\n'
    rows.stdout.close()
    assert rows.stderr.read() == b""
    rows.stderr.close()
    rows.wait(10)


@given(st.recursive(st.none() | st.integers() | st.text(st.characters(), max_size=9), st.lists, max_leaves=5))
def test_json_is_one_line_that_reads_back_and_no_terminal_obeys(value: object) -> None:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        print_json(value)
    line = out.getvalue()
    assert line.endswith("\n")
    assert line.count("\n") == 1
    assert json.loads(line) == value
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in line[:-1])
    line.encode()


def test_json_keeps_letters_readable_and_has_no_nan(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"text": "größe 語"})
    assert capsys.readouterr().out == '{"text": "größe 語"}\n'
    with pytest.raises(ValueError, match="not JSON compliant"):
        print_json(float("nan"))


@pytest.mark.parametrize(
    ("pairs", "mapping"),
    [
        (None, {}),
        ([], {}),
        (["text=sentence", "id=key"], {"text": "sentence", "id": "key"}),
        (["text=a=b"], {"text": "a=b"}),
        (["text=my column"], {"text": "my column"}),
    ],
)
def test_maps_are_ours_to_theirs(pairs: list[str] | None, mapping: dict[str, str]) -> None:
    assert read_map(pairs) == mapping


@pytest.mark.parametrize("pair", ["text", "text=", "=sentence", "", "="])
def test_a_map_without_two_sides_gets_a_sentence(pair: str) -> None:
    with pytest.raises(BadInput, match=r"--map expects OURS=THEIRS, as in --map text=sentence, found"):
        read_map([pair])


def test_the_store_is_where_the_option_says_else_where_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRANSFERSET_ARTIFACTS", "/srv")
    assert (store_at(tmp_path).root, store_at(None).root) == (tmp_path, Path("/srv"))


def test_progress_in_a_log_is_plain_lines_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with progress_shown() as progress:
        for done in range(0, 13_000, 1000):
            now += 1
            progress("index", done, 12_000)
        progress("read", 5, None)
    assert capsys.readouterr() == (
        "",
        "index: 0 of 12,000\nindex: 5,000 of 12,000\nindex: 10,000 of 12,000\nindex: 12,000 of 12,000\nread: 5\n",
    )


def test_every_error_has_a_status_of_http_and_its_message() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, TransfersetError)]
    assert len(kinds) == 10, "the tree in the docstring"
    for kind in kinds:
        error = kind("Expected this, found that")
        assert (error.message, str(error)) == ("Expected this, found that", "Expected this, found that")
        assert 400 <= error.status < 600
