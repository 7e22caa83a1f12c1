"""The paper's models as whole projects: params.yaml over folders of tars, with nothing left of the small default."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.commands.sources import Found
from pipeline.errors import SourceError

TRAINING = ("cc3m", "cc12m", "sbu", "concepts")  # folders of tars, as img2dataset writes them
TESTS = ("imagenet1k", "flickr30k")  # folders `wds_<name>` of CLIP_benchmark


@dataclass(frozen=True)
class Preset:
    """A pair of encoders of the paper.

    Attributes:
        aligner: the name of the trained one.
        text: of the catalogue; the image encoder is DINOv2-large.
        embed_dim: width of the shared space.
    """

    aligner: str
    text: str
    embed_dim: int


PRESETS = {
    "dinov2-arl": Preset("arl", "all-roberta-large-v1", 1024),
    "dinov2-mpnet": Preset("mpnet", "paraphrase-multilingual-mpnet-base-v2", 768),
}
_TRAIN = {
    "epochs": 30,
    "batch_size": 16384,
    "lr": 1.0e-3,
    "min_lr": 1.0e-5,
    "warmup_steps": 1000,
    "weight_decay": 0.02,
    "temperature": 0.07,
    "precision": "bfloat16",
    "step": "compiled",
}
_CLOSED = {
    "kind": "closed-form",
    "local_tokens": "mean",
    "forms": {"cca": {"shrink": 1.0}, "kernel-ridge": {"ridge": 0.3}},
}


def look_for_preset(written: str) -> tuple[Found, list[str]]:
    """What a folder holds of the data that the paper trains and tests on, and the names of it.

    Raises:
        SourceError: it has none of the training data.
    """
    folder = Path(written).expanduser().resolve()
    tars = {name: len(list((folder / name).glob("*.tar"))) for name in TRAINING}
    trained = [name for name, number in tars.items() if number]
    if not trained:
        raise SourceError(
            f"{folder} has no tars to train on; expected some in {', '.join(TRAINING)} below it, as img2dataset writes "
            "them: docs/paper.md has the commands."
        )
    tested = [name for name in TESTS if (folder / f"wds_{name}").is_dir()]
    lacking = [name for name in TRAINING if name not in trained]
    lacking += [f"wds_{name}" for name in TESTS if name not in tested]
    what = ", ".join(f"{name} ({tars[name]} tars)" for name in trained) + "".join(f", {name}" for name in tested)
    warnings = [f"{', '.join(lacking)} not below {folder}; params.yaml goes without"] if lacking else []
    return Found({}, what, 10_000 * sum(tars.values()), warnings=warnings), [*trained, *tested]


def preset_entries(name: str, folder: Path, present: list[str]) -> dict[str, Any]:
    """The sections of params.yaml for a preset, and those of the data sets that are there.

    Args:
        name: of `PRESETS`.
        folder: that holds the data sets.
        present: which of `TRAINING` and `TESTS`, at least one of the former.
    """
    preset = PRESETS[name]
    trained = [dataset for dataset in TRAINING if dataset in present]
    tars: dict[str, Any] = {
        dataset: {"source": "webdataset", "path": f"{folder}/{dataset}/*.tar", "check": "header"} for dataset in trained
    }
    tests = {
        dataset: {"source": "clip-benchmark", "path": f"{folder}/wds_{dataset}", "transfer": True}
        for dataset in TESTS
        if dataset in present
    }
    views = [(dataset, view) for dataset in (*tars, *tests) for view in ("image", "text")]
    pairs = {
        f"{dataset}-{view}": {"dataset": dataset, "view": view, "encoder": view}
        for dataset, view in views
        if (dataset, view) != ("imagenet1k", "text")
    }
    sections: dict[str, Any] = {
        "encoders": {
            "image": {"catalogue": "dinov2-large", "autocast": "bfloat16"},
            "text": {"catalogue": preset.text, "autocast": "bfloat16"},
        },
        "views": {
            "image": {"encoder": "image", "resolution": 224, "tier": "cls"},
            "text": {"encoder": "text", "max_tokens": 77, "languages": "all"},
        },
        "datasets": tars | tests,
        "stores": {"pairs": pairs},
        "curations": {"all": {"pool": trained, "view": "image"}},
        "splits": {"repeats": 1, "validation": 0.0005, "test": 0.0005},
        "encode": {"batch_size": "auto", "text_batch_size": "auto", "shard_rows": 16384},
        "train": _TRAIN,
        "aligners": {
            preset.aligner: {
                "views": ["image", "text"],
                "data": "all",
                "head": {"kind": "freeze-align", "embed_dim": preset.embed_dim, "local_tokens": "mean"},
            },
            "default": {"views": ["image", "text"], "data": "all", "head": _CLOSED},
        },
    }
    tasks: dict[str, Any] = {"retrieval": {"datasets": ["flickr30k"] if "flickr30k" in tests else trained}}
    if "imagenet1k" in tests:
        classes = [{"dataset": "imagenet1k", "label": "concept"}]
        tasks = {"classification": {"prompt_sets": ["openai"], "classes": classes}, **tasks}
        sections["stores"]["prompts"] = {
            "classnames-text": {"dataset": "classnames", "view": "text", "encoder": "text"}
        }
        sections["prompts"] = {"sets": {"openai": "openai-80"}}
    return sections | {"evaluate": {"tasks": tasks, "versus": {"default": preset.aligner}}}
