"""An S3 server on this machine, a bucket for each test, and a proxy that makes its answers fail."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.features.objects import bucket as bucket_module
from pipeline.features.objects.cache import FOLDER_VARIABLE, LIMIT_VARIABLE
from pipeline.paths import WORK_VARIABLE
from tests.inference.conftest import project  # noqa: F401
from tests.objects.faulty import Faulty, served

pytest.importorskip("obstore", reason="the extra `objects` is not installed")
pytest.importorskip("moto", reason="moto[server] is not installed")


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """The address of the server."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            for _ in range(600):
                try:
                    urllib.request.urlopen(f"{url}/moto-api/", timeout=5).read()
                    break
                except (urllib.error.URLError, OSError):
                    assert server.poll() is None, "the server has ended"
                    time.sleep(0.1)
            yield url
        finally:
            server.kill()


@pytest.fixture
def faulty(s3: str) -> Iterator[Faulty]:
    """The proxy; nothing goes wrong until a test says so."""
    proxy = Faulty(s3)
    server = served(proxy)
    yield proxy
    server.shutdown()
    server.server_close()


@pytest.fixture
def address(s3: str, faulty: Faulty, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty bucket of this test, reached through the proxy; cache and work folder are the test's own."""
    name = f"b{abs(hash(tmp_path)):x}"
    urllib.request.urlopen(urllib.request.Request(f"{s3}/{name}", method="PUT"), timeout=30).read()
    for key in [key for key in os.environ if key.startswith(("AWS_", "GOOGLE_", "AZURE_"))]:
        monkeypatch.delenv(key)
    monkeypatch.setenv("AWS_ENDPOINT_URL", faulty.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv(WORK_VARIABLE, str(tmp_path / "work"))
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "objects"))
    monkeypatch.delenv(LIMIT_VARIABLE, raising=False)
    monkeypatch.setattr(bucket_module, "_FIRST_PAUSE", 0.01)
    monkeypatch.setattr(bucket_module, "_LONGEST_PAUSE", 0.05)
    return f"s3://{name}"


def client(faulty: Faulty, address: str) -> Any:
    """A client of the server itself, without the proxy and the code under test."""
    import obstore.store

    return obstore.store.from_url(address, endpoint=faulty.upstream, client_options={"allow_http": True})


def objects(faulty: Faulty, address: str) -> set[str]:
    """The names of all objects below an address."""
    import obstore

    return {one["path"] for some in obstore.list(client(faulty, address)) for one in some}
