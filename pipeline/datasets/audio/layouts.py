"""Data sets of sounds as their authors distribute them: Clotho, AudioCaps, ESC-50, Speech Commands."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline.config.audio_sources import AudioCapsSource, ClothoSource, Esc50Source, SpeechCommandsSource
from pipeline.datasets.cells import lines_of
from pipeline.datasets.concepts import class_concepts
from pipeline.datasets.plain_files import Inside, is_file, is_folder
from pipeline.datasets.raw_files import is_sound, listed, located, matching, read_text, shown
from pipeline.datasets.samples import Caption, Failure, Label, Picture, Sample, Source, split_named
from pipeline.datasets.table_rows import Row, columns_of, rows_of
from pipeline.errors import SourceError

_CLOTHO = {"development": "train", "validation": "validation", "evaluation": "test"}
_CLOTHO_CAPTIONS = tuple(f"caption_{number}" for number in range(1, 6))
_NOISE = "_background_noise_"  # of Speech Commands: minutes of noise, no word
_HELD_OUT = {"validation": "validation_list.txt", "test": "testing_list.txt"}
_ENDINGS = (".wav", ".flac", ".ogg", ".mp3")


def clotho(spec: ClothoSource) -> Source:
    """Every sound that the files of captions name, with its five captions; development is the split train.

    Raises:
        SourceError: there is no file of captions, or one lacks its columns.
    """
    root, inside = _root(spec.path), Inside(located(spec.path), links=spec.links)
    tables = {part: root / f"clotho_captions_{part}.csv" for part in _CLOTHO}
    there = {part: path for part, path in tables.items() if is_file(path)}
    if not there:
        raise SourceError(
            f"No file of captions in {root}; expected {', '.join(path.name for path in tables.values())}."
        )
    for path in there.values():
        _require(path, ("file_name", *_CLOTHO_CAPTIONS))

    def samples() -> Iterator[Sample | Failure]:
        for part, path in there.items():
            for row in rows_of(path, ("file_name", *_CLOTHO_CAPTIONS)):
                place = f"{path.name}, {row.place}"
                if name := _name(row, "file_name"):
                    captions = [Caption(text) for key in _CLOTHO_CAPTIONS if (text := _cell(row, key))]
                    sound = Picture(root / part / name)
                    yield Sample(f"{part}/{name}", None, captions, split=_CLOTHO[part], place=place, further=sound)
                else:
                    yield Failure(place, row.reason or "no file named")

    return Source(str(root), samples(), {"path": str(root), "packages": {}}, inside=inside, unit="rows")


def audiocaps(spec: AudioCapsSource) -> Source:
    """Every row of the lists of captions, its sound found by the YouTube id, also where a tool has added to the name.

    Raises:
        SourceError: a list is missing or lacks its columns, or there is no folder of sounds.
    """
    folder = _root(spec.sounds, "sounds")
    refused: list[Failure] = []
    lists = matching(spec.annotations, spec.links, refused)
    for path in lists:
        _require(path, ("youtube_id", "start_time", "caption"))
    inside = Inside(folder, links=spec.links)

    def samples() -> Iterator[Sample | Failure]:
        yield from refused
        for path in lists:
            split = split_named(path.name.partition(".")[0].rpartition("_")[2])
            for row in rows_of(path, ("youtube_id", "start_time", "caption")):
                place = f"{path.name}, {row.place}"
                name = _name(row, "youtube_id")
                if not name:
                    yield Failure(place, row.reason or "no youtube_id")
                    continue
                names = _audiocaps_names(name, _cell(row, "start_time"))
                found = next((file for file in names if is_file(folder / file)), names[0])
                captions = [Caption(_cell(row, "caption"))]
                yield Sample(
                    name, None, captions, split=split, place=f"{place}: {name}", further=Picture(folder / found)
                )

    about = {"path": str(folder), "packages": {}}
    return Source(shown(spec.annotations), samples(), about, inside=inside, unit="rows")


def esc50(spec: Esc50Source) -> Source:
    """Every sound of meta/esc50.csv, its class the caption.

    Raises:
        SourceError: the list is missing or lacks its columns.
    """
    root = _root(spec.path)
    path, columns = root / "meta" / "esc50.csv", ("filename", "fold", "category")
    _require(path, columns)

    def samples() -> Iterator[Sample | Failure]:
        for row in rows_of(path, columns):
            name, category = _name(row, "filename"), _cell(row, "category").replace("_", " ")
            if not name or not category:
                yield Failure(f"{path.name}, {row.place}", row.reason or "no file or no class named")
                continue
            fold = _cell(row, "fold")
            split = None if spec.test_fold is None else "test" if fold == str(spec.test_fold) else "train"
            label = Label(class_concepts([category])[0], category)
            sound = Picture(root / "audio" / name)
            yield Sample(name, None, [Caption(category)], [label], split, place=f"{row.place}: {name}", further=sound)

    about = {"path": str(root), "packages": {}}
    return Source(str(path), samples(), about, inside=Inside(root, links=spec.links), unit="rows")


def speech_commands(spec: SpeechCommandsSource) -> Source:
    """Every recording of every word; its split is that of the lists, by speaker.

    Raises:
        SourceError: there is no folder of a word, or a list is missing.
    """
    root, left_out = _root(spec.path), Counter[str]()
    split_of = {
        line.strip(): split for split, name in _HELD_OUT.items() for line in lines_of(read_text(root / name)) if line
    }
    words = sorted(path.name for path in listed(root) if is_folder(path) and not path.name.startswith((".", "_")))
    if not words:
        raise SourceError(f"No folder of a word in {root}. See `path` of this data set in params.yaml.")

    def samples() -> Iterator[Sample | Failure]:
        for word, concept in zip(words, class_concepts(words), strict=True):
            for file in sorted(listed(root / word)):
                if is_sound(file.name, left_out):
                    key = f"{word}/{file.name}"
                    label, split = Label(concept, word), split_of.get(key, "train")
                    yield Sample(key, None, [Caption(word)], [label], split, further=Picture(file))
        if is_folder(root / _NOISE):
            left_out["background noise"] += sum(1 for _ in listed(root / _NOISE))

    about = {"path": str(root), "classnames": words, "packages": {}}
    return Source(str(root), samples(), about, left_out, Inside(root, links=spec.links))


def _audiocaps_names(youtube_id: str, start: str) -> list[str]:
    """Names under which tools save the clip of a video, the plainest first."""
    seconds = start.partition(".")[0]
    stems = [youtube_id, f"Y{youtube_id}", f"{youtube_id}_{seconds}", f"{youtube_id}_{seconds}000"]
    return [stem + ending for stem in stems for ending in _ENDINGS]


def _root(written: str, key: str = "path") -> Path:
    root = located(written)
    if not is_folder(root):
        raise SourceError(f"No folder at {root}. See `{key}` of this data set in params.yaml.")
    return root


def _require(path: Path, columns: Sequence[str]) -> None:
    if not is_file(path):
        raise SourceError(f"No file at {path}. See this data set in params.yaml.")
    header = columns_of(path) or []
    if missing := [name for name in columns if name not in header]:
        raise SourceError(f"{path} lacks the columns {missing}; it has {header}.")


def _cell(row: Row, column: str) -> str:
    value = row.values.get(column)
    return "" if value is None else str(value).strip()


def _name(row: Row, column: str) -> str:
    return "" if row.reason is not None else _cell(row, column)
