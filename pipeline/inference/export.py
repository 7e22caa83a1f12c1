"""Aligners for other libraries: sentence-transformers, and ONNX."""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from pipeline.alignment import ProjectionHeads
from pipeline.arithmetic import own_arithmetic
from pipeline.config.modalities import DEFAULT, many
from pipeline.errors import ModelError
from pipeline.inference.arguments import whole_number
from pipeline.inference.encoders import FrozenEncoders
from pipeline.inference.inputs import ImageLike, open_image, text_list
from pipeline.inference.publish import Publish
from pipeline.inference.stock.export import export_modules, sample_pictures, sample_texts
from pipeline.user_path import user_path


class Export(Publish):
    """`export_sentence_transformers` and `export_onnx`."""

    _heads: ProjectionHeads
    _encoders: FrozenEncoders

    @own_arithmetic()
    def export_sentence_transformers(
        self,
        path: str | Path,
        *,
        pictures: Sequence[ImageLike] | None = None,
        texts: Sequence[str] | None = None,
        model_name: str | None = None,
    ) -> dict[str, float]:
        """Write a folder that `SentenceTransformer(path)` loads, with both encoders and no code of anybody.

        It is a Router by modality, of stock modules alone (Transformer, Pooling, Dense, LayerNorm, Normalize), and its
        vectors are checked against the aligner's on pictures and texts before it is kept. Stored features are rounded
        to their dtype, those of the export are not; the comparison is of unrounded ones. The sum of two cosines is made
        of steps that need float32.

        Args:
            path: a new or empty folder.
            pictures, texts: typical inputs to check on, and to set scales by; built-in ones where None.
            model_name: what the card says to load; the name of the folder where None.

        Returns:
            the largest difference of a number of a vector, by modality; at most 1e-5.

        Raises:
            ModelError: encoders or head have no such form, the message says which part and names ONNX; or `path` holds
                something.
            DataError, CheckpointError, FingerprintMismatch: as `encode`.
        """
        self._require_pictures_and_texts("sentence-transformers")
        out = new_folder(path)
        shown = None if pictures is None else [open_image(picture) for picture in pictures]
        said = None if texts is None else text_list(texts)
        card = self._card(self._source(), model_name or out.resolve().name, "sentence-transformers")
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=".partial-") as partial:
            made = Path(partial) / out.name
            encoders = self._encoders.placed("cpu", None).exact()
            differences = export_modules(self._heads.on("cpu"), encoders, made, card, shown, said)
            shutil.rmtree(out, ignore_errors=True)  # empty
            shutil.move(made, out)
        return differences

    @own_arithmetic()
    def export_onnx(
        self,
        path: str | Path,
        *,
        batch: int | None = None,
        int8: bool = False,
        pictures: Sequence[ImageLike] | None = None,
        texts: Sequence[str] | None = None,
    ) -> dict[str, dict[str, float]]:
        """Write both towers, encoder and head in one, as image.onnx and text.onnx, checked by onnxruntime.

        Inputs are `pixels` (B, 3, H, W) float32, prepared as preprocessor_config.json says, and `input_ids` with
        `attention_mask` (B, T) int64 of the tokenizer beside them, after the `prefix` of onnx.json; the output is
        `vectors` (B, K).

        Args:
            path: a new or empty folder.
            batch: inputs per call; any number where None.
            int8: encoders with weights of 8 bits; the head stays in float32.
            pictures, texts: inputs to check on; built-in ones where None.

        Returns:
            by modality, the largest `difference` of a number to the aligner's vectors of unrounded features, at most
            1e-4 but for int8, and the smallest `cosine`.

        Raises:
            ModelError: onnx or onnxruntime is missing, a part cannot be written, or `path` holds something.
            DataError, CheckpointError, FingerprintMismatch: as `encode`.
        """
        from pipeline.inference.stock.onnx import export_onnx

        self._require_pictures_and_texts("ONNX")
        out = new_folder(path)
        batch = None if batch is None else whole_number(batch, "batch")
        shown = sample_pictures() if pictures is None else [open_image(picture) for picture in pictures]
        said = sample_texts() if texts is None else text_list(texts)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=".partial-") as partial:
            made = Path(partial) / out.name
            encoders = self._encoders.placed("cpu", None).exact()
            found = export_onnx(self._heads.on("cpu"), encoders, made, batch, int8, shown, said)
            shutil.rmtree(out, ignore_errors=True)  # empty
            shutil.move(made, out)
        return found

    def _require_pictures_and_texts(self, form: str) -> None:
        """Check that there is nothing else, for which an export has no form.

        Raises:
            ModelError: there is; it says what of the aligner can be exported.
        """
        further = [many(modality) for modality in self.modalities if modality not in DEFAULT]
        if not further:
            return
        rest = (
            f"Its pictures and texts are those of aligner {self.config.space!r}: export that one."
            if self.config.space
            else "Use it as it is; save_pretrained() writes a folder for that."
        )
        raise ModelError(
            f"Aligner {self.config.aligner!r} takes {' and '.join(further)}. An export to {form} holds encoders of "
            f"pictures and texts: it has no form for reading, resampling and windowing {further[0]} and for pooling "
            f"their frames. {rest}"
        )


def new_folder(path: str | Path) -> Path:
    """The path of a folder that is to be written; its parents are made.

    Raises:
        ModelError: there is something already.
    """
    out = user_path(path, "the folder to write", ModelError)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ModelError(f"{out} holds something already; choose an empty or a new folder.")
    out.parent.mkdir(parents=True, exist_ok=True)
    return out
