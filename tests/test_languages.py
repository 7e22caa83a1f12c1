"""Language codes in the forms in which data sets write them, and what of them the index says."""

import json
from pathlib import Path

import pyarrow as pa
import pytest
from pydantic import ValidationError

from pipeline.config import EmojiSource, TableSource, TextTasksSource, TextView
from pipeline.config.prompts import Translation
from pipeline.config.tasks import SceneLabels, SegmentationBenchmark
from pipeline.datasets.babel import names_in_languages
from pipeline.datasets.index import build_index
from pipeline.datasets.tables import read_table, write_table
from pipeline.datasets.tally import table_of
from pipeline.encoding.plan import text_plan
from pipeline.languages import NAMES, among, known_dialect, known_language, language_code, language_lines
from tests.datasets.layouts import photo, write

CODES: dict[str, str | None] = {
    **dict.fromkeys(("en", "EN", "eng", "en-US", "en_GB", "en-Latn", "English", " en ", "en_US.UTF-8"), "en"),
    **dict.fromkeys(("de", "ger", "deu", "de-AT", "DE", "German", "german "), "de"),
    **dict.fromkeys(("zh", "zh-CN", "zh-Hans", "zh_hans_sg"), "zh"),
    **dict.fromkeys(("zh-TW", "zh-Hant", "zh-HK"), "zh-Hant"),
    **{"pt-BR": "pt", "iw": "he", "sr": "sr", "sr-Latn": "sr-Latn", "bg-Latn": "bg-Latn", "es-419": "es", "no": "no"},
    **dict.fromkeys(("Deutsch", "jp", "xx", "nolang", "", "e n", "123", "-", "C", "\ud800", "und-Latn"), None),
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
    assert about["tally"]["rewritten"] == {
        **{"captions: 'EN' is en": 1, "captions: 'en-US' is en": 1, "captions: 'English' is en": 1}
    }
    assert "               1 captions: 'EN' is en" in table_of(about["tally"])
    assert read_table(tmp_path / "index/pairs.parquet")["language"].to_pylist() == ["en", "en", "en", "de", "jp"]


@pytest.mark.parametrize(
    ("languages", "expected"), [(("EN",), ["a"]), (("en-US", "de"), ["a", "b"]), ((), ["a", "b", "c"])]
)
def test_the_languages_of_a_view(languages: tuple[str, ...], expected: list[str], tmp_path: Path) -> None:
    rows = [{"text_id": text, "text": text, "language": code} for text, code in (("a", "en"), ("b", "de"), ("c", "fr"))]
    write_table(pa.Table.from_pylist(rows), tmp_path / "texts.parquet")
    assert list(text_plan(tmp_path, languages, 8)[1]) == expected


def test_names_are_codes_that_are_their_own() -> None:
    from langcodes import Language

    for code in NAMES.values():
        assert Language.get(code).is_valid()
        assert language_code(code) == code == known_language(f" {code.upper()} ")


def test_params_name_languages_in_any_form() -> None:
    assert TextView(encoder="x", languages=("EN", "deu", "pt_BR", "zh-TW", "German")).only == (
        *("en", "de", "pt", "zh-Hant"),
    )
    assert TextView(encoder="x", languages="all").only == ()
    assert SceneLabels(dataset="a", label="category", languages=("Japanese", "rus")).languages == ("ja", "ru")
    benchmark = SegmentationBenchmark(dataset="a", views={"x": "y"}, prompt_set="single", languages=("en-US", "fr_CA"))
    assert benchmark.languages == ("en", "fr")
    translation = {"dataset": "a", "label": "category", "names": {"cat": "Katze"}}
    assert Translation(language="ger", **translation).language == "de"
    with pytest.raises(ValidationError, match="English names come from the data set"):
        Translation(language="English", **translation)
    assert TableSource(source="table", path="x", language="Spanish").language == "es"
    emoji = {"source": "emoji", "styles": ("noto",), "languages": ("pt_PT", "German", "zh-Hant", "deu")}
    assert EmojiSource.model_validate(emoji, strict=False).languages == ("pt-PT", "de", "zh-Hant")
    assert [known_dialect(code) for code in ("es_419", "iw", "en", "de_DE.UTF-8")] == ["es-419", "he", "en", "de-DE"]


@pytest.mark.parametrize(
    ("written", "near"), [("Germn", "german"), ("englsh", "english"), ("Portugese", "portuguese"), ("jp", "")]
)
def test_unknown_languages_of_params_are_named_with_similar_ones(written: str, near: str) -> None:
    with pytest.raises(ValidationError, match=f"'{written}' is no language; .*{near}"):
        TextView(encoder="x", languages=("en", written))


def test_the_code_that_a_data_set_uses_is_found() -> None:
    codes = ["de", "pt", "zh_tw", "xx", "en-us", "en-gb"]
    wanted = {"DE": "de", "deu": "de", "German": "de", "pt-BR": "pt", "zh-TW": "zh_tw", "zh-Hant": "zh_tw", "XX": "xx"}
    assert {written: among(written, codes) for written in wanted} == wanted
    assert (among("en-US", codes), among("en", codes), among("fr", codes)) == ("en-us", None, None)


@pytest.mark.parametrize("forms", [("DE", "de"), ("de", "de-AT"), ("zh-CN", "ZH")])
def test_a_language_in_two_forms_of_babel_is_one(forms: tuple[str, str], tmp_path: Path) -> None:
    content = {forms[0]: [[0], ["eins"]], forms[1]: [[0, 1], ["eins", "zwei"]]}
    (tmp_path / "babel.json").write_text(json.dumps(content))
    captions = names_in_languages(tmp_path / "babel.json", (), 2)
    assert [{(one.text, language_code(one.language)) for one in names} for names in captions] == [
        {("eins", language_code(forms[0]))},
        {("zwei", language_code(forms[0]))},
    ]


def test_a_language_that_params_name_twice_is_one() -> None:
    assert TextTasksSource(source="text-tasks", languages=("de", "DE", "pt-BR", "pt_br", "pt")).languages == (
        *("de", "pt-BR", "pt"),
    )
    assert EmojiSource(source="emoji", styles=("noto",), languages=("en", "EN")).languages == ("en",)
    assert SceneLabels(dataset="x", label="concept", languages=("fr", "French")).languages == ("fr",)
