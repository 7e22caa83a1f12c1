"""Only plain files are read, up to a size, and none that a link leads out of the folder that params.yaml names."""

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.config import (
    ClipBenchmarkSource,
    DatasetSpec,
    FolderSource,
    HubSource,
    ImageFolderSource,
    LongCaptionSource,
    SegmentationSource,
    TableSource,
    WebdatasetSource,
)
from pipeline.datasets import plain_files
from pipeline.datasets.index import build_index
from pipeline.datasets.plain_files import Inside, Links, open_plain, read_plain, read_unpacked
from pipeline.datasets.raw_files import listing, matching, read_json, read_text
from pipeline.datasets.samples import Failure
from pipeline.datasets.tables import read_table
from pipeline.errors import SourceError
from tests.datasets import layouts
from tests.datasets.label_maps import write_mask_folder
from tests.datasets.layouts import photo, write, write_tar
from tests.datasets.test_bad_input import SHARED, build

SECRET = "root:x:0:0: a line of a file of the system"
OUT = "which lies outside of"


def texts(index: Path) -> str:
    """All that an index says in words."""
    return json.dumps([read_table(path).to_pylist() for path in sorted(index.glob("*.parquet"))])


def secret(root: Path) -> Path:
    write(root / "elsewhere/secret.txt", SECRET + "\n")
    write(root / "elsewhere/private.jpg", photo(7))
    return root / "elsewhere"


def link_out(root: Path, name: str, target: str = "private.jpg") -> None:
    """A link `raw/<name>` that leads to a file elsewhere."""
    path = root / "raw" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(secret(root) / target)


def image_folder(root: Path, **more: object) -> ImageFolderSource:
    return ImageFolderSource.model_validate(
        {"source": "image-folder", "path": str(root / "raw"), "labels": "none", "captions": "beside", **SHARED, **more}
    )


def test_captions_beside_a_picture_are_not_those_of_a_system_file(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path / f"raw/{name}.jpg", photo(ord(name)))
        write(tmp_path / f"raw/{name}.txt", "A kite.")
    link_out(tmp_path, "a.txt", "secret.txt")
    keys, failures = build(image_folder(tmp_path), tmp_path / "index")
    assert keys == ["b.jpg"]
    assert OUT in failures["a.jpg"]
    assert "links: follow" in failures["a.jpg"]
    assert SECRET not in texts(tmp_path / "index")
    build(image_folder(tmp_path, links="follow"), tmp_path / "followed")
    assert SECRET in texts(tmp_path / "followed")


def test_pictures_that_links_lead_out_of_are_listed_with_the_way_to_take_them(tmp_path: Path) -> None:
    write(tmp_path / "raw/a.jpg", photo(0))
    write(tmp_path / "raw/a.txt", "A kite.")
    for name in ("b", "c"):
        write(tmp_path / f"raw/{name}.txt", "A saw.")
    link_out(tmp_path, "b.jpg")
    (tmp_path / "raw/c.jpg").symlink_to("a.jpg")
    (tmp_path / "raw/sub").symlink_to(tmp_path / "elsewhere")
    keys, failures = build(image_folder(tmp_path), tmp_path / "index")
    assert keys == ["a.jpg"], "c.jpg is the same picture; its link stays inside"
    assert failures.keys() == {"b.jpg", "sub"}
    assert all(f"{OUT} {tmp_path / 'raw'}" in reason and "links: follow" in reason for reason in failures.values())
    about = json.loads((tmp_path / "index/about.json").read_text())["tally"]
    assert about["used"] == 2
    assert list(about["failed"]) == ["a link to ... which lies outside of ..."]
    keys, failures = build(image_folder(tmp_path, links="follow"), tmp_path / "followed")
    assert keys == ["a.jpg", "b.jpg"]
    assert set(failures) == {"sub/private.jpg"}, "it has no caption"


