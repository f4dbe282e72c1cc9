"""Remote sources: what is read from a store is what is read from the disk, and no secret is told to anybody."""

import http.server
import importlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
import zipfile
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from contract.errors import BadInput, MissingExtra, NotFound, TransfersetError
from contract.store import Store
from indexer.corpus import add_to_corpus, build_corpus
from indexer.corpus_settings import CorpusSettings
from indexer.reading.remote import find_remote, read_options, shown
from indexer.reading.sources import find_files
from tests.indexer.conftest import sentences
from tests.indexer.fake_hub import serving

fsspec = pytest.importorskip("fsspec")
pytest.importorskip("s3fs")

ROOT = Path(__file__).parents[2]
SECRET = "s3cr3t-of-nobody"


@pytest.fixture(scope="module")
def s3():
    """A local S3 server over HTTP, as a user's MinIO: where it listens."""
    pytest.importorskip("moto")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    code = "from moto.server import main; import sys; main(sys.argv[1:])"
    arguments = [sys.executable, "-c", code, "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


@pytest.fixture
def bucket(s3, monkeypatch):
    """An empty bucket, reached by the usual environment variables; a function that puts a file into it."""
    import s3fs

    monkeypatch.setenv("AWS_ENDPOINT_URL", s3)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "tester")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    s3fs.S3FileSystem.clear_instance_cache()
    fs = s3fs.S3FileSystem()
    if fs.exists("corpus"):
        fs.rm("corpus", recursive=True)
    fs.mkdir("corpus")
    yield lambda path, name=None: fs.put(str(path), f"corpus/{name or Path(path).name}")
    s3fs.S3FileSystem.clear_instance_cache()


def write_all(folder: Path) -> list[Path]:
    """The same kind of rows in every form people have them."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = sentences(60)
    pq.write_table(pa.table({"text": texts[:20], "id": [f"p{n}" for n in range(20)]}), folder / "a.parquet")
    lines = "".join(json.dumps({"text": text}) + "\n" for text in texts[20:40]).encode()
    (folder / "b.jsonl.zst").write_bytes(pa.compress(lines, codec="zstd", asbytes=True))
    (folder / "sub").mkdir(exist_ok=True)
    (folder / "sub" / "c.csv").write_text("text\n" + "".join(f"{text}\n" for text in texts[40:]))
    (folder / ".hidden.txt").write_text("not to be read\n")
    (folder / "README.txt").write_text("not to be read\n")
    return [folder / "a.parquet", folder / "b.jsonl.zst", folder / "sub" / "c.csv"]


def put_all(bucket, folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            bucket(path, f"data/{path.relative_to(folder)}")


def test_copies_in_an_s3_store_give_the_same_corpus_as_the_files(bucket, tmp_path):
    write_all(tmp_path / "data")
    put_all(bucket, tmp_path / "data")
    store = Store(tmp_path / "store")
    here = build_corpus(store, "here", [str(tmp_path / "data")])
    there = build_corpus(store, "there", ["s3://corpus/data"])
    assert here.id == there.id
    assert here.rows == 60
    assert SECRET not in (there.directory / "manifest.json").read_text()


def test_globs_and_single_objects_of_a_store_are_found_in_the_same_order(bucket, tmp_path):
    files = write_all(tmp_path / "data")
    put_all(bucket, tmp_path / "data")
    named = {"s3://corpus/data/*.parquet": files[:1], "s3://corpus/data/**/*.csv": files[2:]}
    named["s3://corpus/data/b.jsonl.zst"] = files[1:2]
    for url, expected in named.items():
        assert [f.as_param() for f in find_files([url])] == [f.as_param() for f in find_files(map(str, expected))]
    with pytest.raises(NotFound, match=r"s3://corpus/data/\*\.tsv"):
        find_files(["s3://corpus/data/*.tsv"])
    assert [str(file.file) for file in find_files(["s3://corpus/data/*.txt"])] == ["s3://corpus/data/README.txt"]
    with pytest.raises(NotFound, match=r"s3://corpus/nothing"):
        find_files(["s3://corpus/nothing"])


def test_what_lies_in_a_store_is_added_to_what_lay_here(bucket, tmp_path):
    first, second, _ = write_all(tmp_path / "data")
    bucket(second)
    store = Store(tmp_path / "store")
    build_corpus(store, "c", [str(first)])
    grown = add_to_corpus(store, "c", ["s3://corpus/b.jsonl.zst"])
    assert grown.id == build_corpus(store, "whole", [str(first), str(second)]).id
    assert add_to_corpus(store, "c", [str(second)]).id == grown.id


def test_the_endpoint_and_the_credentials_may_come_as_options(s3, bucket, tmp_path, monkeypatch):
    bucket(write_all(tmp_path / "data")[0])
    for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    options = read_options([f"endpoint_url={s3}", "key=tester", f"secret={SECRET}"])
    corpus = build_corpus(Store(tmp_path / "store"), "c", ["s3://corpus/a.parquet"], options=options)
    assert corpus.rows == 20
    for path in corpus.directory.iterdir():
        assert SECRET.encode() not in path.read_bytes()


def test_a_wrong_endpoint_or_bucket_is_a_sentence_without_the_secret(bucket, monkeypatch):
    with pytest.raises(NotFound, match=r"s3://nobody-has-this/a\.parquet"):
        find_files(["s3://nobody-has-this/a.parquet"])
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{probe.getsockname()[1]}"
        options = read_options([f"endpoint_url={dead}", "key=tester", f"secret={SECRET}"])
        options["config_kwargs"] = {"connect_timeout": 1, "retries": {"max_attempts": 0}}
        with pytest.raises(BadInput, match=r"s3://corpus/a.parquet could not be read .*endpoint") as caught:
            find_files(["s3://corpus/a.parquet"], options=options)
    assert SECRET not in caught.value.message


def test_an_object_that_changes_while_it_is_read_is_a_sentence(bucket, tmp_path):
    from indexer.reading.sources import read_documents

    (tmp_path / "a.txt").write_text("one two three\n")
    bucket(tmp_path / "a.txt")
    files = find_files(["s3://corpus/a.txt"])
    (tmp_path / "a.txt").write_text("four five six\n")
    bucket(tmp_path / "a.txt")
    with pytest.raises(BadInput, match="changed while it was read"):
        list(read_documents(files, lambda file, bad: None, columns={}))


def test_reading_a_large_object_holds_a_part_of_it_at_a_time(bucket, tmp_path):
    """48 MB of JSON lines in gzip's sibling: memory follows the batch. Measured by Python's own allocations."""
    import tracemalloc

    path = tmp_path / "big.jsonl"
    line = json.dumps({"text": "word " * 200}) + "\n"
    path.write_text(line * 40_000)
    bucket(path)
    (file,) = find_files(["s3://corpus/big.jsonl"])
    tracemalloc.start()
    with file.file.open("rb") as stream:
        size = sum(map(len, iter(lambda: stream.read(1 << 20), b"")))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert size == path.stat().st_size > 40e6
    assert peak < 25e6


class NoRanges(http.server.SimpleHTTPRequestHandler):
    """Python's own server: it answers no range requests."""

    def log_message(self, *_):
        pass


