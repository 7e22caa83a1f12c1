"""Code of a model never runs unless the user says so: every call that could run some says what it trusts.

Where `trust_remote_code` is left out, transformers asks on the terminal and runs the code on a `y`.
"""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.encoders.checkpoint import materialise
from pipeline.errors import CheckpointError
from tests.dag import tiny
from tests.encoders.conftest import spec

ROOT = Path(__file__).resolve().parent.parent
LOADERS = {
    "from_pretrained",
    "from_config",
    "SentenceTransformer",
    "CrossEncoder",
    "load_dataset",
    "load_dataset_builder",
}
OURS = {"Aligner"}  # its `from_pretrained` runs none by default
PICKLES = {("torch", "load"): ("weights_only", True), ("np", "load"): ("allow_pickle", False)}


def unguarded(code: str) -> Iterator[str]:
    """Calls in `code` that may run code or a pickle of a model without saying that they should not."""
    for node in ast.walk(ast.parse(code)):
        if not isinstance(node, ast.Call):
            continue
        named = {keyword.arg: keyword.value for keyword in node.keywords if keyword.arg is not None}
        function = node.func
        name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
        owner = ast.unparse(function.value) if isinstance(function, ast.Attribute) else ""
        if name in LOADERS and owner not in OURS and "modules" not in named and "trust_remote_code" not in named:
            yield f"line {node.lineno}: {ast.unparse(function)} leaves trust_remote_code to its default"
        if isinstance(named.get("trust_remote_code"), ast.Constant) and named["trust_remote_code"].value is not False:
            yield f"line {node.lineno}: {ast.unparse(function)} trusts whatever the user says"
        if (owner, name) in PICKLES:
            key, wanted = PICKLES[owner, name]
            if not (isinstance(named.get(key), ast.Constant) and named[key].value is wanted):
                yield f"line {node.lineno}: {owner}.{name} without {key}={wanted}"
        if (owner, name) == ("torch.hub", "load"):
            yield f"line {node.lineno}: torch.hub.load runs code of a repository"


def test_every_call_of_this_project_says_what_it_trusts() -> None:
    found = {
        f"{path.relative_to(ROOT)}, {line}"
        for package in ("pipeline", "stages", "benchmarks")
        for path in sorted((ROOT / package).rglob("*.py"))
        for line in unguarded(path.read_text(encoding="utf-8"))
    }
    assert found == set()


@pytest.mark.parametrize(
    "code",
    [
        "AutoModel.from_pretrained(folder, local_files_only=True)",
        "transformers.AutoConfig.from_pretrained(x, **options)",
        "AutoModel.from_config(config)",
        "SentenceTransformer(str(folder))",
        "AutoTokenizer.from_pretrained(x, trust_remote_code=True)",
        "AutoTokenizer.from_pretrained(x, trust_remote_code=None)",
        "datasets.load_dataset('a')",
        "torch.load(x)",
        "torch.load(x, weights_only=False)",
        "np.load(x, allow_pickle=True)",
        "torch.hub.load('a/b', 'c')",
    ],
)
def test_such_a_call_would_be_seen(code: str) -> None:
    assert len(list(unguarded(code))) == 1


@pytest.mark.parametrize(
    "code",
    [
        "AutoModel.from_pretrained(folder, trust_remote_code=False)",
        "AutoModel.from_pretrained(folder, trust_remote_code=spec.trust_remote_code)",
        "SentenceTransformer(modules=[a, b])",
        "Aligner.from_pretrained(folder)",
        "torch.load(x, weights_only=True)",
    ],
)
def test_a_guarded_call_is_passed(code: str) -> None:
    assert list(unguarded(code)) == []


ASKS = """
import builtins, sys
from pathlib import Path
builtins.input = lambda *_: (print("ASKED"), "y")[1]
from pipeline.config import EncoderSpec
from pipeline.encoders.checkpoint import materialise
from pipeline.errors import PermafrostError
entry = EncoderSpec(modality=sys.argv[1], source="local", model=sys.argv[2], loader=sys.argv[3], pooling=sys.argv[4])
try:
    materialise(entry, Path(sys.argv[5]))
    print("made")
except PermafrostError as error:
    print("refused", error)
"""


@pytest.mark.parametrize(
    ("modality", "part", "classes"),
    [
        ("image", "config.json", {"AutoConfig": "own.Own", "AutoModel": "own.Own"}),
        ("image", "preprocessor_config.json", {"AutoImageProcessor": "own.Own"}),
        ("text", "config.json", {"AutoConfig": "own.Own", "AutoModel": "own.Own"}),
        ("text", "tokenizer_config.json", {"AutoTokenizer": ["own.Own", None]}),
    ],
)
def test_no_question_is_asked_and_no_code_runs(
    modality: str, part: str, classes: dict[str, object], tmp_path: Path
) -> None:
    origin, ran = tmp_path / "origin", tmp_path / "ran"
    (tiny.write_image_checkpoint if modality == "image" else tiny.write_text_checkpoint)(origin, 0)
    content = json.loads((origin / part).read_text()) | {"auto_map": classes}
    if part == "config.json":
        content["model_type"] = "own"  # which nobody else knows
    (origin / part).write_text(json.dumps(content))
    (origin / "own.py").write_text(f"open({str(ran)!r}, 'w')\n")
    pooling = "cls" if modality == "image" else "mean"
    arguments = [modality, str(origin), "transformers", pooling, str(tmp_path / "made")]
    done = subprocess.run(
        [sys.executable, "-c", ASKS, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert not ran.exists(), done.stdout + done.stderr
    assert "ASKED" not in done.stdout
    assert "made" in done.stdout or "refused" in done.stdout, done.stderr


@pytest.mark.parametrize("type_", ["os.path", "own.Own", "other/repository--own.Own", "sentence_transformersx.Own"])
def test_a_foreign_module_of_a_sentence_transformers_folder_is_not_imported(type_: str, tmp_path: Path) -> None:
    origin = tmp_path / "origin"
    tiny.write_text_checkpoint(origin, 0)
    (origin / "modules.json").write_text(json.dumps([{"idx": 0, "name": "0", "path": "", "type": type_}]))
    with pytest.raises(CheckpointError, match="no part of sentence-transformers"):
        materialise(spec("text", "sentence-transformers", str(origin), pooling="model"), tmp_path / "made")