def test_a_folder_of_links_alone_is_an_error_that_says_how_to_take_it(tmp_path: Path) -> None:
    write(tmp_path / "disk/cat/a.jpg", photo(0))
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/cat").symlink_to(tmp_path / "disk/cat")
    spec = ImageFolderSource(source="image-folder", path=str(tmp_path / "raw"))
    with pytest.raises(SourceError, match="write `links: follow` for this data set in params.yaml"):
        build(spec, tmp_path / "index")
    keys, _ = build(spec.model_copy(update={"links": "follow"}), tmp_path / "index")
    assert keys == ["cat/a.jpg"]


def test_the_folder_that_is_named_may_be_a_link(tmp_path: Path) -> None:
    write(tmp_path / "disk/cat/a.jpg", photo(0))
    (tmp_path / "raw").symlink_to(tmp_path / "disk")
    keys, failures = build(ImageFolderSource(source="image-folder", path=str(tmp_path / "raw")), tmp_path / "index")
    assert (keys, failures) == (["cat/a.jpg"], {})


def rows(root: Path) -> DatasetSpec:
    link_out(root, "c.jpg")
    write(root / "raw/a.jpg", photo(0))
    write(root / "raw/captions.csv", "file,caption\na.jpg,x\nc.jpg,y\n")
    return FolderSource(source="folder", path=str(root / "raw"), **SHARED)  # type: ignore[arg-type]


def linked_captions(root: Path) -> DatasetSpec:
    write(root / "elsewhere/table.csv", f"file,caption\na.jpg,{SECRET}\n")
    write(root / "raw/a.jpg", photo(0))
    link_out(root, "captions.csv", "table.csv")
    return FolderSource(source="folder", path=str(root / "raw"), **SHARED)  # type: ignore[arg-type]


def pictures_of_a_table(root: Path) -> DatasetSpec:
    link_out(root, "deep/c.jpg")
    write(root / "raw/a.jpg", photo(0))
    write(root / "tables/t.csv", "image,caption\na.jpg,x\ndeep/c.jpg,y\ndeep/../deep/c.jpg,z\n")
    return TableSource(source="table", path=str(root / "tables/t.csv"), images=str(root / "raw"), **SHARED)  # type: ignore[arg-type]


def globbed_tables(root: Path) -> DatasetSpec:
    write(root / "elsewhere/table.csv", f"image,caption\na.jpg,{SECRET}\n")
    write(root / "raw/a.jpg", photo(0))
    write(root / "raw/a.csv", "image,caption\na.jpg,x\n")
    link_out(root, "b.csv", "table.csv")
    return TableSource(source="table", path=f"{root}/raw/*.csv", **SHARED)  # type: ignore[arg-type]


def globbed_tars(root: Path) -> DatasetSpec:
    write_tar(root / "elsewhere/secret.tar", [("s.jpg", photo(1)), ("s.txt", SECRET.encode())])
    write_tar(root / "raw/0.tar", [("a.jpg", photo(0)), ("a.txt", b"x")])
    link_out(root, "1.tar", "secret.tar")
    return WebdatasetSource(source="webdataset", path=f"{root}/raw/*.tar", **SHARED)  # type: ignore[arg-type]


def archives_of_clip_benchmark(root: Path) -> DatasetSpec:
    layouts.clip_captions(root / "raw")
    write_tar(root / "elsewhere/secret.tar", [("s.jpg", photo(1)), ("s.txt", SECRET.encode())])
    write(root / "raw/test/nshards.txt", "2")
    link_out(root, "test/1.tar", "secret.tar")
    return ClipBenchmarkSource(source="clip-benchmark", path=str(root / "raw"), **SHARED)  # type: ignore[arg-type]


def captions_of_urban1k(root: Path) -> DatasetSpec:
    layouts.urban1k(root / "raw")
    link_out(root, "Urban1k/caption/2.txt", "secret.txt")
    return LongCaptionSource(source="urban1k", path=str(root / "raw"), **SHARED)  # type: ignore[arg-type]


