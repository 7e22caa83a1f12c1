"""A small project on disk: params.yaml, dvc.yaml and the JSON files that its stages would write."""

import base64
import io
import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml
from PIL import Image

from pipeline.config import ReportSettings, load_config
from pipeline.datasets.tables import IMAGES, TEXTS, image_id, text_id
from pipeline.evaluation.results import Difference, Evaluated, Row, TaskResult
from pipeline.reporting import write_report

ROOT = Path(__file__).resolve().parents[2]
RETRIEVAL = {"datasets": ["mine"]}


def one_aligner() -> dict[str, Any]:
    """One data set, one aligner, one task; no control, no comparison, no toy study."""
    return {
        "encoders": {
            "eye": {"modality": "image", "source": "embedded", "model": "an-eye", "loader": "transformers"},
            "words": {"modality": "text", "source": "embedded", "model": "some-words", "loader": "transformers"},
        },
        "views": {"eye": {"encoder": "eye", "resolution": 112, "tier": "grid"}, "words": {"encoder": "words"}},
        "datasets": {"mine": {"source": "stamps", "languages": ["en"]}},
        "stores": {"pairs": {view: _store("mine", view) for view in ("eye", "words")}},
        "curations": {"all": {"pool": ["mine"], "view": "eye"}},
        "aligners": {"plain": aligner("eye")},
        "evaluate": {"tasks": {"retrieval": RETRIEVAL}},
    }


def with_control() -> dict[str, Any]:
    """The same with a control, a third aligner, a second curation, a comparison and a toy study."""
    params = one_aligner()
    params["encoders"]["blind"] = {**params["encoders"]["eye"], "model": "a-blind-eye"}
    params["views"]["blind"] = {"encoder": "blind", "resolution": 112, "tier": "grid"}
    params["stores"]["pairs"]["blind"] = _store("mine", "blind")
    params["curations"]["random"] = {"method": "random", "pool": ["mine"], "view": "eye", "images": 9}
    params["aligners"] |= {"blind": aligner("blind"), "other": {**aligner("eye"), "data": "random"}}
    params["compare"] = {
        "near": {"datasets": ["mine"], "images": ["eye", "blind"], "texts": ["words"], "control": "blind"}
    }
    params["toy"] = {"play": {"compare": "near"}}
    params["predictors"] = {"tell": {"compare": "near"}}
    params["evaluate"] |= {"control": "blind", "versus": {"other": "plain"}}
    return params


def aligner(image: str) -> dict[str, Any]:
    return {"views": [image, "words"], "data": "all", "head": {"kind": "closed-form", "forms": {"cca": {}}}}


def _store(dataset: str, view: str) -> dict[str, str]:
    return {"dataset": dataset, "view": view, "encoder": view}


def row(aligner: str, metric: str = "t2i_recall@1", value: float = 0.5, **others: Any) -> Row:
    fields: dict[str, Any] = {
        "dataset": "mine", "chance": 0.1, "ci": (value - 0.1, value + 0.1), "sd_repeats": 0.01, "n_items": 30,
        "n_candidates": 10.0, "n_families": 8, "repeats": 2,
    }  # fmt: skip
    return Row(aligner=aligner, metric=metric, value=value, **(fields | others))


def difference(
    aligner: str, versus: str, metric: str = "t2i_recall@1", value: float = 0.2, **others: Any
) -> Difference:
    fields: dict[str, Any] = {
        "dataset": "mine", "ci": (value - 0.1, value + 0.1), "ratio": 1.5, "ratio_ci": (1.2, 1.9),
        "excludes_zero": abs(value) > 0.1, "established": abs(value) > 0.1, "p": 0.001 if abs(value) > 0.1 else 0.5,
    }  # fmt: skip
    return Difference(aligner=aligner, versus=versus, metric=metric, difference=value, **(fields | others))


