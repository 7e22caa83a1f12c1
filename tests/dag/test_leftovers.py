"""What was added to params.yaml and taken out again is not part of what is computed; it only stays on disk."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from tests.dag.conftest import copy_with_links
from tests.dag.project import Project

pytestmark = [pytest.mark.dag, pytest.mark.long]

KINDS = {  # what is added, and the folder or file that it leaves behind
    "data set": "data/index/pairs/more",
    "encoder": "data/checkpoints/third",
    "view": "data/features/pairs/third",
    "store": "data/features/pairs/eye/more",
    "scenes": "data/index/scenes/others",
    "curation": "data/curation/few",
    "aligner": "data/models/leftover-head",
    "dense head": "data/dense/second",
    "comparison": "data/compare/third",
    "task": "data/results/multilingual.json",
}


def extended(params: dict[str, Any], project: Project) -> dict[str, Any]:
    """Something of every kind beside what there is."""

    def store(dataset: str, view: str, encoder: str) -> dict[str, str]:
        return {"dataset": dataset, "view": view, "encoder": encoder}

    more: dict[str, Any] = yaml.safe_load(yaml.safe_dump(params))
    more["encoders"]["third"] = params["encoders"]["eye"] | {"model": str(project.outside / "eye-c")}
    more["views"]["third"] = params["views"]["eye"] | {"encoder": "third"}
    more["datasets"]["more"] = {"source": "folder", "path": str(project.folder / "more pictures")}
    for view, encoder in (("eye", "eye"), ("blind", "blind"), ("words", "words"), ("third", "third")):
        more["stores"]["pairs"][f"more-{view}"] = store("more", view, encoder)
    more["stores"]["pairs"]["mine-third"] = store("mine", "third", "third")
    more["scenes"]["others"] = params["scenes"]["composed"] | {"count": 2}
    more["curations"]["few"] = {"method": "random", "pool": ["mine", "more"], "view": "third", "images": 20}
    more["aligners"]["leftover-head"] = {"views": ["third", "words"], "data": "few", "head": {"kind": "freeze-align"}}
    more["dense_heads"]["second"] = params["dense_heads"]["eye"] | {"regularisation": 2.0}
    more["compare"]["third"] = params["compare"]["mine"] | {"images": ["third", "blind"]}
    del more["evaluate"]["tasks"]["classification"], more["evaluate"]["tasks"]["segmentation"]
    return more


def digests(folder: Path) -> dict[str, str]:
    """Every file that dvc.lock lists as an output, by its content; seconds and machines are not."""
    lock = yaml.safe_load((folder / "dvc.lock").read_text())["stages"]
    files: dict[str, str] = {}
    for stage, entry in lock.items():
        if stage.partition("@")[0] in ("listing", "accounting", "report"):
            continue
        for out in entry["outs"]:
            path = folder / out["path"]
            for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
                if file.is_file() and file.name not in ("metrics.json", "curves.csv"):
                    files[file.relative_to(folder).as_posix()] = hashlib.sha256(file.read_bytes()).hexdigest()
    return files


def test_adding_and_removing_gives_the_bytes_of_a_fresh_clone(project: Project, tmp_path: Path) -> None:
    copy_with_links(project.folder, tmp_path / "work")
    work = Project(tmp_path / "work", project.outside, set())
    params = work.params()
    params["evaluate"]["tasks"].pop("multilingual")
    work.write_params(params)
    work.repro()
    lock = yaml.safe_load((work.folder / "dvc.lock").read_text())
    lock["stages"].pop("evaluate@multilingual", None)
    (work.folder / "dvc.lock").write_text(yaml.safe_dump(lock, sort_keys=False))
    for path in (work.folder / "data" / "results").glob("multilingual.*"):
        path.unlink()
    before = digests(work.folder)
    assert not [place for place in KINDS.values() if (work.folder / place).exists()]

    pictures = work.folder / "more pictures"
    pictures.mkdir()
    rows = ["file,caption,concept,classname,category"]
    for number in range(10):
        Image.new("RGB", (40, 40), (25 * number, 10, 99)).save(pictures / f"{number}.png")
        rows.append(f"{number}.png,a new guitar {number},new guitar {number},new guitar {number},tool")
    (pictures / "captions.csv").write_text("\n".join(rows))
    with_more = extended(params, work)
    with_more["evaluate"]["tasks"]["multilingual"] = {"datasets": ["mine", "more"]}
    work.write_params(with_more)
    work.repro()
    for kind, place in KINDS.items():
        assert (work.folder / place).exists(), kind
    assert digests(work.folder) != before

    work.write_params(params)
    output = work.run("dvc", "repro")
    (line,) = [line for line in output.splitlines() if line.startswith("Left over from earlier parameters")]
    ignored = line.partition(": ")[2].split(", ")
    for kind, place in KINDS.items():
        assert ignored.count(place) == 1, kind
        assert (work.folder / place).exists(), f"{kind}: nothing is deleted unasked"
    after = digests(work.folder)
    assert {name: after[name] for name in before} == before
    page = (work.folder / "data" / "report" / "index.html").read_text(encoding="utf-8")
    assert "leftover-head" not in page
    assert work.repro() == set()


def test_a_data_set_that_cannot_be_indexed_stops_nothing_once_it_is_gone(project: Project, tmp_path: Path) -> None:
    copy_with_links(project.folder, tmp_path / "work")
    work = Project(tmp_path / "work", project.outside, set())
    params = work.params()
    broken = yaml.safe_load(yaml.safe_dump(params))
    broken["datasets"]["broken"] = {"source": "folder", "path": str(tmp_path / "nowhere")}
    work.write_params(broken)
    done = work.attempt("dvc", "repro", "splits")
    assert done.returncode != 0
    assert "nowhere" in done.stdout + done.stderr
    (work.folder / "data" / "index" / "pairs" / "broken").mkdir(exist_ok=True)  # as a failed stage may leave it
    work.write_params(params)
    work.repro("splits", "train@default", "evaluate@retrieval")
    assert work.repro("splits", "train@default", "evaluate@retrieval") == set()