def annotations_of_dci(root: Path) -> DatasetSpec:
    layouts.dci(root / "raw")
    inner = root / "raw/densely_captioned_images"
    write(inner / "photos/sa_2.jpg", photo(3))
    write(root / "elsewhere/e.json", json.dumps({"image": "sa_2.jpg", "short_caption": SECRET, "extra_caption": ""}))
    link_out(root, "densely_captioned_images/annotations/sa_2.json", "e.json")
    return LongCaptionSource(source="dci", path=str(root / "raw"), **SHARED)  # type: ignore[arg-type]


def label_maps(root: Path) -> DatasetSpec:
    write_mask_folder(root / "raw")
    (root / "raw/own/masks/b.png").rename(root / "b.png")
    secret(root)
    (root / "b.png").rename(root / "elsewhere/b.png")
    link_out(root, "own/masks/b.png", "b.png")
    return SegmentationSource(source="mask-folder", path=str(root / "raw/own"), windows=None)


LINKED: list[Callable[[Path], DatasetSpec]] = [
    rows,
    linked_captions,
    pictures_of_a_table,
    globbed_tables,
    globbed_tars,
    archives_of_clip_benchmark,
    captions_of_urban1k,
    annotations_of_dci,
    label_maps,
]


@pytest.mark.parametrize("make", LINKED)
def test_a_link_out_of_the_folder_is_not_read_by_any_source(
    make: Callable[[Path], DatasetSpec], tmp_path: Path
) -> None:
    spec = make(tmp_path)
    index, reasons = tmp_path / "index", ""
    try:
        about = build_index(spec, index, tmp_path)
        reasons = texts(index)
        assert about["counts"]["images"] >= 1
        assert SECRET not in reasons
    except SourceError as error:
        reasons = str(error)
    assert OUT in reasons
    assert "links: follow" in reasons
    followed = build_index(spec.model_copy(update={"links": "follow"}), tmp_path / "followed", tmp_path)
    assert OUT not in texts(tmp_path / "followed")
    assert followed["counts"]["images"] >= 1


def test_what_params_yaml_names_itself_may_be_a_link_and_a_table_may_name_files_elsewhere(tmp_path: Path) -> None:
    write(tmp_path / "disk/a.jpg", photo(0))
    write(tmp_path / "disk/t.csv", f"image,caption\n{tmp_path}/disk/a.jpg,x\n../disk/a.jpg,y\n")
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/t.csv").symlink_to(tmp_path / "disk/t.csv")
    spec = TableSource(source="table", path=str(tmp_path / "raw/t.csv"), images=str(tmp_path / "raw"), **SHARED)
    keys, failures = build(spec, tmp_path / "index")
    assert len(keys) == 1
    assert failures == {}


def test_names_in_annotations_do_not_lead_out(tmp_path: Path) -> None:
    from pipeline.config import CaptionFileSource

    write(tmp_path / "raw/a.jpg", photo(0))
    secret(tmp_path)
    names = ["a.jpg", "../elsewhere/private.jpg", f"{tmp_path}/elsewhere/private.jpg"]
    images = [{"id": number, "file_name": name} for number, name in enumerate(names)]
    said = [{"image_id": number, "caption": "x"} for number in range(3)]
    write(tmp_path / "captions.json", json.dumps({"images": images, "annotations": said}))
    for links in ("inside", "follow"):
        spec = CaptionFileSource.model_validate(
            {"source": "coco", "annotations": f"{tmp_path}/captions.json", "images": f"{tmp_path}/raw", "links": links}
        )
        keys, failures = build(spec, tmp_path / "index")
        assert keys == ["a.jpg"]
        assert all("its path leads out of" in reason for reason in failures.values())
        assert len(failures) == 2


def test_a_link_back_through_another_link_is_seen(tmp_path: Path) -> None:
    secret(tmp_path)
    write(tmp_path / "raw/sub/x.jpg", photo(0))
    (tmp_path / "elsewhere/deep").mkdir()
    (tmp_path / "raw/door").symlink_to(tmp_path / "elsewhere/deep")
    inside = Inside(tmp_path / "raw", elsewhere=True)
    assert OUT in str(inside.wrong_with(tmp_path / "raw/door/../private.jpg"))
    assert inside.wrong_with(tmp_path / "raw/sub/../sub/x.jpg") is None
    (tmp_path / "raw/round").symlink_to("round")
    assert inside.wrong_with(tmp_path / "raw/round") is None
    assert Inside(tmp_path / "raw").wrong_with(tmp_path / "rawer/a.jpg") is not None, "a folder whose name begins alike"