class SmallProject:
    """The working directory of a test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copy(ROOT / "dvc.yaml", folder / "dvc.yaml")

    def configure(self, params: dict[str, Any]) -> ReportSettings:
        """Write params.yaml, and read what the report gets of it."""
        path = self.folder / "params.yaml"
        path.write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")
        settings = load_config(path).settings("report")
        assert isinstance(settings, ReportSettings)
        return settings

    def page(self, settings: ReportSettings) -> str:
        return write_report(self.folder / "data" / "report", settings).read_text(encoding="utf-8")

    def write(self, name: str, content: Any) -> None:
        path = self.folder / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content), encoding="utf-8")

    def evaluated(
        self,
        task: str,
        rows: tuple[Row, ...] = (),
        differences: tuple[Difference, ...] = (),
        *,
        left_out: tuple[str, ...] = (),
        examples: tuple[dict[str, Any], ...] = (),
    ) -> None:
        """What evaluate@<task> writes."""
        result = TaskResult(task, f"How {task} is measured.", "query", rows, differences, ("In words.",), left_out)
        Evaluated(result, examples).write(self.folder / "data" / "results", "plain")

    def index(self, group: str, dataset: str, texts: tuple[str, ...]) -> list[dict[str, str]]:
        """An index of three images and these texts; references to the images."""
        folder = self.folder / "data" / "index" / group / dataset
        folder.mkdir(parents=True)
        contents = [picture((colour, 90, 60)) for colour in (20, 120, 220)]
        (folder / "images.bin").write_bytes(b"".join(contents))
        rows = [
            {"image_id": image_id(content), "path": "images.bin", "length": len(content),
             "offset": sum(map(len, contents[:place]))}
            for place, content in enumerate(contents)
        ]  # fmt: skip
        pa.parquet.write_table(pa.Table.from_pylist(rows, IMAGES), folder / "images.parquet")
        written = [{"text_id": text_id(text), "text": text} for text in texts]
        pa.parquet.write_table(pa.Table.from_pylist(written, TEXTS), folder / "texts.parquet")
        return [{"group": group, "dataset": dataset, "image_id": entry["image_id"]} for entry in rows]

    def trained(self, name: str, curves: str = "repeat,step,loss,val_recall\n0,1,3.5,0.1\n0,2,2.5,0.2\n") -> None:
        """What train@<name> writes of interest here."""
        self.write(
            f"models/{name}/metrics.json",
            {"validation_recall": {"mean": 0.2, "sd": None}, "seconds": 1.5, "samples_seen": 60, "parameters": 12},
        )
        (self.folder / "data" / "models" / name / "curves.csv").write_text(curves)

    def curated(self, name: str, method: str, concepts: bool = False) -> None:
        """coverage.json of a curation."""
        entry = {"concept": "birds", "dataset": "mine", "label": "category", "pool": 12.0, "selected": 3.0}
        content = {"method": method, "protocol": f"How {method} selects.", "concepts": [entry] if concepts else []}
        self.write(f"curation/{name}/coverage.json", content)

    def compared(self, name: str) -> None:
        """similarity.json of a comparison of views eye and blind with words."""
        pairs = [
            {
                "image": image,
                "text": "words",
                "layer": -1,
                "pooling": "cls",
                "cka": cka,
                "mutual_knn": cka / 2,
                "rank": 1,
            }
            for image, cka in (("eye", 0.4), ("blind", 0.1))
        ]
        content = {"protocol": "How spaces are compared.", "control": "blind", "chance": {"mutual_knn": 0.02}}
        self.write(f"compare/{name}/similarity.json", content | {"pairs": pairs, "best": pairs})

    def played(self, name: str) -> None:
        """toy.json of a study of the same views."""
        figures = {"cka": 0.4, "mutual_knn": 0.2, "loss": 1.5, "heldout_loss": 2.5, "heldout_recall": 0.25}
        figures |= {"chance_loss": 4.85, "chance_heldout_loss": 4.6, "chance_heldout_recall": 0.01}
        points = [
            {"study": "real", "image": "eye", **figures},
            {"study": "real", "image": "blind", **figures, "cka": 0.1},
            {"study": "synthetic", **figures},
        ]
        correlation = {"study": "real", "measure": "cka", "spearman": -0.5, "ci": [-0.9, 0.1], "p": 0.2, "n": 2}
        content = {"protocol": "How the toy is played.", "control": "blind", "points": points}
        self.write(f"toy/{name}/toy.json", content | {"correlations": [correlation]})

    def predicted(self, name: str) -> None:
        """predictors.json of a study of the same views, whose text encoder was not scored."""
        points = [
            {
                "name": f"{image}[-1] x words", "image": image, "layer": -1, "text": "words", "cka": value,
                "mutual_knn": value / 2, "probe_recall@10": value, "aligned_recall@10": value + 0.1,
                "aligned_chance@10": 0.05, "image_knn": 0.5, "image_linear": 0.6, "text_similarity": None,
            }
            for image, value in (("eye", 0.4), ("blind", 0.1))
        ]  # fmt: skip
        known = {"predictor": "cka", "points": "all", "scope": "images", "images": 3, "texts": 2, "spearman": 0.5}
        known |= {"ci": [-1.0, 1.0], "p": 0.3333, "partial": None, "regret": 0.1, "regret_chance": 0.2}
        unknown = {**known, "scope": "texts", "spearman": None, "ci": None, "p": None}
        content = {"protocol": "How it is predicted.", "control": "blind", "points": points}
        self.write(f"predictors/{name}/predictors.json", content | {"correlations": [known, unknown]})

    def counted(self) -> None:
        """costs.json."""
        stages = [
            {"stage": "encode@eye", "group": "encode", "seconds": 3.5, "output_bytes": 2_000, "files": 2},
            {"stage": "train@plain", "group": "train", "seconds": None, "output_bytes": 500, "files": 1},
        ]
        aligners = [
            {"aligner": "plain", "trainable": 12, "kept": 8, "total": 120, "trainable_share": 0.1, "samples_seen": 60}
        ]
        ratios = [
            {"name": "plain.share", "inputs": {"trainable": 12, "unknown": None}, "formula": "a / b", "value": 0.1}
        ]
        content = {"protocol": "How costs are counted.", "stages": stages, "aligners": aligners, "ratios": ratios}
        self.write("accounting/costs.json", content | {"left_out": ["aligner other: not counted"]})


def picture(colour: tuple[int, int, int]) -> bytes:
    """A PNG of one colour."""
    stream = io.BytesIO()
    Image.new("RGB", (24, 24), colour).save(stream, "PNG")
    return stream.getvalue()


def class_map(value: int) -> str:
    """A class map of one class, as examples hold it."""
    stream = io.BytesIO()
    Image.new("L", (24, 24), value).save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode("ascii")
