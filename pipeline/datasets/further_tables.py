"""The tables of the samples of a further modality of an index, which are there only where it has some."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline.datasets.archive import Archive
from pipeline.datasets.further import Info, schemas
from pipeline.datasets.own_splits import FURTHER_MEDIA, settle_splits
from pipeline.datasets.spool import Digests, Spool, digest


class FurtherTables:
    """Collects samples, their texts, pictures and labels as `IndexBuilder` does those of pictures.

    Args:
        concepts: takes a digest of every concept that is named.
        modality: of `FURTHER`.
    """

    def __init__(self, folder: Path, concepts: Digests, modality: str) -> None:
        self._folder, self._concepts, self._modality = folder, concepts, modality
        self._medium = FURTHER_MEDIA[modality]
        self._archive_name = f"{self._medium.name}s.tar"
        self._archive = Archive(folder / self._archive_name)
        self._opened: dict[str, Spool] = {}
        self._keys: tuple[Digests, Digests] | None = None  # of labelled samples, and of these with their splits
        self._rows: dict[str, int] = {}
        for table in ("", "_labels", "_pairs", "_images"):  # of an earlier index
            (folder / f"{modality}{table}.parquet").unlink(missing_ok=True)

    @property
    def _tables(self) -> dict[str, Spool]:
        if not self._opened:
            tables = schemas(self._modality).items()
            self._opened = {name: Spool(schema, self._folder / f"{name}.parquet") for name, schema in tables}
            names = (f"{self._modality}_{kept}.keys" for kept in ("labelled", "splits"))
            labelled, splits = (Digests(self._folder / name) for name in names)
            self._keys = labelled, splits
        return self._opened

    def __len__(self) -> int:
        return len(self._opened[self._modality]) if self._opened else 0

    @property
    def counts(self) -> dict[str, int]:
        """For about.json: how many samples there are, once finished; empty if there are none."""
        rows = self._rows.get(self._modality)
        return {f"{self._medium.name}s": rows} if rows else {}

    def store(
        self, identity: str, content: bytes, info: Info, key: str, kind: str, language: str | None = None
    ) -> None:
        """Store an encoded sample in the archive, once."""
        if not self._archive.holds(identity):
            offset = self._archive.add(identity, content, info.form)
            self.refer(identity, self._archive_name, info, key, kind, language, offset, len(content))

    def refer(
        self,
        identity: str,
        path: str,
        info: Info,
        key: str,
        kind: str = "",
        language: str | None = None,
        offset: int = 0,
        length: int = -1,
    ) -> None:
        """Index a file, or a byte range of one, in place; a relative path starts at the index folder.

        Args:
            kind: of sounds effect or speech; what a sample is called where nothing is known. `language` is that of
                speech.
        """
        place = (identity, self._modality, path, offset, length, info.form)
        what = (*info.columns, kind or self._medium.name, language, key)
        self._tables[self._modality].add(bytes.fromhex(identity), (*place, *what))

    def link(self, sample: str, text: str, language: str, role: str = "caption") -> None:
        """State that the text of the index describes the sample, or is what is said in it."""
        row = (sample, text, language, role)
        self._tables[self._medium.pairs].add(digest(*row), row)

    def belongs(self, sample: str, image: str) -> None:
        """State that the sample belongs to the picture."""
        self._tables[f"{self._modality}_images"].add(digest(sample, image), (sample, image))

    def label(
        self,
        sample: str,
        concept: str,
        classname: str | None = None,
        category: str | None = None,
        keywords: Sequence[str] = (),
        split: str | None = None,
    ) -> None:
        """Record what it is of, as `IndexBuilder.label` does."""
        row = (sample, concept, classname, category, list(keywords), split)
        self._tables[self._medium.labels].add(digest(sample, concept, split or ""), row)
        assert self._keys is not None
        labelled, splits = self._keys
        self._concepts.append([digest(concept)])
        labelled.append([digest(sample)])
        splits.append([digest(sample, split or "")])

    def finish(self) -> Iterator[tuple[str, str]]:
        """Write every table and the archive; yields key and what was done of samples that are in several splits.

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
            yield from settle_splits(self._folder, self._medium)

    def discard(self) -> None:
        """Remove what is unfinished."""
        self._archive.discard()
        for table in self._opened.values():
            table.discard()
        for keys in self._keys or ():
            keys.close()
