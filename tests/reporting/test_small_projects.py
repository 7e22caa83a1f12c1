"""Pages of projects that name only a part of what there is; each is whole, and says what is missing."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import TASKS
from pipeline.datasets.tables import text_id
from pipeline.reporting.numbers import FORMATS
from pipeline.reporting.sections.task import task_section
from tests.reporting.page import check_in_browser, numbers, resolve
from tests.reporting.small import SmallProject, class_map, difference, one_aligner, row, with_control

ALWAYS = ["findings", "stages", "costs", "provenance"]
SEGMENTATION = {"scenes": "drawn", "classes": [{"dataset": "mine", "label": "category"}], "prompt_set": "single"}


def sections(page: str) -> list[str]:
    """The anchors of the sections, in the order of the page."""
    return re.findall(r'<section id="([^"]+)"', page)


def section(page: str, name: str) -> str:
    """The HTML of one section."""
    return page.partition(f'<section id="{name}"')[2].partition("</section>")[0]


def finding(page: str) -> str:
    return page.partition('<p class="finding">')[2].partition("</p>")[0]


def full(project: SmallProject) -> str:
    """A page on which every kind of section has something to show."""
    params = with_control()
    params["views"] |= {
        "eye-dense": {"encoder": "eye", "resolution": 112, "tier": "full"},
        "words-long": {"encoder": "words", "max_tokens": 64, "truncations": [16, 64]},
    }
    params["scenes"] = {"drawn": {"pieces": ["mine"]}}
    params["stores"]["scenes"] = {
        "drawn-eye": {"dataset": "drawn", "view": "eye-dense", "encoder": "eye"},
        "drawn-words": {"dataset": "drawn", "view": "words-long", "encoder": "words"},
    }
    params["stores"]["prompts"] = {"names": {"dataset": "classnames", "view": "words", "encoder": "words"}}
    params["prompts"] = {"sets": {"single": ["a {}."]}}
    params["aligners"]["plain"]["evaluation"] = {"dense": "eye-dense", "long_text": "words-long"}
    params["evaluate"]["tasks"] = {
        "retrieval": {"datasets": ["mine"]},
        "classification": {"classes": [{"dataset": "mine", "label": "category"}], "prompt_sets": ["single"]},
        "multilingual": {"datasets": ["mine"]},
        "segmentation": SEGMENTATION,
        "long_text": {"scenes": "drawn"},
    }
    params["evaluate"]["showcase"] = "plain"
    settings = project.configure(params)
    image, *_ = project.index("pairs", "mine", ("a bird",))
    scene, *_ = project.index("scenes", "drawn", ("a bird left of a tree",))
    bird, long = text_id("a bird"), text_id("a bird left of a tree")
    against = (difference("plain", "blind"), difference("other", "blind", value=0.05), difference("other", "plain"))
    text_query = {"kind": "t2i", "dataset": "mine", "query": {"text_id": bird}, "rank": 1,
                  "results": [{"image": image, "score": 0.5, "right": True}]}  # fmt: skip
    image_query = {"kind": "i2t", "dataset": "mine", "query": {"image": image}, "rank": 2,
                   "results": [{"text_id": bird, "score": 0.5, "right": False}]}  # fmt: skip
    rows = tuple(row(name, value=value) for name, value in (("blind", 0.2), ("plain", 0.6), ("other", 0.3)))
    project.evaluated("retrieval", rows, against, examples=(text_query, image_query))
    classified = {"dataset": "mine", "label": "category", "image": image, "right": "bird", "rank": 1,
                  "top": [{"class": "bird", "score": 0.5}, {"class": "tree", "score": 0.1}]}  # fmt: skip
    accuracy = tuple(row("plain", "category_top1_accuracy", prompt_set=name) for name in ("first", "single"))
    project.evaluated("classification", accuracy, examples=(classified,))
    spoken = {"dataset": "mine", "image": image, "right": "bird",
              "languages": {"de": {"concept": "Vogel", "right": True}}}  # fmt: skip
    languages = tuple(row("plain", "concept_top1_accuracy", language=code) for code in ("en", "de", "average"))
    project.evaluated("multilingual", languages, left_out=("mine in fr: no caption",), examples=(spoken,))
    painted = {"scene": scene, "dataset": "mine", "label": "category", "classes": {"0": "bird", "1": "tree"},
               "truth": class_map(0), "predicted": class_map(1), "pixel_accuracy": 0.0}  # fmt: skip
    project.evaluated("segmentation", (row("plain", "category_mIoU"),), examples=(painted,))
    ranked = {"scene": scene, "text_id": long, "ranks": {"16": 2, "64": 1}, "candidates": 3}
    lengths = tuple(row("plain", dataset="drawn", tokens=tokens, language="en") for tokens in (16, 64))
    project.evaluated("long_text", lengths, examples=(ranked,))
    for name in settings.aligners:
        project.trained(name)
    project.curated("all", "all")
    project.curated("random", "random", concepts=True)
    project.compared("near")
    project.played("play")
    project.predicted("tell")
    project.counted()
    project.write(
        "index/pairs/mine/about.json", {"source": "stamps", "packages": {"p": {"version": "1", "licence": "MIT"}}}
    )
    return project.page(settings)


def test_a_full_page_has_its_sections_in_order(project: SmallProject) -> None:
    page = full(project)
    tasks = ["retrieval", "classification", "multilingual", "segmentation", "long-text"]
    studies = ["training", "similarity", "toy", "predictors", "curation"]
    assert sections(page) == ["findings", "stages", *tasks, *studies, "costs", "provenance"]
    assert "missing" not in re.findall(r'<p class="(\w+)"', page)
    assert finding(page) == "“plain” beats its control on 1 of 1 headline measures."
    assert "an-eye aligned with some-words" in page
    assert "mine in fr: no caption" in section(page, "multilingual")
    assert page.count("composed scene") >= 4


def test_headlines_follow_the_rules_of_the_tasks(project: SmallProject) -> None:
    labels = re.findall(r'<p class="tile-label">([^<]+)</p>', full(project))
    assert labels == [
        "Retrieval: mine, text to image, R@1",
        "Zero-shot classification: mine, category top-1 accuracy",
        "Languages: mine, concept top-1 accuracy, other languages",
        "Segmentation of composed scenes: mine, category mIoU",
        "Text length: drawn, text to image, R@1, 64 tokens",
    ]


def test_every_number_is_the_one_in_its_file(project: SmallProject) -> None:
    shown = numbers(full(project))
    files = {Path(source.partition("#")[0]).name for source, _, _ in shown}
    assert files >= {"retrieval.json", "similarity.json", "toy.json", "predictors.json", "costs.json"}
    assert files >= {"metrics.json", "coverage.json"}
    for source, form, text in shown:
        assert text == FORMATS[form](float(resolve(project.folder, source))), source


def test_a_full_page_opens_in_a_browser(project: SmallProject) -> None:
    full(project)
    titles = [TASKS[name].title for name in ("retrieval", "segmentation", "long_text")]
    check_in_browser(project.folder / "data" / "report" / "index.html", titles, images=8)


def test_one_aligner_without_control_is_compared_with_chance(project: SmallProject) -> None:
    settings = project.configure(one_aligner())
    project.evaluated("retrieval", (row("plain", value=0.6), row("plain", "i2t_recall@1", value=0.15)))
    project.trained("plain")
    project.curated("all", "all")
    page = project.page(settings)
    assert sections(page) == ["findings", "stages", "retrieval", "training", "costs", "provenance"]
    assert finding(page) == "“plain” is above chance on 1 of 2 headline measures."
    assert "control" not in section(page, "findings") + section(page, "retrieval")
    assert "▲" not in page
    assert "The control is" not in page
    assert "None" not in page
    assert "The costs have not been counted." in section(page, "costs")


def test_settings_without_a_showcase(project: SmallProject) -> None:
    settings = project.configure(one_aligner()).model_copy(update={"showcase": None})
    project.evaluated("retrieval", (row("plain"),))
    page = project.page(settings)
    assert "A Permafrost run" in page
    assert "Shown below: the aligners and chance." in page
    assert "tile" not in section(page, "findings")
    assert "None" not in page


def test_leftovers_of_earlier_parameters_are_not_read(project: SmallProject) -> None:
    full(project)
    (project.folder / "data" / "results" / "multilingual.json").write_text("damaged")
    (project.folder / "data" / "compare" / "near" / "similarity.json").write_text("damaged")
    settings = project.configure(one_aligner())
    project.evaluated("retrieval", (row("plain"),))
    page = project.page(settings)
    assert sections(page) == ["findings", "stages", "retrieval", "training", "costs", "provenance"]
    read = {Path(source.partition("#")[0]).as_posix() for source, _, _ in numbers(page)}
    assert read == {"data/results/retrieval.json", "data/models/plain/metrics.json", "data/accounting/costs.json"}
    assert "models/other" not in page


@pytest.mark.parametrize("change", ["no task", "no aligner", "nothing"])
def test_projects_without_evaluation(project: SmallProject, change: str) -> None:
    params: dict[str, Any] = {} if change == "nothing" else one_aligner()
    if params:
        params["evaluate"] = {}
    if change == "no aligner":
        params["aligners"] = {}
    page = project.page(project.configure(params))
    training = ["training"] if change == "no task" else []
    assert sections(page) == ["findings", "stages", *training, "costs", "provenance"]
    assert finding(page) == "Nothing is evaluated: params.yaml names no task."
    assert "None" not in page


def test_only_studies_are_shown_beside_no_task(project: SmallProject) -> None:
    params = with_control()
    params["evaluate"], params["aligners"], params["curations"] = {}, {}, {}
    settings = project.configure(params)
    project.compared("near")
    page = project.page(settings)
    assert sections(page) == ["findings", "stages", "similarity", "toy", "predictors", "costs", "provenance"]
    assert "data/compare/near/similarity.json" in page
    assert "dvc repro toy@play" in section(page, "toy")
    assert "dvc repro predictors@tell" in section(page, "predictors")


def test_several_comparisons_stand_under_their_names(project: SmallProject) -> None:
    params = with_control()
    params["compare"]["far"] = params["compare"]["near"]
    settings = project.configure(params)
    project.compared("far")
    text = section(project.page(settings), "similarity")
    assert re.findall("<h3>([^<]+)</h3>", text) == ["near", "far"]
    assert "dvc repro compare@near" in text
    assert "dvc repro compare@far" not in text


def test_a_task_without_rows_says_so(project: SmallProject) -> None:
    settings = project.configure(one_aligner())
    project.evaluated("retrieval", left_out=("plain: no view", "mine: no caption"))
    page = project.page(settings)
    text = section(page, "retrieval")
    assert "has no rows" in text
    assert "<li>plain: no view</li><li>mine: no caption</li>" in text
    assert "examples" not in text
    assert finding(page) == "There are no headline figures to sum up."


def test_a_task_without_examples_says_so(project: SmallProject) -> None:
    settings = project.configure(one_aligner())
    project.evaluated("retrieval", (row("plain"),))
    assert "There are no examples of “plain” for this task." in section(project.page(settings), "retrieval")
    (project.folder / "data" / "results" / "retrieval.examples.json").unlink()
    text = section(project.page(settings), "retrieval")
    assert "The examples of the task retrieval are missing." in text


def test_a_task_that_was_not_evaluated_names_its_command(project: SmallProject) -> None:
    page = project.page(project.configure(one_aligner()))
    assert "dvc repro evaluate@retrieval" in section(page, "retrieval")
    assert finding(page) == "Nothing has been evaluated yet."


def test_an_aligner_that_is_not_compared_with_the_control(project: SmallProject) -> None:
    settings = project.configure(with_control())
    project.evaluated("retrieval", (row("plain"), row("blind", value=0.2)))
    page = project.page(settings)
    assert finding(page) == "“plain” has not been compared with its control “blind”."
    assert "blind (control)" in section(page, "retrieval")


def test_the_showcase_may_be_the_control(project: SmallProject) -> None:
    params = with_control()
    params["evaluate"]["showcase"] = "blind"
    settings = project.configure(params)
    project.evaluated("retrieval", (row("plain"), row("blind", value=0.2)), (difference("plain", "blind"),))
    page = project.page(settings)
    assert finding(page) == "“blind” is above chance on 0 of 1 headline measures."
    assert "a-blind-eye aligned with some-words" in page


def test_lost_and_open_comparisons_are_counted(project: SmallProject) -> None:
    settings = project.configure(with_control())
    against = (difference("plain", "blind", value=-0.3), difference("plain", "blind", "i2t_recall@1", value=0.01))
    project.evaluated("retrieval", (row("plain"), row("plain", "i2t_recall@1")), against)
    expected = "beats its control on 0 of 2 headline measures, falls behind on 1; on 1 no difference is established."
    assert finding(project.page(settings)).endswith(expected)


def test_a_new_task_needs_a_declaration_alone(project: SmallProject, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = f"{task_section.__module__}:{task_section.__name__}"
    settings = project.configure(one_aligner())
    monkeypatch.setitem(TASKS, "counting", replace(TASKS["retrieval"], title="Counting", short="Counts", section=plain))
    settings = settings.model_copy(update={"tasks": (*settings.tasks, "counting")})
    project.evaluated("counting", (row("plain"),), left_out=("stamps: no numbers",))
    page = project.page(settings)
    assert sections(page)[2:4] == ["retrieval", "counting"]
    assert "stamps: no numbers" in section(page, "counting")
    assert "Counting: mine, text to image, R@1" in section(page, "findings")
