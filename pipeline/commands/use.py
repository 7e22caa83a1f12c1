"""`permafrost classify`, `search` and `embed`: an aligner on pictures, texts and sounds."""

import argparse
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.commands.adder import Adder
from pipeline.commands.console import Console
from pipeline.errors import DataError
from pipeline.object_url import is_object_url

if TYPE_CHECKING:
    from pipeline.inference import Aligner
    from pipeline.inference.found import FoundItem

_TEMPLATES = ("a picture of a {}.",)
_SOUND_TEMPLATES = ("the sound of a {}.",)
_CLASSIFY = """\
  permafrost classify data/models/default kite.png --names "kite,horse,cherry"
  permafrost classify data/models/default pictures/ --names classes.txt --top 3 --json"""
_SEARCH = """\
  permafrost search data/models/default "a red kite"                    all pictures that its project has encoded
  permafrost search data/models/default "a red kite" --in ~/pictures    a folder; it is encoded for this
  permafrost search data/models/default kite.png --in vectors/          vectors that `permafrost embed` wrote
  permafrost search data/models/sounds-added frog.ogg                   by a sound, with an aligner that takes some
  permafrost search data/models/default "a bird" --add snow --subtract "a ship"
  permafrost search data/models/default "a bird" --where category=animals,plants --where language=en
  permafrost search data/models/default "a bird" --in vectors/ --index  fast over millions; see `permafrost index`"""
_EMBED = """\
  permafrost embed data/models/default ~/pictures --out vectors/
  permafrost embed data/models/default --texts captions.txt --out vectors/     a text a line
  permafrost embed data/models/default data/features/pairs/vit/emoji --out vectors/ --dtype float16     a store"""


def add(commands: Adder) -> None:
    """Add the subcommands."""
    classify = commands("classify", run_classify, "name what is in pictures or sounds, by words of your own", _CLASSIFY)
    _add_model(classify)
    classify.add_argument("pictures", nargs="+", help="files, or folders with pictures; or files of sounds alone")
    classify.add_argument("--names", required=True, help="classes, by commas; or a file with one a line")
    classify.add_argument("--template", action="append", help='such as "a photo of a {}."; may be given several times')
    classify.add_argument("--top", type=int, default=3, help="classes to print of each picture (3)")
    search = commands("search", run_search, "find what is nearest to words, to a picture or to a sound", _SEARCH)
    _add_model(search)
    search.add_argument("query", help="words, or the path of a picture or of a sound")
    search.add_argument("--in", dest="inside", type=Path, metavar="PATH",
                        help="a feature store or its address, a folder of pictures, or what `embed` wrote")  # fmt: skip
    search.add_argument("-k", type=int, default=10, help="hits to print (10)")
    for name, text in (("add", "added to the query"), ("subtract", "taken off the query")):
        search.add_argument(f"--{name}", action="append", default=[], metavar="QUERY",
                            help=f"words, or the path of a picture, {text}; may be given several times")  # fmt: skip
    search.add_argument("--among", type=Path, metavar="FILE", help="an id a line: find no other rows")
    search.add_argument("--where", action="append", default=[], metavar="COLUMN=VALUE[,VALUE]",
                        help="find rows with such a value, as language=en; may be given several times")  # fmt: skip
    search.add_argument("--index", action="store_true", help="of --in, use the index that `permafrost index` built")
    search.add_argument("--probes", type=int, help="lists of the index to search, for more hits or more speed")
    embed = commands("embed", run_embed, "write unit vectors of pictures or texts, as clip-retrieval does", _EMBED)
    _add_model(embed)
    embed.add_argument("pictures", nargs="*", help="files, folders with pictures, or one feature store")
    embed.add_argument("--texts", type=Path, help="a file with a text a line")
    embed.add_argument("--out", type=Path, required=True, help="folder for img_emb/, text_emb/ and metadata/")
    embed.add_argument("--dtype", default="float32", help="float32, float16 (half of it) or int8 (a quarter)")
    embed.add_argument("--batch-size", type=int, default=32)


