"""The tar of an index has the bytes that `tarfile` writes."""

import io
import tarfile
from pathlib import Path

import pytest

from pipeline.datasets.archive import Archive


@pytest.mark.parametrize("sizes", [[0], [1, 511, 512, 513], [9000] * 40, [10240 - 512]])
def test_members_are_where_it_says_and_the_tar_is_that_of_the_library(sizes: list[int], tmp_path: Path) -> None:
    contents = {f"{number:032x}": bytes([number + 1]) * size for number, size in enumerate(sizes)}
    expected = io.BytesIO()
    with tarfile.open(fileobj=expected, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for identity, content in contents.items():
            member = tarfile.TarInfo(f"{identity}.png")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    archive = Archive(tmp_path / "images.tar")
    places = {identity: archive.add(identity, content, "png") for identity, content in contents.items()}
    archive.finish()
    written = (tmp_path / "images.tar").read_bytes()
    assert written == expected.getvalue()
    for identity, place in places.items():
        assert written[place : place + len(contents[identity])] == contents[identity]
    assert all(map(archive.holds, contents))


def test_nothing_is_left_of_an_archive_that_is_not_finished(tmp_path: Path) -> None:
    archive = Archive(tmp_path / "images.tar")
    archive.add("0" * 32, b"content", "png")
    archive.discard()
    Archive(tmp_path / "images.tar").finish()
    assert [*tmp_path.iterdir()] == []
