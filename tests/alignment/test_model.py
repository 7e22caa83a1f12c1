import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from pipeline.alignment.data.inputs import ImageInput, TextInput
from pipeline.alignment.heads.base import parameter_count
from pipeline.alignment.heads.freeze_align import FreezeAlign
from pipeline.alignment.saved import HeadConfig, ProjectionHeads, head_entry, heads_path, save_heads
from pipeline.errors import ModelError
from tests.alignment.specs import trained


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, FreezeAlign]:
    torch.manual_seed(0)
    head = FreezeAlign(8, 6, 5).eval()
    config = HeadConfig(
        aligner="toy",
        head=head_entry(trained(embed_dim=5)),
        views={"image": "vit", "text": "minilm"},
        widths={"image": 8, "text": 6},
        embed_dim=5,
        fingerprints={"image": {"digest": "a"}, "text": {"digest": "b"}},
        data=("emoji",),
        repeats=1,
        seeds=(0,),
        best_epochs=(3,),
        parameters=parameter_count(head),
    )
    save_heads(head, tmp_path, 0)
    config.write(tmp_path)
    return tmp_path, head


def test_what_is_loaded_embeds_as_what_was_saved(saved: tuple[Path, FreezeAlign]) -> None:
    folder, head = saved
    rng = np.random.default_rng(0)
    cls, local, pooled = (rng.normal(size=s).astype(np.float16) for s in ((7, 8), (7, 3, 8), (4, 6)))
    heads = ProjectionHeads.from_folder(folder)
    images, texts = heads.embed_image(cls, local), heads.embed_text(pooled)
    with torch.no_grad():
        expected = head.image_features(ImageInput(torch.from_numpy(cls), torch.from_numpy(local)))
        expected_text = head.text_features(TextInput.from_pooled(torch.from_numpy(pooled)))
    np.testing.assert_allclose(images, expected.numpy(), atol=1e-6)
    np.testing.assert_allclose(texts, expected_text.numpy(), atol=1e-6)
    assert images.dtype == texts.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(images, axis=1), 1, atol=1e-6)
    assert HeadConfig.read(folder) == heads.config
    assert heads.embed_text(pooled[:0]).shape == (0, 5)


def test_patches_go_through_the_projector_of_local_tokens_alone(saved: tuple[Path, FreezeAlign]) -> None:
    folder, head = saved
    heads = ProjectionHeads.from_folder(folder)
    patch = np.random.default_rng(0).normal(size=(3, 4, 8)).astype(np.float16)
    found = heads.embed_patches(patch)
    with torch.no_grad():
        for image in range(3):
            for place in range(4):
                projected = head.vision_local(torch.from_numpy(patch[image, place]).float())
                expected = projected / projected.norm()
                np.testing.assert_allclose(found[image, place], expected.numpy(), atol=1e-6)
    assert found.dtype == np.float32
    assert heads.embed_patches(patch[:0]).shape == (0, 4, 5)
    many = np.repeat(patch, 1100, axis=0)  # more than one chunk
    np.testing.assert_allclose(heads.embed_patches(many)[::1100], found, atol=1e-6)
    with pytest.raises(ValueError, match="width 8"):
        heads.embed_patches(patch[..., :6])


def test_nothing_is_pickled(saved: tuple[Path, FreezeAlign]) -> None:
    files = sorted(str(path.relative_to(saved[0])) for path in saved[0].rglob("*") if path.is_file())
    assert files == ["config.json", "repeat_0/heads.safetensors"]


def test_what_does_not_fit_is_refused(saved: tuple[Path, FreezeAlign]) -> None:
    folder, _ = saved
    heads = ProjectionHeads.from_folder(folder)
    with pytest.raises(ValueError, match="width 8"):
        heads.embed_image(np.zeros((2, 6), np.float32), np.zeros((2, 3, 8), np.float32))
    with pytest.raises(ValueError, match="width 6"):
        heads.embed_text(np.zeros((2, 8), np.float32))
    with pytest.raises(ModelError, match=r"repeat_1.*dvc repro"):
        ProjectionHeads.from_folder(folder, 1)
    with pytest.raises(ModelError, match=r"No fitted aligner.*dvc repro"):
        HeadConfig.read(folder / "absent")
    heads_path(folder, 0).write_bytes(b"\x80\x04 not safetensors")
    with pytest.raises(ModelError, match=r"heads\.safetensors cannot be read.*pipeline\.store repair"):
        ProjectionHeads.from_folder(folder)


@pytest.mark.parametrize("seed", range(12))
def test_a_flipped_bit_in_a_head_is_never_read_as_a_weight(saved: tuple[Path, FreezeAlign], seed: int) -> None:
    folder, head = saved
    path = heads_path(folder, 0)
    content = bytearray(path.read_bytes())
    generator = np.random.default_rng(seed)
    start = 8 + int.from_bytes(content[:8], "little") if seed % 2 else 0  # in the weights, or anywhere
    content[generator.integers(start, len(content))] ^= 1 << int(generator.integers(8))
    path.write_bytes(content)
    try:
        loaded = ProjectionHeads.from_folder(folder)
    except ModelError as error:
        assert str(path) in str(error)  # noqa: PT017
        return
    assert start == 0, "a flipped weight must be refused"
    for name, value in loaded._head.state_dict().items():
        assert torch.equal(value, head.state_dict()[name]), name


def test_the_same_weights_give_the_same_bytes_and_those_without_a_checksum_are_read(
    saved: tuple[Path, FreezeAlign],
) -> None:
    folder, head = saved
    path = heads_path(folder, 0)
    before = path.read_bytes()
    save_heads(head, folder, 0)
    assert path.read_bytes() == before
    save_file(head.state_dict(), path)  # as earlier versions did
    ProjectionHeads.from_folder(folder)


def test_a_head_that_is_a_pipe_is_not_waited_for(saved: tuple[Path, FreezeAlign]) -> None:
    path = heads_path(saved[0], 0)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(ModelError, match="is not a regular file"):
        ProjectionHeads.from_folder(saved[0])


@pytest.mark.parametrize("change", [{"format": 1}, {"surprise": 1}, {"seeds": None}])
def test_a_config_of_another_form_is_refused(saved: tuple[Path, FreezeAlign], change: dict[str, object]) -> None:
    path = saved[0] / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ModelError, match=r"config\.json.*dvc repro"):
        HeadConfig.read(saved[0])
