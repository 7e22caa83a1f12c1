"""The prompts of zero-shot classes, as the stage `prompts` wrote them."""

from collections.abc import Sequence

from pipeline.datasets.prompts import ENGLISH
from pipeline.datasets.tables import read_table
from pipeline.errors import DataError
from pipeline.files import read_object
from pipeline.paths import index_folder


class PromptTable:
    """The prompts of all classes."""

    def __init__(self, dataset: str) -> None:
        """Read data/index/prompts/<dataset>/prompts.parquet; errors as `read_table`."""
        self._path = index_folder("prompts", dataset) / "prompts.parquet"
        columns = ["dataset", "label", "value", "set", "text_id", "classname", "language"]
        table = read_table(self._path, columns)
        self._ids: dict[tuple[str, ...], list[str]] = {}
        self._names: dict[tuple[str, str], dict[str, str]] = {}
        for *key, text_id, name, language in zip(*(table.column(name).to_pylist() for name in columns), strict=True):
            self._ids.setdefault((*key, language or ENGLISH), []).append(text_id)
            self._names.setdefault((key[0], key[1]), {}).setdefault(text_id, name)

    def texts(
        self, dataset: str, label: str, values: Sequence[str], prompt_set: str, language: str = ENGLISH
    ) -> list[tuple[str, ...]]:
        """Text ids of the prompts of each class, in sorted order without repeats.

        Raises:
            DataError: a class has no prompt in that set and language.
        """
        prompts = [tuple(sorted(set(self._ids.get((dataset, label, v, prompt_set, language), ())))) for v in values]
        lacking = [value for value, ids in zip(values, prompts, strict=True) if not ids]
        if lacking:
            raise DataError(
                f"{self._path} has no prompt of set {prompt_set!r} in language {language!r} for {len(lacking)} of "
                f"{len(values)} classes ({label} of {dataset}), the first {lacking[0]!r}. Write the prompts again "
                "with: dvc repro"
            )
        return prompts

    def described(self, prompt_sets: Sequence[str]) -> str:
        """The number of templates of each set and the first digits of their SHA-256, by data set, as recorded."""
        recorded = read_object(self._path.with_name("about.json")).get("sets", {})
        parts = []
        for name in prompt_sets:
            datasets: dict[tuple[int, str], list[str]] = {}
            for dataset, template in recorded.get(name, {}).items():
                datasets.setdefault((template["templates"], template["sha256"][:12]), []).append(dataset)
            shown = [
                f"{count} templates, SHA-256 {digest}... ({', '.join(sets)})"
                for (count, digest), sets in datasets.items()
            ]
            parts.append(f"{name}: {' and '.join(shown) or 'not recorded'}")
        return "; ".join(parts)

    def names(self, dataset: str, label: str) -> dict[str, str]:
        """The class name in each prompt of one label of a data set, by text id."""
        return self._names.get((dataset, label), {})


def protocol_text(protocol: str, class_vectors: str) -> str:
    """A protocol, and where the parameters depart from it."""
    if class_vectors == "unit":
        return protocol
    return f"{protocol} But class vectors were left at the length of the mean (class_vectors: mean)."
