"""The objects below one address, with retries, and with errors that name them.

obstore itself repeats a request some times; what is cut, slow or refused for longer is repeated here with growing
pauses. Reads are ranges of at most `PIECE` bytes, so that one time limit fits small and large shards.
"""

import logging
import os
import random
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import xxhash

from pipeline.errors import RemoteError
from pipeline.object_url import object_url

log = logging.getLogger(__name__)
PIECE = 16 << 20  # bytes of one read
_PART = 8 << 20  # bytes of one part of a large write; S3 takes none below 5 MiB but the last
ATTEMPTS = 6
TIMEOUT_VARIABLE = "PERMAFROST_OBJECT_TIMEOUT"  # seconds that one request may take
DIGEST = "xxh3_128"  # attribute of an object
_TIMEOUT = 60.0
_WRITE = 1 << 20  # bytes of one write into a file
_READS = 3  # of a small object that is not whole
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 10.0  # seconds
_THREADS = 4
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT", "GOOGLE_BASE_URL", "AZURE_STORAGE_ENDPOINT")
_PREFIXES = ("AWS_", "GOOGLE_", "AZURE_")
_FINAL = ("NotFoundError", "PermissionDeniedError", "UnauthenticatedError", "AlreadyExistsError", "PreconditionError")
_REFUSED = re.compile(r"status code: 4(?!08|29)\d\d")  # no second request would be answered otherwise
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Listed:
    """An object as a listing gives it: bytes, and a tag of its content (empty where none can be relied on)."""

    bytes: int
    tag: str


class Bucket:
    """The objects below an address.

    Args:
        where: s3://bucket/prefix, gs://bucket/prefix or az://container/prefix; credentials, region and endpoint come
            from the environment, as obstore reads it.

    Raises:
        RemoteError: obstore is not installed, or it cannot use the address or the environment.
    """

    def __init__(self, where: str | Path) -> None:
        self.url = object_url(where)
        self._store = _store(self.url, _timeout(), os.getpid(), _environment())

    def get(self, name: str, whole: Callable[[bytes], bool] = lambda _: True) -> bytes | None:
        """The content of a small object; None where there is none.

        Args:
            whole: tells from the content itself whether all of it is there; otherwise it is read again a few times.

        Raises:
            RemoteError: the object store cannot be reached or refuses.
        """
        obstore = _obstore()
        try:
            for _ in range(_READS):
                content = self._tried(name, "read", lambda: bytes(obstore.get(self._store, name).bytes()))
                if whole(content):
                    break
            return content
        except FileNotFoundError:
            return None

    def pieces(self, name: str, size: int) -> Iterator[memoryview]:
        """The content of an object of `size` bytes, in order.

        Raises:
            RemoteError: it is missing or shorter, or cannot be read.
        """
        for start in range(0, size, PIECE):
            yield self._range(name, start, min(size, start + PIECE), size, ATTEMPTS)

    def read_into(self, name: str, size: int, descriptor: int, attempts: int = ATTEMPTS) -> None:
        """Write an object of `size` bytes into a file, several ranges at a time.

        Raises:
            RemoteError: as `pieces`.
        """

        def read(start: int) -> None:
            content = self._range(name, start, min(size, start + PIECE), size, attempts)
            written = 0
            while written < len(content):
                written += os.pwrite(descriptor, content[written : written + _WRITE], start + written)

        if size <= PIECE:
            read(0) if size else None
            return
        with ThreadPoolExecutor(_THREADS, thread_name_prefix="object") as pool:
            for done in [pool.submit(read, start) for start in range(0, size, PIECE)]:
                done.result()

    def _range(self, name: str, start: int, stop: int, size: int, attempts: int) -> memoryview:
        obstore = _obstore()

        def read() -> memoryview:
            content = memoryview(obstore.get_range(self._store, name, start=start, end=stop))
            if len(content) != stop - start:
                raise OSError(f"{len(content)} bytes came, {stop - start} were asked for")
            return content

        try:
            return self._tried(name, "read", read, attempts, f"bytes {start} to {stop - 1} of {size}")
        except FileNotFoundError as error:
            raise RemoteError(
                f"{self.url}/{name} is missing; expected {size} bytes. Find what else is damaged with: "
                f"python -m pipeline.store verify {self.url}"
            ) from error

    def put(self, name: str, content: Path | bytes, digest: str, *, create: bool = False) -> str:
        """Write an object; it appears when all of it has arrived, large ones in several parts.

        Args:
            digest: its XXH3-128 in hex, which is kept beside it.
            create: write it only where there is none.

        Returns:
            Its tag, as a listing gives it.

        Raises:
            RemoteError: it cannot be written; or there is one, with `create`.
        """
        obstore = _obstore()

        def write() -> str:
            options: dict[str, Any] = {"mode": "create"} if create else {"chunk_size": _PART}
            done = obstore.put(self._store, name, content, attributes={DIGEST: digest}, **options)
            return self._tag(done)

        try:
            return self._tried(name, "written", write)
        except FileNotFoundError as error:
            raise self._no_bucket(error) from error

    def digest(self, name: str) -> str | None:
        """The XXH3-128 that was noted when the object was written; None where there is no object or no note."""
        obstore = _obstore()
        try:
            got = self._tried(name, "read", lambda: obstore.get(self._store, name, options={"head": True}))
        except FileNotFoundError:
            return None
        return next((str(value) for key, value in got.attributes.items() if key.lower() == DIGEST), None)

    def list(self) -> dict[str, Listed]:
        """All objects below the address, by name.

        Raises:
            RemoteError: as `get`.
        """
        obstore = _obstore()

        def read() -> dict[str, Listed]:
            return {
                str(one["path"]): Listed(int(one["size"]), self._tag(one))
                for some in obstore.list(self._store)
                for one in some
            }

        try:
            return self._tried("", "listed", read)
        except FileNotFoundError as error:
            raise self._no_bucket(error) from error

    def _tag(self, answer: Mapping[str, Any]) -> str:
        """Of S3 alone: elsewhere the tags of a write and of a listing differ in form."""
        return str(answer.get("e_tag") or "").strip('"') if self.url.startswith("s3") else ""

    def delete(self, names: Iterable[str]) -> None:
        """Remove objects; those that are gone already are passed over."""
        obstore = _obstore()
        for name in names:
            try:
                self._tried(name, "removed", lambda name=name: obstore.delete(self._store, name))  # type: ignore[misc]
            except FileNotFoundError:
                continue

    def checksum(self, name: str, size: int) -> str:
        """XXH3-128 of an object's content, in hex; errors as `pieces`."""
        running = xxhash.xxh3_128()
        for piece in self.pieces(name, size):
            running.update(piece)
        return running.hexdigest()

    def _no_bucket(self, error: OSError) -> RemoteError:
        return RemoteError(f"{self.url}: there is no such bucket ({_reason(error)}). Make it first; {_advice('')}")

    def _tried(
        self, name: str, done: str, call: Callable[[], Answer], attempts: int = ATTEMPTS, expected: str = ""
    ) -> Answer:
        """The answer of `call`, which is repeated while it fails for a reason that may pass.

        Raises:
            FileNotFoundError: there is no such object.
            RemoteError: the last try failed too, or no further one would help.
        """
        where, started, pause = f"{self.url}/{name}".rstrip("/"), time.monotonic(), _FIRST_PAUSE
        for attempt in range(1, attempts + 1):
            try:
                return call()
            except FileNotFoundError:
                raise
            except Exception as error:
                kind = type(error).__name__
                if attempt == attempts or kind in _FINAL or _REFUSED.search(str(error)):
                    tries = f"after {attempt} attempts in {time.monotonic() - started:.0f} s" if attempt > 1 else ""
                    raise RemoteError(
                        f"{where} could not be {done}{' ' if tries else ''}{tries}"
                        f"{f' (expected {expected})' if expected else ''}: {_reason(error)}. {_advice(kind)}"
                    ) from error
                log.info("%s could not be %s, trying again: %s", where, done, _reason(error))
                time.sleep(pause * (0.5 + random.random()))
                pause = min(2 * pause, _LONGEST_PAUSE)
        raise AssertionError("at least one attempt is made")


