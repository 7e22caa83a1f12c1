"""benchmarks/gpu.py at toy size on the CPU: figures are written as they come, and a failure costs one part."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "benchmarks" / "gpu.py"


def run(*arguments: str, out: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), "--device", "cpu", "--small", "--out", str(out), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=out.parent)


def test_parts_run_at_toy_size_and_write_their_figures(tmp_path: Path) -> None:
    out = tmp_path / "a folder" / "gpu.json"
    out.parent.mkdir()
    done = run("--only", "rates", "same", "losses", "vit-s14", out=out)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(out.read_text(encoding="utf-8"))
    assert list(found) == ["rates", "same", "losses", "vit-s14"]
    assert found["same"]["float32"]["difference_over_what_training_moved"]["eager again"] == 0
    for kind, sides in (("info-nce", 4), ("sigmoid", 4)):
        assert len(found["losses"][kind]) == sides
        assert all(side["gradient_error"] < 0.03 for side in found["losses"][kind].values())
    assert found["vit-s14"]["largest_difference_from_ours"]["transformers loop"] < 0.05
    assert list(out.parent.iterdir()) == [out]


def test_a_part_that_takes_too_long_leaves_the_others_their_figures(tmp_path: Path) -> None:
    out = tmp_path / "gpu.json"
    out.write_text(json.dumps({"members": {"kept": 1}}), encoding="utf-8")
    done = run("--only", "training", "rates", "--longest", "0.01", out=out)
    assert done.returncode == 1
    assert "failed: training, rates" in done.stderr
    found = json.loads(out.read_text(encoding="utf-8"))
    assert found["training"]["failed"].startswith("stopped after")
    assert found["members"] == {"kept": 1}
