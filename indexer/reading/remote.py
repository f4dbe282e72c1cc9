"""Remote sources: files named by an fsspec URL (s3://, https://, hf://, zip:// …), listed, hashed and read as streams.

What a URL or an option may hold of credentials is shown to nobody: messages name a file by scheme, host and path.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, cast
from urllib.parse import unquote, urlsplit

from contract.errors import BadInput, MissingExtra, NotFound, TransfersetError
from contract.rows import READ_BYTES, format_of

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

Options = Mapping[str, Any]  # what fsspec hands to the file system: endpoint_url, key, anon …
_STAMPS = ("size", "ETag", "etag", "LastModified", "Last-Modified", "mtime", "modified", "created", "blob_id", "CRC")


class RemoteFile:
    """A file in an fsspec file system; a RowsFile for `contract.rows`."""

    def __init__(self, fs: AbstractFileSystem, path: str, title: str) -> None:
        self.fs = fs
        self.path = path
        self._title = title
        self._is_web = _is_web(fs)
        self._pure = PurePosixPath(unquote(urlsplit(path).path) if self._is_web else path)

    @property
    def name(self) -> str:
        return self._pure.name

    @property
    def suffix(self) -> str:
        return self._pure.suffix

    @property
    def suffixes(self) -> list[str]:
        return self._pure.suffixes

    @property
    def parts(self) -> tuple[str, ...]:
        return self._pure.parts

    @property
    def key(self) -> tuple[str, str]:
        """The same for the same object, however it was named."""
        return self.fs._fs_token, self.path

    def __str__(self) -> str:
        return self._title

    def open(self, mode: Literal["rb"]) -> BinaryIO:
        """The bytes: by ranges where the format jumps in the file, else as one stream read ahead."""
        jumps = format_of(self) in ("parquet", "arrow")
        with _translated(self._title):
            if self._is_web and not jumps:
                stream = self.fs.open(self.path, mode, block_size=0)  # not every server knows ranges
            else:
                stream = self.fs.open(
                    self.path, mode, block_size=READ_BYTES, cache_type="none" if jumps else "readahead"
                )
        return cast(BinaryIO, io.BufferedReader(_Stream(stream, self._title), 1 << 20))

    def stamp(self) -> str:
        """Something that changes when the content does: size, etag, time, as far as the store tells them."""
        with _translated(self._title):
            self.fs.invalidate_cache()
            info = self.fs.info(self.path)
        return " ".join(f"{key}={info[key]}" for key in _STAMPS if info.get(key) is not None)

    def sha256(self) -> str:
        """The hash of the content: what the hub says of a large file, else read as a stream."""
        with _translated(self._title):
            known = getattr(self.fs.info(self.path).get("lfs"), "sha256", None)
        if isinstance(known, str) and len(known) == 64:
            return known
        digest = hashlib.sha256()
        with self.open("rb") as stream:
            while content := stream.read(READ_BYTES):
                digest.update(content)
        return digest.hexdigest()


def is_url(source: str) -> bool:
    return "://" in source or "::" in source


def shown(url: str) -> str:
    """A source as it may be shown: a URL without user, password, query and fragment, in each link of a chain."""
    return "::".join(_shown_link(link) for link in url.split("::")) if is_url(url) else url


def find_remote(url: str, options: Options) -> Iterator[tuple[RemoteFile, tuple[str, ...]]]:
    """Each file a URL names (a file, a folder, a glob), with the parts of its path below the folder it was found in."""
    fs, path = _file_system(url, options)
    chained = "".join(f"::{shown(link)}" for link in url.split("::")[1:])

    def file(found: str) -> RemoteFile:
        return RemoteFile(fs, found, shown(fs.unstrip_protocol(found)) + chained)

    with _translated(shown(url)):
        fs.invalidate_cache()
        if _is_web(fs):  # a web server lists nothing
            yield file(path), ()
            return
        for found, kind in _kinds(fs, path).items():
            if kind != "directory":
                yield file(found), ()
                continue
            for name in fs.find(found):
                yield file(name), PurePosixPath(name).parts[len(PurePosixPath(found).parts) :]


def read_options(pairs: Sequence[str]) -> dict[str, Any]:
    """`endpoint_url=http://…`, `anon=true`, `client_kwargs.region_name=x` -> what fsspec takes."""
    options: dict[str, Any] = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not (key and separator):
            raise BadInput("--storage-option expects KEY=VALUE, as in --storage-option endpoint_url=http://host:9000")
        *outer, last = key.split(".")
        inner = options
        for part in outer:
            inner = inner.setdefault(part, {})
            if not isinstance(inner, dict):
                raise BadInput(f"--storage-option {key}: {part} already has a value, found more keys below it")
        inner[last] = {"true": True, "false": False}.get(value.lower(), value)
    return options


def _kinds(fs: AbstractFileSystem, path: str) -> dict[str, str]:
    """What a path or a glob stands for: each found path with its kind."""
    try:
        return {path: fs.info(path)["type"]}
    except FileNotFoundError:
        found = fs.glob(path, detail=True) if any(mark in path for mark in "*?[") else {}
        wants_hidden = "/." in path  # as in a shell, a star stands for no leading dot
        return {name: info["type"] for name, info in found.items() if wants_hidden or "/." not in f"/{name}"}


def _file_system(url: str, options: Options) -> tuple[AbstractFileSystem, str]:
    title = shown(url)
    try:
        from fsspec import available_protocols
        from fsspec.core import url_to_fs
    except ModuleNotFoundError as error:
        raise _missing(title, error) from None
    schemes = {link.partition("://")[0] for link in url.split("::")}
    wanted = {key: value for key, value in options.items() if key in schemes or key not in available_protocols()}
    try:
        fs, path = url_to_fs(url, **wanted)
    except ImportError as error:
        raise _missing(title, error) from None
    except ValueError:
        known = "s3://, https://, hf://, zip://"
        raise BadInput(f"{title} has a scheme no library here knows; expected one of fsspec's, as {known}") from None
    except TypeError:
        raise BadInput(
            f"{title} takes no such --storage-option ({', '.join(sorted(wanted))}); "
            "expected the settings of its fsspec file system"
        ) from None
    except Exception as error:
        raise _sentence(title, error) from None
    return fs, path


def _missing(title: str, error: ImportError) -> MissingExtra:
    library = error.name or str(error).partition("Install ")[2].split(" ")[0] or "one that is not installed"
    return MissingExtra(f"{title} needs the library {library}; install it with pip install 'transferset[remote]'")


def _is_web(fs: AbstractFileSystem) -> bool:
    return "http" in ((fs.protocol,) if isinstance(fs.protocol, str) else fs.protocol)


def _shown_link(link: str) -> str:
    scheme, separator, _ = link.partition("://")
    if not separator:
        return link
    try:
        parts = urlsplit(link)
    except ValueError:
        return f"{scheme}://…"
    return f"{scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


@contextmanager
def _translated(title: str) -> Iterator[None]:
    """A store's own errors, of which each library has its tree, as a sentence that quotes none of them."""
    try:
        yield
    except TransfersetError:
        raise
    except Exception as error:
        raise _sentence(title, error) from None


