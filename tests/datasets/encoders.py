"""A tiny image and a tiny text encoder, with which an index is encoded as the stage does it."""

from pathlib import Path

import numpy as np

from pipeline.config import EncodeParams, EncoderSpec, ImageView, TextView
from pipeline.encoders.checkpoint import materialise
from pipeline.encoding.load import image_rows, text_rows
from pipeline.encoding.plan import image_plan, text_plan
from pipeline.encoding.run import EncodeSummary, StoreEncoder
from pipeline.features import FeatureStore, Fingerprint
from tests.dag import tiny

PARAMS = EncodeParams(batch_size=4, text_batch_size=4, shard_rows=4, max_failure_rate=0.0)
EYE, WORDS = ImageView(encoder="eye", resolution=28, tier="cls"), TextView(encoder="words")


class TinyEncoders:
    """Checkpoints in `folder`; features of each index land below it as well."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._specs = {
            "eye": EncoderSpec(modality="image", source="local", model=str(folder / "eye"), loader="transformers"),
            "words": EncoderSpec(
                modality="text", source="local", model=str(folder / "words"), loader="transformers", pooling="mean"
            ),
        }
        tiny.write_image_checkpoint(folder / "eye", 0)
        tiny.write_text_checkpoint(folder / "words", 1)
        for name, spec in self._specs.items():
            materialise(spec, folder / f"made-{name}")

    def images(self, index: Path, out: Path, params: EncodeParams = PARAMS) -> tuple[FeatureStore, EncodeSummary]:
        """Encode the images of an index."""

        def load():  # type: ignore[no-untyped-def]
            return image_rows(self._folder / "made-eye", self._specs["eye"], EYE, index, params)

        job = StoreEncoder("eye", Fingerprint({"weights": "eye"}), load, params.max_failure_rate)
        summary = job.run(image_plan(index, params.shard_rows), out)
        return FeatureStore.open(out), summary

    def texts(self, index: Path, out: Path) -> tuple[FeatureStore, EncodeSummary]:
        """Encode the texts of an index."""
        plan, strings = text_plan(index, (), PARAMS.shard_rows)

        def load():  # type: ignore[no-untyped-def]
            return text_rows(self._folder / "made-words", self._specs["words"], WORDS, strings, PARAMS)

        job = StoreEncoder("words", Fingerprint({"weights": "words"}), load, 0.0)
        summary = job.run(plan, out)
        return FeatureStore.open(out), summary

    def direct(self, index: Path, position: int) -> np.ndarray:
        """The CLS features (1, D) of one image without any store."""
        from pipeline.datasets.decode import ImageTable
        from pipeline.encoders.image import load_image_encoder

        encoder = load_image_encoder(self._folder / "made-eye", self._specs["eye"], EYE, "cpu")
        pixels = encoder.preprocess(ImageTable(index).load(position))
        features: np.ndarray = encoder.forward(pixels[None]).cls[0].numpy()
        return features
