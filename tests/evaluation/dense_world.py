"""A `SceneWorld` with training scenes, captions of its cut-outs, and a data set with label maps in VOC's layout."""

import shutil
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from pipeline.config import ScenesSpec, SegmentationSource, SlidingWindows
from pipeline.datasets.index import build_index
from pipeline.datasets.scenes import Scenes, build_scenes, read_scenes
from pipeline.datasets.tables import JOINT_PAIRS, PROMPTS, read_table, text_id, write_table
from tests.datasets.label_maps import write_voc
from tests.evaluation.scene_world import DENSE, SIDE, SIZE, TEXTS, WIDTH, SceneWorld, write_features

TEXT_WIDTH = WIDTH
WHOLE = DENSE | {"fit": "whole"}
LANGUAGES = ("en", "de")


@dataclass
class DenseWorld(SceneWorld):
    """See the module; `caption_vectors` are by image id of a cut-out, of unit length."""

    training_patch: dict[str, np.ndarray] = field(default_factory=dict)
    caption_vectors: dict[str, np.ndarray] = field(default_factory=dict)
    window_patch: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)

    def write(self) -> "DenseWorld":
        super().write()
        data = self.root / "data"
        params = ScenesSpec(pieces=("cut",), use="training", count=12, size=SIZE, objects=(2, 4))
        build_scenes({"cut": data / "index/pairs/cut"}, params, data / "index/scenes/training")
        generator, ids = np.random.default_rng(5), self.training_scenes().ids.tolist()
        for view in ("eye", "blind"):
            patch = self.training_patch[view] = generator.normal(size=(len(ids), SIDE**2, WIDTH)).astype(np.float16)
            arrays = {"cls": patch[:, :1], "mean": patch.mean(axis=1, keepdims=True), "patch": patch}
            folder = data / f"features/scenes/{view}-dense/training"
            write_features(folder, ids, arrays, DENSE, patch_grid=[SIDE, SIDE])
        write_features(data / "features/scenes/flat/training", ids, {"cls": patch[:, :1]}, DENSE)
        self._captions(generator)
        return self

    def training_scenes(self) -> Scenes:
        return read_scenes(self.root / "data/index/scenes/training")

    def _captions(self, generator: np.random.Generator) -> None:
        data, vectors = self.root / "data", {}
        pairs = []
        for row in self.samples:
            caption = f"A {row['concept']}."
            vector = vectors.setdefault(text_id(caption), generator.normal(size=WIDTH).astype(np.float16))
            unit = vector.astype(np.float64)
            self.caption_vectors[row["image_id"]] = unit / np.linalg.norm(unit)
            pair = {"dataset": "cut", "image_id": row["image_id"], "text_id": text_id(caption), "language": "en"}
            pairs.append(pair | {"role": "caption"})
        write_table(pa.Table.from_pylist(pairs, schema=JOINT_PAIRS), data / "splits/pairs.parquet")
        pooled = {"pooled": np.stack(list(vectors.values()))}
        write_features(data / "features/pairs/words/cut", list(vectors), pooled, TEXTS)

    def write_label_maps(self) -> None:
        """Data sets `voc` in windows and `voc-whole`, each through both dense views, and prompts in two languages."""
        data, folder = self.root / "data", write_voc(self.root)
        windows = SlidingWindows(short_side=40, side=40, stride=20)
        for name, how in (("voc", windows), ("voc-whole", None)):
            spec = SegmentationSource(source="voc", path=str(folder), windows=how)
            build_index(spec, data / "index/pairs" / name, self.root)
            ids = read_table(data / "index/pairs" / name / "images.parquet").column("image_id").to_pylist()
            for number, view in enumerate(("eye", "blind")):
                patch = np.random.default_rng(number).normal(size=(len(ids), SIDE**2, WIDTH)).astype(np.float16)
                self.window_patch[f"{name} {view}"] = dict(zip(ids, patch, strict=True))
                arrays = {"cls": patch[:, :1], "mean": patch[:, :1], "patch": patch}
                store = data / f"features/pairs/{view}-dense" / name
                write_features(store, ids, arrays, WHOLE, patch_grid=[SIDE, SIDE])
        self._class_prompts()

    def _class_prompts(self) -> None:
        data, generator = self.root / "data", np.random.default_rng(9)
        path = data / "index/prompts/classnames/prompts.parquet"
        rows = read_table(path).to_pylist()
        classes = read_table(data / "index/pairs/voc/classes.parquet").to_pylist()
        for row in classes:
            if row["kind"] != "class" or row["language"] not in LANGUAGES:
                continue
            for dataset in ("voc", "voc-whole"):
                for position, template in enumerate(("{}", "a {}") if row["language"] == "en" else ("{}",)):
                    identifier = text_id(template.format(row["classname"]))
                    self.prompt_vectors.setdefault(identifier, generator.normal(size=WIDTH).astype(np.float16))
                    key = (dataset, str(row["value"]), row["language"])
                    self.prompt_ids.setdefault(key, []).append(identifier)  # type: ignore[arg-type]
                    prompt = {"dataset": dataset, "label": "segment", "value": str(row["value"]), "set": "both"}
                    prompt |= {"classname": row["classname"], "template": position, "text_id": identifier}
                    rows.append(prompt | {"language": row["language"]})
        write_table(pa.Table.from_pylist(rows, schema=PROMPTS), path)
        pooled = {"pooled": np.stack(list(self.prompt_vectors.values()))}
        store = data / "features/prompts/words/classnames"
        shutil.rmtree(store)
        write_features(store, list(self.prompt_vectors), pooled, TEXTS)
