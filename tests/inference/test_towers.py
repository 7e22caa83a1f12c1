"""Another text tower on the same image tower."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from pipeline import Aligner
from pipeline.alignment import fit_aligner
from pipeline.alignment.heads.fitted import RBF, Affine
from pipeline.alignment.heads.two_networks import TwoNetworks
from pipeline.alignment.saved import head_entry, save_heads
from pipeline.config import TrainParams
from pipeline.errors import DataError, FingerprintMismatch, ModelError
from pipeline.features import FeatureStore
from pipeline.inference.towers import other_images
from pipeline.paths import MODELS, store_folder
from tests.alignment.specs import computed, fit_of, settings_of
from tests.alignment.toy import World, write_store
from tests.inference.conftest import Project, aligner
from tests.inference.test_use import Refuse


def test_the_other_text_tower_shares_the_loaded_image_encoder(copied: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(copied.model("grid"), copied.model("other"))
    shutil.copyfile(
        copied.model("grid") / "repeat_1/heads.safetensors", copied.model("other") / "repeat_0/heads.safetensors"
    )
    path = copied.model("other") / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"aligner": "other"}))
    model = aligner(copied)
    expected = Aligner.from_pretrained(copied.model("other"), device="cpu")
    pictures, texts = expected.encode_image(copied.pictures), expected.encode_text(["a guitar"])
    model.encode_image(copied.pictures[:1])
    monkeypatch.setattr("pipeline.inference.encoders.load_image_encoder", Refuse())
    swapped = model.with_text_tower(copied.model("other"))
    assert swapped.config.aligner == "other"
    np.testing.assert_array_equal(swapped.encode_image(copied.pictures), pictures)
    np.testing.assert_array_equal(swapped.encode_text(["a guitar"]), texts)
    assert np.abs(model.encode_text(["a guitar"]) - texts).max() > 0.01, "the first one stays what it was"
    hits = swapped.search(copied.store("grid"), "a guitar", k=3)
    assert [hit.score for hit in hits] == pytest.approx(np.sort(pictures @ texts[0])[::-1][:3].tolist(), abs=2e-3)


def test_another_image_view_is_no_swap(project: Project) -> None:
    with pytest.raises(FingerprintMismatch, match=r"another image view(?s:.*)resolution: found 224, expected 42"):
        aligner(project, "grid").with_text_tower(project.model("mean"))


def regressed(project: Project, name: str, mean: float = 0.5, seed: int = 0) -> Path:
    """An aligner whose texts are mapped to images, which are centred alone."""
    folder = project.model(name)
    fitted = json.loads((project.model("mean") / "config.json").read_text())
    head = head_entry(computed({"ridge": {"direction": "text-to-image"}}, local_tokens="mean"))
    folder.mkdir(parents=True)
    draws = torch.Generator().manual_seed(seed)
    for repeat in range(2):
        image = Affine(torch.full((32,), mean + repeat))
        text = Affine(torch.zeros(16), torch.randn(16, 32, generator=draws))
        save_heads(TwoNetworks("concat", nn.Sequential(image), nn.Sequential(text)), folder, repeat)
    config = fitted | {"aligner": name, "head": head, "embed_dim": 32}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_a_folder_holds_several_text_towers_over_the_same_vectors_of_pictures(copied: Project, tmp_path: Path) -> None:
    main, other = regressed(copied, "main"), regressed(copied, "e5", seed=9)
    checkpoints = copied.root / "data/checkpoints"
    first, second = (Aligner.from_pretrained(folder, device="cpu", repeat=1) for folder in (main, other))
    assert first.shares_images(second)
    pictures = first.encode_image(copied.pictures)
    first.save_pretrained(tmp_path / "saved", text={"e5": other, "again": second})
    model = Aligner.from_pretrained(tmp_path / "saved", checkpoints=checkpoints, device="cpu", repeat=1)
    assert model.text_towers == {"e5": "shared", "again": "shared"}
    np.testing.assert_array_equal(model.encode_text(["a guitar"]), first.encode_text(["a guitar"]))
    chosen = Aligner.from_pretrained(tmp_path / "saved", text="e5", checkpoints=checkpoints, device="cpu", repeat=1)
    assert (chosen.config.aligner, chosen.folder) == ("e5", tmp_path / "saved/text/e5")
    np.testing.assert_array_equal(chosen.encode_text(["a guitar"]), second.encode_text(["a guitar"]))
    np.testing.assert_array_equal(chosen.encode_image(copied.pictures), pictures)
    assert np.abs(chosen.encode_text(["a guitar"]) - first.encode_text(["a guitar"])).max() > 0.01

    swapped = model.with_text("e5")  # in one call, and back
    np.testing.assert_array_equal(swapped.encode_text(["a guitar"]), second.encode_text(["a guitar"]))
    assert swapped.text_towers == model.text_towers
    np.testing.assert_array_equal(swapped.with_text(None).encode_text(["a guitar"]), first.encode_text(["a guitar"]))
    with pytest.raises(ModelError, match="no text tower 'fr'; it has e5, again"):
        model.with_text("fr")

    first.save_pretrained(tmp_path / "saved", text={"e5": chosen, "again": second})  # out of the folder itself
    cards = [(tmp_path / "saved/README.md").read_text()]
    assert f"| e5 | e5 | {copied.root / 'words'} | shared |" in cards[0]
    model.save_pretrained(tmp_path / "copy")  # they go along
    cards.append((tmp_path / "copy/README.md").read_text())
    assert [card.count("## Text towers") for card in cards] == [1, 1]
    (tmp_path / "copy/README.md").write_text(cards[1] + "\n## Mine\nkept\n")
    Aligner.from_pretrained(tmp_path / "copy", device="cpu").save_pretrained(tmp_path / "third")
    third = (tmp_path / "third/README.md").read_text()
    assert "## Mine\nkept\n\n## Text towers" in third
    assert third.count("## Text towers") == 1
    files = {path.relative_to(tmp_path / "saved") for path in (tmp_path / "saved").rglob("*") if path.is_file()}
    assert files == {path.relative_to(tmp_path / "copy") for path in (tmp_path / "copy").rglob("*") if path.is_file()}
    assert Aligner.from_pretrained(tmp_path / "copy", text="again", device="cpu").config.aligner == "e5"


def test_one_pass_of_the_encoder_serves_towers_with_image_heads_of_their_own(
    copied: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    main, other = regressed(copied, "main"), regressed(copied, "shifted", mean=0.1)
    first = Aligner.from_pretrained(main, device="cpu")
    second = first.with_text_tower(other)
    assert not first.shares_images(second)
    with pytest.raises(
        FingerprintMismatch, match=r"repeat 0\) are fitted to other values\. An image side that does not"
    ):
        first.save_pretrained(tmp_path / "saved", text={"shifted": other})
    assert not (tmp_path / "saved/config.json").exists()
    first.save_pretrained(tmp_path / "saved", text={"shifted": other}, own_image_heads=True)
    model = Aligner.from_pretrained(tmp_path / "saved", checkpoints=copied.root / "data/checkpoints", device="cpu")
    assert model.text_towers == {"shifted": "own"}
    expected = [first.encode_image(copied.pictures), second.encode_image(copied.pictures)]
    model.encode_image(copied.pictures[:1])
    monkeypatch.setattr("pipeline.inference.encoders.load_image_encoder", Refuse())
    found = model.encode_image_each(copied.pictures, [model.with_text("shifted")])
    for vectors, wanted in zip(found, expected, strict=True):
        np.testing.assert_array_equal(vectors, wanted)
    assert np.abs(found[0] - found[1]).max() > 0.01


def test_only_towers_of_the_same_image_view_join(copied: Project, tmp_path: Path) -> None:
    main, grid = regressed(copied, "main"), aligner(copied, "grid")
    model = Aligner.from_pretrained(main, device="cpu")
    for own in (False, True):
        with pytest.raises(FingerprintMismatch, match=r"another image view(?s:.*)resolution: found 42, expected 224"):
            model.save_pretrained(tmp_path / "saved", text={"grid": grid}, own_image_heads=own)
    with pytest.raises(FingerprintMismatch, match="another image view"):
        model.encode_image_each(copied.pictures, [grid])
    assert not model.shares_images(grid)
    with pytest.raises(DataError, match=r"name of a text tower, found '\.\./x'"):
        model.save_pretrained(tmp_path / "saved", text={"../x": main})
    with pytest.raises(FingerprintMismatch, match="makes other vectors of pictures"):
        model.with_text_tower(regressed(copied, "shifted", mean=0.1), same_vectors=True)
    assert model.with_text_tower(regressed(copied, "e5", seed=3), same_vectors=True).config.aligner == "e5"


def test_a_tower_that_was_changed_after_it_joined_is_refused(copied: Project, tmp_path: Path) -> None:
    main, other = regressed(copied, "main"), regressed(copied, "e5", seed=9)
    Aligner.from_pretrained(main, device="cpu").save_pretrained(tmp_path / "saved", text={"e5": other})
    for path in regressed(copied, "shifted", mean=0.1).glob("repeat_*/*"):
        shutil.copyfile(path, tmp_path / "saved/text/e5" / path.parent.name / path.name)
    with pytest.raises(ModelError, match=r"is not what towers\.json says: the image sides"):
        Aligner.from_pretrained(tmp_path / "saved", text="e5", device="cpu")
    for content in ('{"../e5": "shared"}', '{"e5": "maybe"}', "[", "[1]"):
        (tmp_path / "saved/text/towers.json").write_text(content)
        with pytest.raises(ModelError, match=r"towers\.json is damaged"):
            Aligner.from_pretrained(tmp_path / "saved", text="e5", device="cpu")


@pytest.mark.parametrize(
    ("forms", "shared"),
    [
        ({"ridge": {"direction": "text-to-image"}}, True),
        ({"kernel-ridge": {"direction": "text-to-image"}}, True),
        ({"ridge": {"direction": "text-to-image"}, "kernel-ridge": {"direction": "text-to-image"}}, True),
        ({"ridge": {}}, False),
        ({"kernel-ridge": {}}, False),
        ({"cca": {}}, False),
        ({"procrustes": {}}, False),
    ],
)
def test_which_fitted_heads_share_their_image_side(
    forms: dict[str, dict[str, str]], shared: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    world = World(tmp_path, families=16, concepts_per_family=2).write()
    for dataset in world.datasets:
        store = FeatureStore.open(store_folder("pairs", "minilm", dataset))
        draws = np.random.default_rng(3).normal(size=(len(store), 10)).astype(np.float16)
        write_store(store_folder("pairs", "e5", dataset), store.ids.tolist(), {"pooled": draws}, "digest-e5")
    head = computed(forms, local_tokens="mean")
    for text in ("minilm", "e5"):
        fit_aligner(settings_of(fit_of(head, text=text), TrainParams(device="cpu"), text))
    reason = other_images(MODELS / "minilm", MODELS / "e5")
    assert (reason is None) is shared, reason


def test_kernels_that_vanish_on_made_up_pictures_are_told_apart(copied: Project) -> None:
    """Their weights are, where what they make of anything far from their anchors is not."""
    first, second = (heads_of_kernel(copied, name, seed) for name, seed in (("one", 0), ("two", 1)))
    assert other_images(first, second) is not None
    assert other_images(first, first) is None


def heads_of_kernel(project: Project, name: str, seed: int) -> Path:
    folder = project.model(name)
    shutil.copytree(project.model("mean"), folder)
    forms = {"kernel-ridge": {"features": "exact"}}
    config = json.loads((folder / "config.json").read_text())
    config |= {"head": head_entry(computed(forms, local_tokens="mean")), "embed_dim": 16}
    (folder / "config.json").write_text(json.dumps(config))
    draws = torch.Generator().manual_seed(seed)
    for repeat in range(2):
        kernel = RBF(torch.full((5, 32), 1e3) + torch.randn(5, 32, generator=draws), 1.0)
        image = nn.Sequential(Affine(torch.zeros(32)), kernel, Affine(torch.zeros(5), torch.randn(5, 16)))
        save_heads(TwoNetworks("concat", image, nn.Sequential(Affine(torch.zeros(16)))), folder, repeat)
    return folder