def _sentence(title: str, error: Exception) -> TransfersetError:
    """By the error's kind and status alone: its words may hold a signed URL."""
    status = getattr(error, "status", None) or getattr(getattr(error, "response", None), "status_code", None)
    kind = type(error).__name__ + (f", status {status}" if isinstance(status, int) else "")
    if isinstance(error, ImportError):
        return _missing(title, error)
    if isinstance(error, FileNotFoundError) or status == 404:
        return NotFound(f"There is no {title}, or these credentials may not see it; name a file that is there")
    if isinstance(error, PermissionError) or status in (401, 403) or "Credential" in kind:
        return BadInput(
            f"{title} may not be read with these credentials ({kind}); set them in the environment "
            "(AWS_ACCESS_KEY_ID, HF_TOKEN …) or with --storage-option"
        )
    if isinstance(error, ValueError) and "range requests" in str(error):
        return BadInput(f"{title} lies on a server without range requests, which its format needs; download it first")
    return BadInput(
        f"{title} could not be read ({kind}); see whether the address, the endpoint (AWS_ENDPOINT_URL or "
        "--storage-option endpoint_url=…) and the connection are right, and run the same command again"
    )


class _Stream(io.RawIOBase):
    """fsspec's file as Python's own, its errors as sentences."""

    def __init__(self, inner: Any, title: str) -> None:
        super().__init__()
        self._inner = inner
        self._title = title

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return bool(self._inner.seekable())

    def readinto(self, buffer: Any) -> int:
        with _translated(self._title):
            content = self._inner.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def seek(self, offset: int, whence: int = 0) -> int:
        with _translated(self._title):
            return int(self._inner.seek(offset, whence))

    def tell(self) -> int:
        return int(self._inner.tell())

    def close(self) -> None:
        if not self.closed:
            self._inner.close()
        super().close()