def test_a_listing_does_not_walk_out_of_the_folder(tmp_path: Path) -> None:
    write(tmp_path / "raw/a.jpg", photo(0))
    secret(tmp_path)
    (tmp_path / "raw/sub").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "raw/.hidden").symlink_to("/")
    found = [listing(image_folder(tmp_path, links=links)) for links in ("inside", "follow")]
    assert [entry and entry["files"] for entry in found] == [1, 3]


def test_the_hub_names_no_file_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    from pipeline.datasets import hub

    private = secret(tmp_path) / "private.jpg"
    features = datasets.Features({"image": datasets.Image(), "caption": datasets.Value("string")})
    cells = [{"bytes": photo(0), "path": None}, {"bytes": None, "path": str(private)}]
    part = datasets.Dataset.from_dict({"image": cells, "caption": ["x", "y"]}, features=features)
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: part.to_iterable_dataset())
    source = hub.hub(HubSource(source="hub", path="somebody/something", **SHARED))  # type: ignore[arg-type]
    good, bad = list(source.samples)
    assert not hasattr(good, "reason")
    assert "names a file" in getattr(bad, "reason", "")


def special(folder: Path) -> dict[str, Path]:
    folder.mkdir(parents=True, exist_ok=True)
    os.mkfifo(folder / "pipe.txt")
    (folder / "zero.txt").symlink_to("/dev/zero")
    (folder / "kernel.txt").symlink_to("/proc/kmsg")
    (folder / "sub.txt").mkdir()
    with socket.socket(socket.AF_UNIX) as opened:
        here = Path.cwd()
        os.chdir(folder)  # a socket's path is short
        opened.bind("socket.txt")
        os.chdir(here)
    return {path.stem: path for path in folder.iterdir()}


def test_what_is_no_plain_file_is_never_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = special(tmp_path / "odd")
    monkeypatch.setattr(plain_files.os, "open", None)
    expected = {
        "pipe": "a pipe, not a file",
        "zero": "a device, not a file",
        "kernel": "a file that the kernel makes up",
        "sub": "a folder, not a file",
        "socket": "a socket, not a file",
    }
    for name, reason in expected.items():
        with pytest.raises(OSError, match=reason):
            read_plain(paths[name], 100)
        with pytest.raises(SourceError, match=reason):
            read_text(paths[name])


def test_a_file_that_becomes_a_pipe_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    path.write_text("x")
    look = Path.stat

    def looked_at(self: Path, **more: bool) -> os.stat_result:
        found = look(self, **more)
        if self == path:
            path.unlink()
            os.mkfifo(path)
        return found

    monkeypatch.setattr(Path, "stat", looked_at)
    with pytest.raises(OSError, match="a pipe, not a file"):
        open_plain(path)


def test_pipes_and_kernel_files_beside_pictures_are_failures(tmp_path: Path) -> None:
    for name in ("pipe", "zero", "kernel", "good"):
        write(tmp_path / f"raw/{name}.jpg", photo(len(name)))
    special(tmp_path / "raw")
    write(tmp_path / "raw/good.txt", "A kite.")
    keys, failures = build(image_folder(tmp_path, links="follow"), tmp_path / "index")
    assert keys == ["good.jpg"]
    assert "a pipe, not a file" in failures["pipe.jpg"]
    assert "a device, not a file" in failures["zero.jpg"]
    assert "a file that the kernel makes up" in failures["kernel.jpg"]