@pytest.fixture
def web(tmp_path):
    """A web server over `tmp_path`: its address."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(NoRanges, directory=str(tmp_path)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_web_server_without_ranges_serves_text_and_says_so_of_parquet(web, tmp_path):
    _, second, third = write_all(tmp_path / "data")
    texts = [str(path) for path in (second, third)]
    store = Store(tmp_path / "store")
    urls = [f"{web}/data/b.jsonl.zst?token={SECRET}", f"{web}/data/sub/c.csv"]
    assert build_corpus(store, "there", urls).id == build_corpus(store, "here", texts).id
    with pytest.raises(NotFound) as caught:
        find_files([f"{web}/nothing.csv?token={SECRET}"])
    assert SECRET not in caught.value.message


def test_a_file_inside_an_archive_and_in_memory_are_files_like_others(tmp_path):
    files = write_all(tmp_path / "data")
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        for path in files:
            archive.write(path, path.relative_to(tmp_path / "data"))
    memory = fsspec.filesystem("memory")
    for path in files:
        memory.pipe(f"/here/{path.relative_to(tmp_path / 'data')}", path.read_bytes())
    store = Store(tmp_path / "store")
    here = build_corpus(store, "here", [str(tmp_path / "data")])
    assert build_corpus(store, "zipped", [f"zip://*::{tmp_path}/data.zip", f"zip://sub/c.csv::{tmp_path}/data.zip"]).id
    assert build_corpus(store, "memory", ["memory://here"]).id == here.id
    memory.rm("/here", recursive=True)


def test_a_bad_row_of_a_store_is_listed_without_user_and_query(web, tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "some good text"}\n{"text": 5}\n')
    url = f"{web.replace('http://', f'http://user:{SECRET}@')}/a.jsonl?sig={SECRET}"
    with pytest.raises(BadInput, match="row 2") as caught:
        build_corpus(Store(tmp_path / "store"), "c", [url])
    assert SECRET not in caught.value.message
    corpus = build_corpus(Store(tmp_path / "store"), "c", [url], CorpusSettings(skip_bad_rows=True))
    assert all(SECRET.encode() not in path.read_bytes() for path in corpus.directory.iterdir())


@pytest.mark.parametrize(
    ("url", "seen"),
    [
        (f"https://me:{SECRET}@host:9/a/b.csv?X-Amz-Signature={SECRET}#x", "https://host:9/a/b.csv"),
        (f"zip://a.csv::https://host/b.zip?{SECRET}", "zip://a.csv::https://host/b.zip"),
        (f"s3://key:{SECRET}@bucket/a", "s3://bucket/a"),
        (f"ftp://[{SECRET}", "ftp://…"),
        ("hf://datasets/org/name@v1/a.parquet", "hf://datasets/org/name@v1/a.parquet"),
    ],
)
def test_a_url_is_shown_without_its_secrets(url, seen):
    assert shown(url) == seen


@pytest.mark.parametrize("url", ["nosuch://a/b.csv", "memory://nothing/a.csv", "zip://a.csv::/nothing.zip"])
def test_what_cannot_be_opened_is_a_sentence(url):
    with pytest.raises(TransfersetError, match=r"nosuch|memory|zip"):
        find_files([url])


def test_a_missing_library_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    registry: dict = {}
    for name in ("registry", "_registry"):
        monkeypatch.setattr(importlib.import_module("fsspec.registry"), name, registry)
    with pytest.raises(MissingExtra, match=r"s3fs.*transferset\[remote\]"):
        list(find_remote("s3://corpus/a.csv", {}))


def test_storage_options_nest_and_know_yes_from_no():
    found = read_options(["anon=true", "client_kwargs.region_name=x", "s3.key=a=b"])
    assert found == {"anon": True, "client_kwargs": {"region_name": "x"}, "s3": {"key": "a=b"}}
    for bad in ("anon", "=x"):
        with pytest.raises(BadInput, match="KEY=VALUE"):
            read_options([bad])


@pytest.mark.slow
def test_a_data_set_of_the_hub_is_streamed_by_its_name(tmp_path):
    """Through huggingface_hub itself, in a process of its own as a user starts it, against a hub that behaves."""
    write_all(tmp_path / "repo" / "data")
    (tmp_path / "repo" / "README.md").write_text("a card")
    here = build_corpus(Store(tmp_path / "store"), "here", [str(tmp_path / "repo" / "data")])
    with serving(tmp_path / "repo", token=SECRET) as (address, requests):
        cache = str(tmp_path / "cache")
        environment = os.environ | {"HF_ENDPOINT": address, "HF_HUB_OFFLINE": "0", "HF_TOKEN": SECRET, "HF_HOME": cache}

        def build(url: str, name: str, **more: str) -> subprocess.CompletedProcess:
            arguments = [sys.executable, "-m", "indexer", "corpus", "build", url, "--name", name, "--json"]
            return subprocess.run(
                [*arguments, "--artifacts", str(tmp_path / "store")],
                env=environment | {"PYTHONPATH": str(ROOT)} | more, capture_output=True, text=True, cwd=tmp_path,
            )  # fmt: skip

        there = build("hf://datasets/org/name@v1/data", "there")
        assert there.returncode == 0, there.stderr
        assert json.loads(there.stdout)["id"] == here.id
        glob = build("hf://datasets/org/name@v1/**/*.parquet", "glob")
        assert json.loads(glob.stdout)["counts"]["passages"]["rows_out"] == 20
        assert any("a.parquet" in request and "bytes=" in request for request in requests)
        for url, token in (("hf://datasets/org/nobody/data", SECRET), ("hf://datasets/org/name@v1/data", "wrong")):
            refused = build(url, "refused", HF_TOKEN=token)
            assert refused.returncode == 2, refused.stdout
            assert "Traceback" not in refused.stderr
            assert token not in refused.stderr
    assert not list(Path(cache).rglob("*.parquet")), "nothing is kept on the disk"


@pytest.mark.parametrize("name", ["a.parquet", "b.jsonl.zst", "sub/c.csv"])
def test_a_connection_lost_on_the_way_is_a_sentence_and_the_build_goes_on_later(tmp_path, monkeypatch, name):
    from fsspec.implementations.memory import MemoryFile

    write_all(tmp_path / "data")
    memory = fsspec.filesystem("memory")
    memory.pipe("/lost/" + Path(name).name, (tmp_path / "data" / name).read_bytes())
    url, store = f"memory://lost/{Path(name).name}", Store(tmp_path / "store")
    read, hashed = MemoryFile.read, []

    def fail(self, *size):
        if hashed:
            raise ConnectionResetError(f"https://host/?sig={SECRET}")
        return read(self, *size)

    with monkeypatch.context() as patch:
        patch.setattr(MemoryFile, "read", fail)
        with pytest.raises(BadInput, match=r"could not be read \(ConnectionResetError\).*same command again") as caught:
            build_corpus(store, "c", [url], progress=lambda stage, done, total: hashed.append(stage))
    assert SECRET not in caught.value.message
    here = build_corpus(store, "here", [str(tmp_path / "data" / name)])
    assert build_corpus(store, "c", [url]).id == here.id
    memory.rm("/lost", recursive=True)
