"""Commands on an aligner: what they print is what the library gives."""

import json
from pathlib import Path

import numpy as np
import pytest

from pipeline import Aligner
from tests.commands.conftest import Command
from tests.inference.conftest import Project, aligner

MODEL = "data/models/grid"


def test_search_answers_with_path_and_caption(here: Project, permafrost: Command) -> None:
    hits = aligner(here).search(here.store("grid"), "a picture of a bridge", 3)
    answer = permafrost.json("search", MODEL, "a picture of a bridge", "-k", "3")
    assert [(one["id"], round(one["score"], 5)) for one in answer] == [(hit.id, round(hit.score, 5)) for hit in hits]
    for one in answer:
        word = Path(one["path"]).stem
        assert Path(one["path"]).is_file()
        assert one["captions"] == [f"a picture of a {word}"]
    table = permafrost("search", MODEL, "a picture of a bridge", "-k", "3")
    assert f"{answer[0]['score']:.3f}" in table
    assert "\x1b" not in table, "no colours where it is no terminal"


@pytest.mark.parametrize("query", ["a picture of a daisy", "pictures/daisy.png"])
def test_a_folder_and_its_vectors_give_the_same_hits_as_the_store(
    query: str, here: Project, permafrost: Command, tmp_path: Path
) -> None:
    store = permafrost.json("search", MODEL, query)
    folder = permafrost.json("search", MODEL, query, "--in", "pictures")
    written = permafrost.json("embed", MODEL, "pictures", "--out", tmp_path / "out")
    assert written["rows"] == len(here.pictures)
    vectors = permafrost.json("search", MODEL, query, "--in", tmp_path / "out")
    for found in (folder, vectors):
        assert [Path(one["path"]).name for one in found] == [Path(one["path"]).name for one in store]
        assert np.allclose([one["score"] for one in found], [one["score"] for one in store], atol=1e-3)
        assert found[0]["captions"] == store[0]["captions"]


def test_an_array_alone_is_searched_by_row(here: Project, permafrost: Command, tmp_path: Path) -> None:
    texts = ["a picture of a bridge", "a picture of a daisy"]
    np.save(tmp_path / "mine.npy", 7 * aligner(here).encode_text(texts))
    (first, _) = permafrost.json("search", MODEL, texts[1], "--in", tmp_path / "mine.npy")
    assert first["id"] == "1"
    assert first["score"] == pytest.approx(1, abs=1e-5)
    np.save(tmp_path / "other.npy", np.ones((3, 5), dtype=np.float32))
    permafrost("search", MODEL, texts[1], "--in", tmp_path / "other.npy", code=1)
    assert "have 5 numbers, those of this aligner" in permafrost.error


def test_queries_are_mixed_and_rows_are_chosen(here: Project, permafrost: Command, tmp_path: Path) -> None:
    query, where = "a picture of a bridge", ("--where", "concept=daisy,engine", "--where", "language=en")
    model = aligner(here)
    mixed = {"add": [Path("pictures/daisy.png")], "subtract": ["an engine"]}
    hits = model.search(here.store("grid"), query, 10, **mixed, where={"concept": ["daisy", "engine"]})
    assert len(hits) == 2
    arguments = (query, "--add", "pictures/daisy.png", "--subtract", "an engine", *where)
    permafrost("embed", MODEL, "data/features/pairs/grid/mine", "--out", tmp_path / "out")
    for inside in ((), ("--in", "data/features/pairs/grid/mine"), ("--in", tmp_path / "out")):
        answer = permafrost.json("search", MODEL, *arguments, *inside)
        assert [(one["id"], round(one["score"], 5)) for one in answer] == [(h.id, round(h.score, 5)) for h in hits]
    (tmp_path / "ids.txt").write_text(f"{hits[1].id}\n\n")
    (answer,) = permafrost.json("search", MODEL, query, "--among", tmp_path / "ids.txt", "--in", tmp_path / "out")
    assert answer["id"] == hits[1].id