def _add_model(command: argparse.ArgumentParser) -> None:
    command.add_argument("model", help="folder of an aligner, such as data/models/default, or a Hugging Face name")
    command.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 or mps")


def _aligner(given: argparse.Namespace) -> "Aligner":
    from pipeline.inference import Aligner

    return Aligner.from_pretrained(given.model, device=given.device)


def run_classify(given: argparse.Namespace, console: Console) -> int:
    """A line for each picture."""
    from pipeline.inference.sounds import is_sound_file

    names, sounds = _names(given.names), all(is_sound_file(path) for path in given.pictures)
    pictures = [Path(name).expanduser() for name in given.pictures] if sounds else _pictures(given.pictures)
    aligner = _aligner(given)
    if sounds:
        labels: Any = aligner.classify_audio(pictures, names, given.template or _SOUND_TEMPLATES, top=given.top)
    else:
        labels = aligner.classify(pictures, names, given.template or _TEMPLATES, top=given.top)
    answer = [
        {"path": str(path), "classes": [{"name": label.name, "probability": label.probability} for label in of]}
        for path, of in zip(pictures, labels, strict=True)
    ]
    console.answer(answer)
    console.table(
        ["sound" if sounds else "picture", "classes"],
        [(path, ", ".join(f"{label.name} {label.probability:.2f}" for label in of))
         for path, of in zip(pictures, labels, strict=True)],
    )  # fmt: skip
    return 0


def run_search(given: argparse.Namespace, console: Console) -> int:
    """A line for each hit, best first: score, path, caption."""
    items = _search(_aligner(given), given)
    console.answer([item.as_json() for item in items])
    console.table(
        ["score", "found", "caption"],
        [(f"{item.score:.3f}", _place(item), item.captions[0] if item.path and item.captions else "")
         for item in items],
    )  # fmt: skip
    return 0


def _place(item: "FoundItem") -> str:
    if item.path is None:
        return item.captions[0]
    inside = item.key if item.key and item.path.suffix in (".tar", ".bin", ".parquet") else None
    return f"{item.path} ({inside})" if inside else str(item.path)


def _search(aligner: "Aligner", given: argparse.Namespace) -> "list[FoundItem]":
    from pipeline.inference.collection import Collection
    from pipeline.inference.filters import NoSuchRows
    from pipeline.inference.found import FoundItem, found_items
    from pipeline.inference.search import index_of

    query, add, subtract = _query(given.query), list(map(_query, given.add)), list(map(_query, given.subtract))
    among = None if given.among is None else [line.strip() for line in lines_of(given.among) if line.strip()]
    chosen: dict[str, Any] = {"add": add, "subtract": subtract, "among": among, "where": _where(given.where)}
    if given.inside is not None and not _is_store(given.inside):
        made = Collection.open(given.inside, aligner)
        index = made.index() if given.index else None
        return made.search(aligner, query, given.k, **chosen, index=index, probes=given.probes)
    if given.index:
        raise DataError(
            "An index is of vectors: write those of a store with `permafrost embed`, index them with `permafrost "
            "index`, and name their folder with --in."
        )
    if among is not None and given.inside is None:
        raise DataError("--among needs --in: ids are of one store, or of one folder of vectors.")
    places = [[given.inside]] if given.inside else _own_stores(aligner, Path(given.model))
    found: list[FoundItem] = []
    without: list[NoSuchRows] = []
    for folders in places:
        try:
            hits = aligner.search(folders, query, given.k, **chosen)
            if is_object_url(folders[0]):  # which has no index beside it, so ids are all that is known
                found += [FoundItem(hit.id, hit.score, None, None, (hit.id,)) for hit in hits]
            else:
                found += found_items(index_of(folders[0]), hits)
        except NoSuchRows as error:  # other stores may have some
            without.append(error)
    if len(without) == len(places):
        raise without[0]
    return sorted(found, key=lambda item: -item.score)[: given.k]


