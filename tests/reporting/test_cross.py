"""Sounds on the page: drawn, playable, and from the page itself."""

import base64
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from pipeline.datasets.audio.decode import decode
from pipeline.datasets.further import schemas
from pipeline.datasets.tables import media_id
from pipeline.errors import DataError
from pipeline.reporting.clips import Clips, waveform
from pipeline.reporting.inputs import Node
from tests.reporting.small import SmallProject, aligner, one_aligner, row


def sound(seconds: float, rate: int = 8000, form: str = "OGG") -> bytes:
    time = np.arange(int(seconds * rate)) / rate
    out = io.BytesIO()
    soundfile.write(out, 0.4 * np.sin(2 * np.pi * 330 * time) * np.exp(-3 * time), rate, format=form)
    return out.getvalue()


def index(folder: Path, contents: list[bytes]) -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sounds.bin").write_bytes(b"".join(contents))
    rows = [
        {"audio_id": media_id(content), "modality": "audio", "path": "sounds.bin", "length": len(content),
         "offset": sum(map(len, contents[:place])), "form": "ogg" if content.startswith(b"OggS") else "wav",
         "sample_rate": 8000, "channels": 1, "frames": 800, "seconds": 0.1, "kind": "effect", "key": f"s{place}"}
        for place, content in enumerate(contents)
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows, schemas("audio")["audio"]), folder / "audio.parquet")
    return [media_id(content) for content in contents]


def node(value: Any) -> Node:
    return Node(Path("data/results/x.json"), value)


def test_a_clip_is_the_file_itself_and_a_long_one_its_beginning(tmp_path: Path) -> None:
    short, long = sound(0.4), sound(20, form="WAV")
    ids = index(tmp_path / "pairs/heard", [short, long])
    clips = Clips(tmp_path)
    reference = {"group": "pairs", "dataset": "heard"}
    one = clips.clip(node(reference | {"audio_id": ids[0]}), "A bell")
    kind, _, content = one.uri.partition(";base64,")
    assert kind == "data:audio/ogg"
    assert base64.b64decode(content) == short
    other = clips.clip(node(reference | {"audio_id": ids[1]}), "A long bell")
    kind, _, content = other.uri.partition(";base64,")
    assert kind == "data:audio/wav"
    cut = decode(base64.b64decode(content))
    assert len(cut.samples) / cut.rate == pytest.approx(8, abs=0.01)
    with pytest.raises(DataError, match="names sound missing, which is not in"):
        clips.clip(node(reference | {"audio_id": "missing"}), "Nothing")


def test_the_waveform_is_as_tall_as_the_sound_is_loud() -> None:
    drawn = str(waveform(decode(sound(1.0, form="WAV"))))
    (points,) = re.findall(r'points="([^"]+)"', drawn)
    tops = [float(point.split(",")[1]) for point in points.split()][:75]
    assert tops[0] < 1  # the loudest part reaches the edge
    assert tops[60] > tops[0] + 10
    assert "Waveform, 1.0 seconds" in drawn


def params() -> dict[str, Any]:
    given = one_aligner()
    given["encoders"]["ear"] = {"catalogue": "log-mel-statistics"}
    given["views"]["ear"] = {"encoder": "ear", "seconds": 1.0}
    given["datasets"]["mine"]["effects"] = True
    given["stores"]["pairs"]["ear"] = {"dataset": "mine", "view": "ear", "encoder": "ear"}
    given["curations"]["heard"] = {"pool": ["mine"], "view": "ear"}
    head = {"kind": "closed-form", "local_tokens": "none", "image_input": "cls", "forms": {"cca": {}}}
    given["aligners"]["heard"] = aligner("ear") | {"data": "heard", "head": head}
    given["evaluate"]["tasks"]["cross_retrieval"] = {"sets": [{"dataset": "mine", "between": ["audio", "text"]}]}
    return given


def test_sounds_are_in_their_section_and_nothing_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    project = SmallProject(tmp_path)
    settings = project.configure(params())
    project.index("pairs", "mine", ("a bell", "a horn"))
    ids = index(tmp_path / "data/index/pairs/mine", [sound(0.3), sound(0.5)])
    texts = pq.read_table(tmp_path / "data/index/pairs/mine/texts.parquet").column("text_id").to_pylist()
    place = {"group": "pairs", "dataset": "mine"}
    example = {
        "kind": "effect", "language": "", "dataset": "mine", "from": "audio", "to": "text", "rank": 1,
        "query": place | {"audio_id": ids[0]},
        "results": [place | {"text_id": text, "score": 0.5, "right": text == texts[0]} for text in texts],
    }  # fmt: skip
    back = example | {
        "from": "text", "to": "audio", "query": place | {"text_id": texts[0]},
        "results": [place | {"audio_id": one, "score": 0.4, "right": one == ids[0]} for one in ids],
    }  # fmt: skip
    project.evaluated("cross_retrieval", (row("heard", "effect_a2t_recall@10"),), examples=(example, back))
    page = project.page(settings)
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]+)"', page)
    assert "media-src data:" in policy
    assert "default-src 'none'" in policy
    assert page.count("<audio controls") == 3
    assert len(re.findall(r'src="data:audio/ogg;base64,', page)) == 3
    assert page.count("Waveform, ") >= 3
    assert "effect: sound to text, R@10" in page
    assert not re.findall(r'(?:src|href)="https?:', page)


def test_a_page_without_sounds_has_the_policy_that_it_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    project = SmallProject(tmp_path)
    page = project.page(project.configure(one_aligner()))
    assert "media-src" not in page.partition("<style>")[0]
    assert "<audio" not in page
