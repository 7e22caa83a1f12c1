"""SigLIP2 with naflex: pictures of any shape on grids of their own, against the library's own calls."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf
from PIL import Image
from torch.nn.functional import adaptive_avg_pool2d

from pipeline.config import EncodeParams
from pipeline.encoders.checkpoint import materialise
from pipeline.encoders.image import ImageEncoder, load_image_encoder
from pipeline.encoding.crops import crops
from pipeline.encoding.preparing import PreparationProcesses
from pipeline.encoding.rows import ImageRows
from pipeline.errors import CheckpointError
from tests.encoders.conftest import picture, spec, view
from tests.encoders.dual_models import LANGUAGE, VISION, _spread, write_tokenizer
from tests.encoders.stored import stored

SIZES = [(150, 110), (90, 130), (60, 60), (400, 60), (30, 300), (5, 7), (2000, 9), (1, 1)]
PICTURES = [picture(*size, number) for number, size in enumerate(SIZES)]
GRIDS = {32: {(3, 5), (5, 3), (4, 4), (2, 8)}, 48: {(5, 7), (7, 5), (6, 6)}}  # some of those that occur
PATCH = 8


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("naflex") / "origin"
    torch.manual_seed(0)
    text = LANGUAGE | {"hidden_size": 24, "projection_size": 24}
    eye = {key: value for key, value in VISION.items() if key != "image_size"} | {"num_patches": 16}
    model = hf.Siglip2Model(hf.Siglip2Config(text_config=text, vision_config=eye))
    _spread(model)
    with torch.no_grad():
        model.vision_model.head.probe.normal_()
    model.save_pretrained(made)
    write_tokenizer(made)
    hf.Siglip2ImageProcessor(patch_size=PATCH, max_num_patches=16).save_pretrained(made)
    return made


def entry(folder: Path, **options: Any) -> Any:
    return spec("image", "transformers", str(folder), **{"pooling": "model"} | options)


@pytest.fixture(scope="module")
def checkpoint(folder: Path) -> Path:
    made = folder.with_name("checkpoint")
    manifest = materialise(entry(folder), made)
    assert (manifest.architecture, manifest.width, manifest.patch_size, manifest.layers) == (
        "Siglip2VisionModel",
        24,
        PATCH,
        2,
    )
    assert manifest.preprocessing["max_patches"] == 16
    return made


class Own:
    """What the library gives for pictures that it pads to one number of patches."""

    def __init__(self, folder: Path, pictures: list[Image.Image], resolution: int) -> None:
        processor, model = hf.AutoImageProcessor.from_pretrained(folder), hf.Siglip2Model.from_pretrained(folder).eval()
        inputs = processor(images=pictures, max_num_patches=(resolution // PATCH) ** 2, return_tensors="pt")
        with torch.inference_mode():
            self.features = model.get_image_features(**inputs).pooler_output
            output = model.vision_model(**inputs, output_hidden_states=True)
            first = model.vision_model.post_layernorm(output.hidden_states[1])
        self.grids = [(int(rows), int(columns)) for rows, columns in inputs["spatial_shapes"]]
        self.mask = inputs["pixel_attention_mask"].bool()
        self.tokens = [hidden[kept] for hidden, kept in zip(output.last_hidden_state, self.mask, strict=True)]
        self.first = [hidden[kept] for hidden, kept in zip(first, self.mask, strict=True)]

    def regions(self, grid: int) -> np.ndarray:
        maps = [own.T.reshape(24, *shape) for own, shape in zip(self.tokens, self.grids, strict=True)]
        return np.stack([adaptive_avg_pool2d(one, grid).flatten(1).T.numpy() for one in maps])


def load(checkpoint: Path, folder: Path, resolution: int = 32, **options: Any) -> ImageEncoder:
    layers, own = (
        options.pop("layers", (-1,)),
        {key: options.pop(key) for key in ("dtype", "pooling") if key in options},
    )
    return load_image_encoder(
        checkpoint, entry(folder, layers=layers, **own), view(resolution=resolution, **options), "cpu"
    )


def encode(encoder: ImageEncoder, pictures: list[Image.Image] = PICTURES) -> Any:
    return encoder.forward(torch.stack([encoder.preprocess(image) for image in pictures]))


@pytest.mark.parametrize("resolution", [32, 48])
def test_features_and_tokens_are_those_of_the_library(folder: Path, checkpoint: Path, resolution: int) -> None:
    own = Own(folder, PICTURES, resolution)
    assert set(own.grids) >= GRIDS[resolution]
    assert not own.mask.all(), "some pictures are padded"
    encoder = load(checkpoint, folder, resolution)
    found = encode(encoder)
    assert (encoder.grids_vary, encoder.patch_grid) == (True, (0, 0))
    np.testing.assert_allclose(found.cls[:, 0].numpy(), own.features.numpy(), atol=1e-5)
    assert (own.features - own.features.mean(dim=0)).abs().max() > 0.1
    assert [tuple(grid) for grid in found.grids.tolist()] == own.grids
    for tokens, expected in zip(found.patch[:, 0], own.tokens, strict=True):
        np.testing.assert_allclose(tokens[: len(expected)].numpy(), expected.numpy(), atol=1e-5)


def test_layers_and_the_mean_leave_padding_out(folder: Path, checkpoint: Path) -> None:
    own = Own(folder, PICTURES, 32)
    found = encode(load(checkpoint, folder, layers=(1, 2), pooling="mean")).cls
    for place, tokens in enumerate((own.first, own.tokens)):
        expected = np.stack([values.mean(dim=0).numpy() for values in tokens])
        np.testing.assert_allclose(found[:, place].numpy(), expected, atol=1e-5)


def test_what_is_stored(folder: Path, checkpoint: Path) -> None:
    own, encoder = Own(folder, PICTURES, 32), load(checkpoint, folder)
    kept, names = view(resolution=32, tier="grid", crops=2), [f"row{number}" for number in range(len(PICTURES))]
    params = EncodeParams(batch_size=3, workers=0, decode="threads")
    batches = list(ImageRows(encoder, kept, lambda name: PICTURES[names.index(name)], params).encode(names))
    arrays = {name: np.concatenate([batch.arrays[name] for batch in batches]) for name in batches[0].arrays}
    mean = np.stack([values.mean(dim=0).numpy() for values in own.tokens])
    for name, expected in (("cls", own.features.numpy()), ("mean", mean)):
        np.testing.assert_allclose(arrays[name][:, 0], expected, atol=1e-5)
    np.testing.assert_allclose(arrays["grid"], own.regions(3), atol=1e-5)
    parts = [list(crops(image, name, 2, kept.crop_scale)) for image, name in zip(PICTURES, names, strict=True)]
    for number in range(2):
        of_crops = Own(folder, [part[number] for part in parts], 32)
        np.testing.assert_allclose(arrays["crop_cls"][:, number, 0], of_crops.features.numpy(), atol=1e-5)
        np.testing.assert_allclose(arrays["crop_grid"][:, number], of_crops.regions(3), atol=1e-5)


def test_other_processes_prepare_the_same(folder: Path, checkpoint: Path, tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.png" for number in range(3)]
    for image, file in zip(PICTURES, files, strict=False):
        image.save(file)
    encoder = load(checkpoint, folder)
    params = EncodeParams(batch_size=2, workers=1, decode="processes")
    rows = ImageRows(encoder, view(resolution=32, tier="grid"), Image.open, params)
    assert isinstance(rows._prepare, PreparationProcesses)
    found = {}
    for batch in rows.encode([str(file) for file in files]):
        found |= dict(zip(batch.positions, batch.arrays["cls"][:, 0], strict=True))
    expected = Own(folder, PICTURES[:3], 32).features.numpy()
    np.testing.assert_allclose(np.stack([found[place] for place in range(3)]), expected, atol=1e-5)


def test_all_of_a_picture_on_one_square(folder: Path, checkpoint: Path, tmp_path: Path) -> None:
    """`fit: whole` gives the library a square picture, so its grid is the same for all and tokens can be stored."""
    wanted = view(resolution=40, tier="full", fit="whole")
    encoder = load_image_encoder(checkpoint, entry(folder), wanted, "cpu")
    assert (encoder.grids_vary, encoder.patch_grid) == (False, (5, 5))
    squares = [image.resize((40, 40), Image.Resampling.BILINEAR) for image in PICTURES]
    own, found = Own(folder, squares, 40), encode(encoder)
    assert set(own.grids) == {(5, 5)}
    np.testing.assert_allclose(found.cls[:, 0].numpy(), own.features.numpy(), atol=1e-5)
    np.testing.assert_allclose(found.patch[:, 0].numpy(), torch.stack(own.tokens).numpy(), atol=1e-5)
    store = stored(entry(folder), wanted, checkpoint, tmp_path)
    assert store.read("patch", store.ids).shape == (3, 25, 24)
    assert list(store.attributes["patch_grid"]) == [5, 5]


@pytest.mark.parametrize("options", [{"dtype": "bfloat16"}, {"autocast": "bfloat16"}])
def test_short_types_keep_the_grids(folder: Path, checkpoint: Path, options: dict[str, str]) -> None:
    encoder = load_image_encoder(checkpoint, entry(folder, **options), view(resolution=48), "cpu")
    own, found = Own(folder, PICTURES, 48), encode(encoder)
    assert [tuple(grid) for grid in found.grids.tolist()] == own.grids
    assert found.cls.dtype == torch.float32
    cosine = torch.nn.functional.cosine_similarity(found.cls[:, 0], own.features)
    assert cosine.min() > 0.99


def test_the_layout_of_the_fast_path_changes_nothing(folder: Path, checkpoint: Path) -> None:
    encoder = load(checkpoint, folder)
    encoder.optimise(compiled=False, channels_last=True)
    np.testing.assert_allclose(encode(encoder).cls[:, 0].numpy(), Own(folder, PICTURES, 32).features, atol=1e-5)


def test_what_it_cannot_give_is_refused(folder: Path, checkpoint: Path) -> None:
    full = view(resolution=32, tier="full")
    with pytest.raises(CheckpointError, match="a grid of patches of its own; set `fit: whole`"):
        ImageRows(load(checkpoint, folder), full, lambda _: PICTURES[0], EncodeParams(workers=0))
    with pytest.raises(CheckpointError, match="has no CLS token; set `pooling` to one of: model, mean"):
        load(checkpoint, folder, pooling="cls")
    with pytest.raises(CheckpointError, match="resolution 36 is not a multiple of the patch size 8"):
        load(checkpoint, folder, 36)


@pytest.mark.parametrize(
    "processor",
    [
        hf.CLIPImageProcessor(),
        hf.Siglip2ImageProcessor(patch_size=16, max_num_patches=16),
        hf.Siglip2ImageProcessor(patch_size=PATCH, max_num_patches=16, do_resize=False),
    ],
)
def test_a_processor_that_does_not_fit_is_named(folder: Path, tmp_path: Path, processor: Any) -> None:
    origin = tmp_path / "origin"
    origin.mkdir()
    for file in folder.iterdir():
        (origin / file.name).write_bytes(file.read_bytes())
    processor.save_pretrained(origin)
    with pytest.raises(CheckpointError, match="to patches of 8 pixels .Siglip2ImageProcessor., found"):
        materialise(entry(origin), tmp_path / "made")
