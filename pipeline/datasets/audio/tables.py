"""The tables of the sounds of an index, which are there only where it has some."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline.datasets.archive import Archive
from pipeline.datasets.audio.decode import SoundInfo
from pipeline.datasets.own_splits import SOUNDS, settle_splits
from pipeline.datasets.spool import Digests, Spool, digest
from pipeline.datasets.tables import AUDIO, AUDIO_IMAGES, AUDIO_LABELS, AUDIO_PAIRS

ARCHIVE = "sounds.tar"
_SCHEMAS = {"audio": AUDIO, "audio_labels": AUDIO_LABELS, "audio_pairs": AUDIO_PAIRS, "audio_images": AUDIO_IMAGES}


class SoundTables:
    """Collects sounds, their texts, pictures and labels as `IndexBuilder` does those of pictures.

    Args:
        concepts: takes a digest of every concept that is named.
    """

    def __init__(self, folder: Path, concepts: Digests) -> None:
        self._folder, self._concepts = folder, concepts
        self._archive = Archive(folder / ARCHIVE)
        self._opened: dict[str, Spool] = {}
        self._keys: tuple[Digests, Digests] | None = None  # of labelled sounds, and of these with their splits
        self._rows: dict[str, int] = {}
        for name in _SCHEMAS:  # of an earlier index
            (folder / f"{name}.parquet").unlink(missing_ok=True)

    @property
    def _tables(self) -> dict[str, Spool]:
        if not self._opened:
            self._opened = {name: Spool(schema, self._folder / f"{name}.parquet") for name, schema in _SCHEMAS.items()}
            self._keys = Digests(self._folder / "audio_labelled.keys"), Digests(self._folder / "audio_splits.keys")
        return self._opened

    def __len__(self) -> int:
        return len(self._opened["audio"]) if self._opened else 0

    @property
    def counts(self) -> dict[str, int]:
        """For about.json: how many sounds there are, once finished; empty if there are none."""
        return {"sounds": self._rows["audio"]} if self._rows.get("audio") else {}

    def store(
        self, identity: str, content: bytes, info: SoundInfo, key: str, kind: str, language: str | None = None
    ) -> None:
        """Store an encoded sound in the archive, once."""
        if not self._archive.holds(identity):
            offset = self._archive.add(identity, content, info.form)
            self.refer(identity, ARCHIVE, info, key, kind, language, offset, len(content))

    def refer(
        self,
        identity: str,
        path: str,
        info: SoundInfo,
        key: str,
        kind: str = "sound",
        language: str | None = None,
        offset: int = 0,
        length: int = -1,
    ) -> None:
        """Index a sound file, or a byte range of one, in place; a relative path starts at the index folder.

        Args:
            kind: effect, speech or sound; `language` is that of speech.
        """
        place = (identity, "audio", path, offset, length, info.form)
        what = (info.rate, info.channels, info.frames, info.seconds, kind, language, key)
        self._tables["audio"].add(bytes.fromhex(identity), (*place, *what))

    def link(self, sound: str, text: str, language: str, role: str = "caption") -> None:
        """State that the text of the index describes the sound, or is what is said in it."""
        row = (sound, text, language, role)
        self._tables["audio_pairs"].add(digest(*row), row)

    def belongs(self, sound: str, image: str) -> None:
        """State that the sound belongs to the picture."""
        self._tables["audio_images"].add(digest(sound, image), (sound, image))

    def label(
        self,
        sound: str,
        concept: str,
        classname: str | None = None,
        category: str | None = None,
        keywords: Sequence[str] = (),
        split: str | None = None,
    ) -> None:
        """Record what is heard, as `IndexBuilder.label` does."""
        row = (sound, concept, classname, category, list(keywords), split)
        self._tables["audio_labels"].add(digest(sound, concept, split or ""), row)
        assert self._keys is not None
        labelled, splits = self._keys
        self._concepts.append([digest(concept)])
        labelled.append([digest(sound)])
        splits.append([digest(sound, split or "")])

    def finish(self) -> Iterator[tuple[str, str]]:
        """Write every table and the archive; yields key and what was done of sounds that are in several splits.

        Raises:
            DataError: the archive is smaller than its offsets imply.
        """
        self._archive.finish()
        if not self._opened:
            return
        self._rows = {name: table.finish() for name, table in self._opened.items()}
        assert self._keys is not None
        labelled, splits = self._keys
        if splits.first().sum() > labelled.first().sum():
            yield from settle_splits(self._folder, SOUNDS)

    def discard(self) -> None:
        """Remove what is unfinished."""
        self._archive.discard()
        for table in self._opened.values():
            table.discard()
        for keys in self._keys or ():
            keys.close()