def _advice(kind: str) -> str:
    if kind in ("PermissionDeniedError", "UnauthenticatedError"):
        return "Check the credentials in the environment, and what they may do in this bucket (docs/object_stores.md)."
    if kind in ("AlreadyExistsError", "PreconditionError"):
        return "Another process has published a store here meanwhile: look at it, or choose another address."
    endpoint = next((f"{name}={os.environ[name]}" for name in _ENDPOINTS if os.environ.get(name)), "that of the cloud")
    return (
        f"Check the network, the bucket and the endpoint ({endpoint}), raise {TIMEOUT_VARIABLE} if answers are slow, "
        "and run the same command again: it goes on with what has arrived."
    )


def _reason(error: BaseException) -> str:
    """The gist of an error of obstore, which goes on for many lines."""
    text = " ".join(str(error).split("Debug source:")[0].split())
    return f"{text[:300].rstrip(' .')}" or type(error).__name__


def _timeout() -> float:
    given = os.environ.get(TIMEOUT_VARIABLE, "")
    try:
        seconds = float(given) if given else _TIMEOUT
    except ValueError:
        seconds = 0.0
    if not 0.05 <= seconds <= 86_400:
        raise RemoteError(f"{TIMEOUT_VARIABLE} should be seconds from 0.05 to 86400, found {given!r}.")
    return seconds


def _obstore() -> Any:
    try:
        import obstore
        import obstore.store
    except ImportError as error:
        raise RemoteError(
            "Stores on s3://, gs:// and az:// are read with obstore, which is not installed: "
            "pip install 'permafrost-align[objects]' (in a clone: pip install -e '.[objects]')."
        ) from error
    return obstore


def _environment() -> frozenset[tuple[str, str]]:
    """What obstore reads of the environment."""
    return frozenset((name, value) for name, value in os.environ.items() if name.startswith(_PREFIXES))


@cache
def _store(url: str, timeout: float, process: int, environment: frozenset[tuple[str, str]]) -> Any:
    """A client; those of one address share their connections, but not with a forked process or other credentials."""
    del process, environment
    from datetime import timedelta

    obstore = _obstore()
    plain = any(os.environ.get(name, "").startswith("http://") for name in _ENDPOINTS)  # written so on purpose
    client: dict[str, Any] = {"timeout": timedelta(seconds=timeout), "connect_timeout": timedelta(seconds=10)}
    if plain:
        client["allow_http"] = True
    try:
        return obstore.store.from_url(
            url,
            client_options=client,
            retry_config={"max_retries": 2, "retry_timeout": timedelta(seconds=3 * timeout)},
        )
    except Exception as error:
        raise RemoteError(
            f"{url} cannot be used: {_reason(error)}. Check the address and the environment (docs/object_stores.md)."
        ) from error