def _query(written: str) -> str | Path:
    path = Path(written)
    return path if len(written) < 1000 and path.is_file() else written


def _where(written: list[str]) -> dict[str, list[str]]:
    """Values by column, of arguments such as language=en,de."""
    columns: dict[str, list[str]] = {}
    for one in written:
        name, sign, values = one.partition("=")
        if not name or not sign or not values:
            raise DataError(f"--where takes COLUMN=VALUE, such as language=en,de, found {one!r}.")
        columns.setdefault(name, []).extend(values.split(","))
    return columns


def _is_store(path: Path) -> bool:
    return is_object_url(path) or (path.expanduser() / "zarr.json").is_file()


def _own_stores(aligner: "Aligner", model: Path) -> list[list[Path]]:
    """The stores of the images that the project of an aligner has encoded: of each data set, one for each view.

    Of an aligner that takes no images, those of its sounds.
    """
    pairs = model.expanduser().resolve().parent.parent / "features" / "pairs"
    views = [pairs / view for view in aligner.standing_config.members("image")]
    datasets = sorted(path.parent.name for path in views[0].glob("*/zarr.json"))
    found = [[view / dataset for view in views] for dataset in datasets]
    complete = [folders for folders in found if all((folder / "zarr.json").is_file() for folder in folders)]
    if not complete:
        raise DataError(
            f"No stores below {' and '.join(map(str, views))}. Say what to search with --in: a store, a folder of "
            "pictures or vectors."
        )
    return complete


def run_embed(given: argparse.Namespace, console: Console) -> int:
    """Write vectors and say where."""
    from pipeline.inference.collection import Collection

    if bool(given.pictures) == bool(given.texts):
        raise DataError("Give either pictures or --texts.")
    aligner = _aligner(given)
    if any(map(_is_store, map(Path, given.pictures))):
        return _embed_store(aligner, given, console)
    if given.texts:
        lines = [line for line in lines_of(given.texts) if line.strip()]
        made = Collection.of_texts(aligner, lines, batch_size=given.batch_size)
    else:
        made = Collection.of_pictures(aligner, _pictures(given.pictures), batch_size=given.batch_size)
    _say_written(made.write(given.out, dtype=given.dtype), made.failed, console)
    return int(bool(made.failed))


def _embed_store(aligner: "Aligner", given: argparse.Namespace, console: Console) -> int:
    from pipeline.inference.store_vectors import write_store_vectors

    if len(given.pictures) > 1:
        raise DataError("Give one feature store at a time, and nothing beside it.")
    written = write_store_vectors(aligner, Path(given.pictures[0]).expanduser(), given.out, dtype=given.dtype)
    _say_written(written, {}, console)
    return 0


def _say_written(files: list[Path], failed: dict[str, str], console: Console) -> None:
    from pipeline.vector_files import read_vectors

    rows, width = read_vectors(files[0], "fi").shape
    console.answer({"rows": rows, "dim": width, "failed": failed, "files": files})
    console.line(f"{rows} vectors of {width} numbers: {', '.join(map(str, files))}")
    _say_failed(failed, console)


def _say_failed(failed: dict[str, str], console: Console) -> None:
    for reason, count in Counter(failed.values()).most_common(5):
        console.line(console.styled(f"{count} could not be read: {reason}", "red"))


def _names(written: str) -> list[str]:
    """Classes by commas, or the lines of a file."""
    path = Path(written)
    listed = lines_of(path) if len(written) < 1000 and path.is_file() else written.split(",")
    return [name.strip() for name in listed if name.strip()]


def lines_of(path: Path) -> list[str]:
    """The lines of a text file.

    Raises:
        DataError: it cannot be read as UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as UTF-8 text: {error}") from error


def _pictures(written: list[str]) -> list[Path]:
    """Files as they are given, and the pictures below folders."""
    from pipeline.inference.collection import pictures_below

    paths: list[Any] = []
    for name in written:
        path = Path(name).expanduser()
        paths += pictures_below(path) if path.is_dir() else [path]
    return paths