def test_an_index_is_built_measured_used_and_refused_when_it_is_old(
    here: Project, permafrost: Command, tmp_path: Path
) -> None:
    pytest.importorskip("faiss")
    out, query = tmp_path / "out", "a picture of a bridge"
    permafrost("embed", MODEL, "pictures", "--out", out, "--dtype", "float16")
    permafrost("search", MODEL, query, "--in", out, "--index", code=1)
    assert f"No index at {out / 'index'}. Build it with: permafrost index {out}" in permafrost.error
    built = permafrost.json("index", out, "--model", MODEL, "--kind", "ivf-sq8", "--lists", "2")
    assert (built["kind"], built["rows"], built["of"]) == ("ivf-sq8", len(here.pictures), "captions of the rows")
    assert built["recall@10"] == 1
    found = permafrost.json("search", MODEL, query, "--in", out, "--index", "--probes", "2")
    assert found == permafrost.json("search", MODEL, query, "--in", out)
    assert "recall@10  1.0" in permafrost("index", out)
    assert permafrost.json("search", MODEL, query, "--in", out, "--index") == found, "a flat one now"
    file = out / "img_emb/img_emb_0.npy"
    np.save(file, np.load(file)[::-1])
    permafrost("search", MODEL, query, "--in", out, "--index", code=1)
    assert "was built from other vectors" in permafrost.error


def test_an_index_of_an_array_and_queries_of_a_file(here: Project, permafrost: Command, tmp_path: Path) -> None:
    texts = [f"a picture of a {path.stem}" for path in here.pictures]
    np.save(tmp_path / "mine.npy", aligner(here).encode_text(texts))
    (tmp_path / "queries.txt").write_text("a bridge\na daisy\nan engine\n")
    built = permafrost.json("index", tmp_path / "mine.npy", "--model", MODEL, "--queries", tmp_path / "queries.txt")
    assert (built["of"], built["queries"], built["index"]) == (
        "lines of queries.txt",
        2,
        str(tmp_path / "mine.npy.index"),
    )
    plain = permafrost.json("search", MODEL, texts[4], "--in", tmp_path / "mine.npy")
    assert permafrost.json("search", MODEL, texts[4], "--in", tmp_path / "mine.npy", "--index") == plain


def test_classify_names_pictures(here: Project, permafrost: Command, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("bridge\ndaisy\n\n")
    answer = permafrost.json("classify", MODEL, "pictures/daisy.png", "--names", tmp_path / "names.txt", "--top", "1")
    (label,) = aligner(here).classify(["pictures/daisy.png"], ["bridge", "daisy"], top=1)[0]
    assert answer == [
        {"path": "pictures/daisy.png", "classes": [{"name": label.name, "probability": label.probability}]}
    ]
    assert len(permafrost.json("classify", MODEL, "pictures", "--names", "bridge, daisy")) == len(here.pictures)


def test_a_picture_that_cannot_be_read_is_said_and_the_rest_is_written(
    here: Project, permafrost: Command, tmp_path: Path
) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG")
    answer = permafrost.json("embed", MODEL, "pictures", tmp_path / "broken.png", "--out", tmp_path / "out", code=1)
    assert answer["rows"] == len(here.pictures)
    assert list(answer["failed"]) == [str(tmp_path / "broken.png")]


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("search", "data/models/absent", "x"), "data/models/absent"),
        (("search", MODEL, "x", "--in", "data"), "holds neither pictures"),
        (("search", MODEL, "x", "--index"), "An index is of vectors"),
        (("search", MODEL, "x", "--where", "language"), "takes COLUMN=VALUE"),
        (("search", MODEL, "x", "--where", "language=xx"), "No row has language 'xx'"),
        (("search", MODEL, "x", "--among", "pictures/captions.csv"), "--among needs --in"),
        (("embed", MODEL, "pictures", "data/features/pairs/grid/mine", "--out", "out"), "one feature store at a time"),
        (("index", "pictures"), "No vectors at pictures"),
        (("index", "pictures", "--queries", "some.txt"), "--queries need --model"),
        (("index", "pictures", "--recall", "2"), "--recall must be"),
        (("embed", MODEL, "--out", "out"), "Give either pictures or --texts"),
        (("classify", MODEL, "absent.png", "--names", "a,b"), "absent.png cannot be read"),
        (("inspect", "pictures"), "is no feature store"),
    ],
)
def test_errors_end_with_one_and_a_line(arguments: tuple[str, ...], message: str, permafrost: Command) -> None:
    assert permafrost(*arguments, code=1) == ""
    assert permafrost.error.startswith("error: ")
    assert message in permafrost.error