def test_a_pipe_in_place_of_a_tar_a_table_or_a_label_map(tmp_path: Path) -> None:
    (tmp_path / "raw/test").mkdir(parents=True)
    os.mkfifo(tmp_path / "raw/pipe.tar")
    for path in ("pipe.tar", "*.tar"):
        with pytest.raises(SourceError, match="No file matches"):
            build(WebdatasetSource(source="webdataset", path=f"{tmp_path}/raw/{path}", **SHARED), tmp_path / "i")
    layouts.clip_captions(tmp_path / "clip")
    write(tmp_path / "clip/test/nshards.txt", "2")
    os.mkfifo(tmp_path / "clip/test/1.tar")
    spec = ClipBenchmarkSource(source="clip-benchmark", path=str(tmp_path / "clip"), **SHARED)
    with pytest.raises(SourceError, match=r"1\.tar cannot be read: a pipe, not a file"):
        build(spec, tmp_path / "index")
    folder = write_mask_folder(tmp_path)
    (folder / "masks/a.png").unlink()
    os.mkfifo(folder / "masks/a.png")
    about = build_index(
        SegmentationSource(source="mask-folder", path=str(folder), windows=None), tmp_path / "s", tmp_path
    )
    assert about["tally"]["failed"] == {"the label map cannot be read: a pipe, not a file": 1}


def test_sizes_are_limited_before_anything_is_read(tmp_path: Path) -> None:
    for name in ("sparse.jpg", "good.jpg", "long.jpg"):
        write(tmp_path / "raw" / name, photo(len(name)))
        write(tmp_path / "raw" / name.replace(".jpg", ".txt"), "A kite.")
    os.truncate(tmp_path / "raw/sparse.jpg", 1 << 40)
    os.truncate(tmp_path / "raw/long.txt", 3 << 20)
    keys, failures = build(image_folder(tmp_path), tmp_path / "index")
    assert keys == ["good.jpg"]
    assert "too large: 1,099,511,627,776 bytes" in failures["sparse.jpg"]
    assert "too large: 3,145,728 bytes, of which at most 1,048,576 are read" in failures["long.jpg"]
    os.truncate(tmp_path / "raw/long.txt", 1 << 40)
    with pytest.raises(SourceError, match="too large: 1,099,511,627,776 bytes"):
        read_json(tmp_path / "raw/long.txt")


def test_what_unpacks_to_too_much_is_left_early(tmp_path: Path) -> None:
    import gzip

    write(tmp_path / "bomb.json.gz", gzip.compress(b" " * (9 << 20)))
    with pytest.raises(OSError, match="unpacks to more than 1,048,576 bytes"):
        read_unpacked(tmp_path / "bomb.json.gz", 1 << 20)
    write(tmp_path / "good.json.gz", gzip.compress(b'[{"image": "a.jpg"}]'))
    assert read_json(tmp_path / "good.json.gz") == [{"image": "a.jpg"}]


@pytest.mark.parametrize("links", ["inside", "follow"])
def test_patterns_of_any_depth_neither_leave_the_folder_nor_walk_in_circles(links: Links, tmp_path: Path) -> None:
    names = ("b.tar", "a/x.tar", "a/deep/y.tar", "a/x.txt", ".hidden/z.tar", "a/.z.tar")
    for name in names:
        write(tmp_path / "raw" / name, "x")
    write(tmp_path / "elsewhere/private.tar", "x")
    (tmp_path / "raw/out").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "raw/a/round").symlink_to(tmp_path / "raw")
    (tmp_path / "raw/in.tar").symlink_to("b.tar")
    refused: list[Failure] = []
    found = matching(f"{tmp_path}/raw/**/*.tar", links, refused)
    expected = ["a/deep/y.tar", "a/x.tar", "b.tar", "in.tar", *(["out/private.tar"] if links == "follow" else [])]
    assert [str(path.relative_to(tmp_path / "raw")) for path in found] == expected
    assert [failure.key for failure in refused] == ([] if links == "follow" else [f"{tmp_path}/raw/out"])
    assert matching(f"{tmp_path}/raw/**/deep/*", links) == [tmp_path / "raw/a/deep/y.tar"]
    assert matching(f"{tmp_path}/raw/a/**", links)[-1] == tmp_path / "raw/a/x.txt"
    with pytest.raises(SourceError, match="No file matches"):
        matching(f"{tmp_path}/raw/a/deep/**/*.csv", links)
