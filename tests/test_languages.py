"""Language codes in the forms in which data sets write them, and what of them the index says."""

from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.config import TableSource
from pipeline.datasets.index import build_index
from pipeline.datasets.tables import read_table, write_table
from pipeline.encoding.plan import text_plan
from pipeline.languages import language_code, language_lines
from tests.datasets.layouts import photo, write

CODES: dict[str, str | None] = {
    **dict.fromkeys(("en", "EN", "eng", "en-US", "en_GB", "en-Latn", "English", " en ", "en_US.UTF-8"), "en"),
    **dict.fromkeys(("de", "ger", "deu", "de-AT", "DE"), "de"),
    **dict.fromkeys(("zh", "zh-CN", "zh-Hans", "zh_hans_sg"), "zh"),
    **dict.fromkeys(("zh-TW", "zh-Hant", "zh-HK"), "zh-Hant"),
    **{"pt-BR": "pt", "iw": "he", "sr": "sr", "sr-Latn": "sr-Latn", "bg-Latn": "bg-Latn", "es-419": "es", "no": "no"},
    **dict.fromkeys(("German", "jp", "xx", "nolang", "", "e n", "123", "-", "C", "\ud800", "und-Latn"), None),
}


@pytest.mark.parametrize("written", CODES)
def test_a_code(written: str) -> None:
    assert language_code(written) == CODES[written]


def test_a_code_is_its_own() -> None:
    codes = {code for code in CODES.values() if code}
    assert {code: language_code(code) for code in codes} == {code: code for code in codes}


def test_lines_name_what_is_not_trained_on() -> None:
    assert language_lines({"en": 3}) == []
    assert language_lines({}) == []
    assert language_lines({"en": 3, "de": 2}) == ["texts by language: 3 en, 2 de (heads are trained on en alone)"]
    assert language_lines({"xx": 2, "fr": 1}) == [
        "texts by language: 2 xx, 1 fr (heads are trained on en alone)",
        "warning: no language codes of BCP 47, such as en, de or zh-Hant, and kept as they are: 'xx' (2 texts)",
    ]


@pytest.mark.parametrize("default", ["de", "de-DE"])
def test_captions_of_a_table(default: str, tmp_path: Path) -> None:
    write(tmp_path / "a.jpg", photo(0))
    lines = ["a.jpg,one,EN", "a.jpg,two,en-US", "a.jpg,three,English", "a.jpg,vier,", "a.jpg,five,jp"]
    write(tmp_path / "data.csv", "\n".join(["image,caption,language", *lines]))
    columns = {"language": "language"}
    spec = TableSource(source="table", path=f"{tmp_path}/data.csv", columns=columns, language=default)  # type: ignore[arg-type]
    about = build_index(spec, tmp_path / "index", tmp_path)
    assert about["texts_per_language"] == {"en": 3, "de": 1, "jp": 1}
    assert read_table(tmp_path / "index/pairs.parquet")["language"].to_pylist() == ["en", "en", "en", "de", "jp"]


@pytest.mark.parametrize(
    ("languages", "expected"), [(("EN",), ["a"]), (("en-US", "de"), ["a", "b"]), ((), ["a", "b", "c"])]
)
def test_the_languages_of_a_view(languages: tuple[str, ...], expected: list[str], tmp_path: Path) -> None:
    rows = [{"text_id": text, "text": text, "language": code} for text, code in (("a", "en"), ("b", "de"), ("c", "fr"))]
    write_table(pa.Table.from_pylist(rows), tmp_path / "texts.parquet")
    assert list(text_plan(tmp_path, languages, 8)[1]) == expected