def test_a_wrong_command_line_ends_with_two(capsys: pytest.CaptureFixture[str], permafrost: Command) -> None:
    for arguments in (("nonsense",), (), ("search",), ("doctor", "--seconds", "soon")):
        with pytest.raises(SystemExit) as ended:
            permafrost(*arguments)
        assert ended.value.code == 2
    assert "usage: permafrost" in capsys.readouterr().err


def test_inspect_tells_each_kind(here: Project, permafrost: Command) -> None:
    for folder, kind, key, value in (
        (MODEL, "an aligner", "embed_dim", 12),
        ("data/features/pairs/grid/mine", "a feature store", "rows", len(here.pictures)),
        ("data/checkpoints/eye", "an encoder (image)", "loader", "transformers"),
        ("data/index/pairs/mine", "a data set", "images", len(here.pictures)),
    ):
        facts = permafrost.json("inspect", folder)
        assert (facts["is"], facts[key]) == (kind, value)
        assert kind in permafrost("inspect", folder)


def test_verify_names_what_is_damaged(copied: Project, monkeypatch: pytest.MonkeyPatch, permafrost: Command) -> None:
    monkeypatch.chdir(copied.root)
    assert permafrost.json("verify")["intact"] is True
    files = [path for path in (copied.root / "data/features/pairs/grid/mine").rglob("*") if path.is_file()]
    shard = max(files, key=lambda path: (path.suffix == "", path.stat().st_size))
    content = bytearray(shard.read_bytes())
    content[3] ^= 1
    shard.chmod(0o644)
    shard.write_bytes(content)
    answer = permafrost.json("verify", code=1)
    assert [Path(one["store"]).parent.name for one in answer["stores"] if not one["intact"]] == ["grid"]
    assert "damaged" in permafrost("verify", code=1)


def test_explore_hands_over(permafrost: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from pipeline.explorer import __main__ as explorer

    given: list[list[str]] = []
    monkeypatch.setattr(explorer, "main", lambda arguments: given.append(arguments) or 0)
    permafrost("explore", "--project", tmp_path, "--port", "0", "--open")
    assert given == [["--project", str(tmp_path), "--port", "0", "--map", "pca", "--open"]]


def test_export_hands_over(permafrost: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.interop import export

    given: list[list[str]] = []
    monkeypatch.setattr(export, "main", lambda arguments: given.append(arguments) or 0)
    permafrost("export", "clip-benchmark", "retrieval", "out", "--dataset", "mine")
    assert given == [["retrieval", "out", "--dataset", "mine"]]


@pytest.mark.parametrize(
    ("arguments", "method", "options"),
    [
        (("sentence-transformers",), "export_sentence_transformers", {}),
        (("onnx", "--int8", "--batch", "4"), "export_onnx", {"int8": True, "batch": 4}),
    ],
)
@pytest.mark.usefixtures("here")
def test_export_of_an_aligner_says_how_far_its_vectors_are(
    arguments: tuple[str, ...], method: str, options: dict[str, object], permafrost: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    given: list[object] = []

    def write(_: Aligner, out: Path, **asked: object) -> dict[str, float]:
        given.append((out, asked))
        return {"image": 1e-6}

    monkeypatch.setattr(Aligner, method, write, raising=False)
    kind, *rest = arguments
    answer = permafrost.json("export", kind, MODEL, "out", *rest)
    assert given == [(Path("out"), options)]
    assert answer == {"folder": "out", "checked": {"image": 1e-6}}


def test_every_command_explains_itself_with_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    from pipeline.commands.parser import parser

    names = next(action.choices for action in parser()._actions if action.choices)
    assert names
    for name in names:
        with pytest.raises(SystemExit) as ended:
            parser().parse_args([name, "--help"])
        assert ended.value.code == 0
        text = capsys.readouterr().out
        assert "--json" in text
        assert f"\n  permafrost {name} " in text or f"\n  permafrost {name}\n" in text


def test_data_that_moves_the_cursor_is_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    from pipeline.commands.console import Console

    console = Console()
    console.table(["name"], [("a\x1b[2Jb\r",), ("猫",)])
    console.line(console.styled("x\x07", "red"))
    said = capsys.readouterr().out
    assert "a\\x1b[2Jb\\r" in said
    assert "猫" in said
    assert not {"\x1b", "\r", "\x07"} & {*said}
    Console(json=True).answer({"path": Path("a")})
    assert json.loads(capsys.readouterr().out) == {"path": "a"}
