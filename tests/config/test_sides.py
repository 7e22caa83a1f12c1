"""Aligners of any two modalities and what is added to a space: what fits together, and what is said otherwise."""

from typing import Any

import pytest

from tests.config.refusals import refusal

HEAD = {"kind": "closed-form", "local_tokens": "none", "image_input": "cls", "forms": {"ridge": {}}}
EAR = {
    "modality": "audio",
    "source": "embedded",
    "model": "whisper-tiny.en",
    "loader": "transformers",
    "pooling": "mean",
}
ENTRY = {"views": ["ear", "minilm"], "data": "heard", "head": HEAD}
ADDED = {"to": "default", "view": "ear", "by": "minilm", "data": "heard", "head": HEAD}


@pytest.fixture
def given(raw: dict[str, Any]) -> dict[str, Any]:
    """The default with sounds of the stamps, and an aligner of sounds and texts."""
    raw["encoders"] |= {"ear": EAR, "mel": {"catalogue": "log-mel-statistics"}}
    raw["views"] |= {"ear": {"encoder": "ear", "seconds": 5.0}, "mel": {"encoder": "mel", "seconds": 5.0}}
    raw["datasets"]["stamps"] |= {"effects": True}
    raw["stores"]["pairs"] |= {
        f"stamps-{view}": {"dataset": "stamps", "view": view, "encoder": view} for view in ("ear", "mel")
    }
    raw["curations"] |= {"heard": {"pool": ["stamps"], "view": "ear"}}
    raw["aligners"]["heard"] = dict(ENTRY)
    return raw


def entry(**changes: Any) -> dict[str, Any]:
    return ENTRY | changes


def head(**changes: Any) -> dict[str, Any]:
    return HEAD | changes


REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "order": ("aligners", entry(views=["minilm", "ear"]), r"write \[ear, minilm\], as views stand in the order"),
    "pictures second": ("aligners", entry(views=["ear", "vit"]), r"write \[vit, ear\]"),
    "one modality": ("aligners", entry(views=["ear", "mel"]), "joins sounds with sounds: name views of two modalities"),
    "curation of pictures": (
        "aligners", entry(data="all"), "is 'all', a selection of images, and its first view is of sounds",
    ),
    "grid": ("aligners", entry(head=head(local_tokens="grid", image_input="mean")), "needs `tier: grid`, found pooled"),
    "patches": ("aligners", entry(head=head(local_tokens="patch", image_input="mean")), "have frames in any number"),
    "no frames": (
        "aligners", entry(views=["mel", "minilm"], head=head(local_tokens="mean", image_input="mean")),
        "'mel' gives one vector per sound: set `local_tokens: none`",
    ),
    "crops": ("aligners", entry(head=head(crops=True)), "`aligners.heard.head.crops` is for pictures"),
    "layers": ("aligners", entry(head=head(layers=3)), "`encoders.ear.layers` keeps 1"),
    "to": ("added", ADDED | {"to": "nothing"}, "`added.further.to` names 'nothing', which is not under `aligners`"),
    "other texts": ("added", ADDED | {"by": "e5"}, "`added.further.by` is 'e5'; .* of 'default' is 'minilm'"),
    "no new side": ("added", ADDED | {"view": "lite0", "data": "all"}, "images, which are in that space already"),
    "of sounds": ("added", ADDED | {"to": "heard"}, "'heard', which joins sounds and texts"),
    "cca": ("added", ADDED | {"head": head(forms={"cca": {}})}, "`added.further.head.forms.cca` would move texts"),
    "backwards": (
        "added", ADDED | {"head": head(forms={"ridge": {"direction": "text-to-image"}})}, "would move texts",
    ),
    "two forms": ("added", ADDED | {"head": head(forms={"ridge": {}, "kernel-ridge": {}})}, "keep one"),
    "whitening": ("added", ADDED | {"head": head(whitening={"sides": "both"})}, "would move texts: set `sides: image`"),
    "freeze-align": ("added", ADDED | {"head": {"kind": "freeze-align"}}, "is freeze-align; a map into a space"),
    "width": (
        "added", ADDED | {"head": {"kind": "mlp", "local_tokens": "none", "image_input": "cls", "embed_dim": 64}},
        "embed_dim` is that of the space",
    ),
    "unknown key": ("added", ADDED | {"views": ["ear"]}, "`added.further.views` is not a key that exists here"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_said_where_it_stands(given: dict[str, Any], case: str) -> None:
    section, changed, message = REFUSED[case]
    given.setdefault(section, {})["heard" if section == "aligners" else "further"] = changed
    assert_said(refusal(given), message)


def assert_said(found: str, message: str) -> None:
    import re

    assert re.search(message, found), found


def test_kinds_are_of_sounds(given: dict[str, Any]) -> None:
    given["aligners"]["default"]["kinds"] = ["effect"]
    assert_said(refusal(given), "`aligners.default.kinds` are kinds of sounds")


def test_a_control_of_sounds_has_random_weights_and_all_else_in_common(given: dict[str, Any]) -> None:
    given["evaluate"]["control"] |= {"heard": "same"}
    given["aligners"]["same"] = dict(ENTRY)
    assert_said(refusal(given), "both hear sounds through encoder 'ear'")
    given["aligners"]["same"] = entry(views=["mel", "e5"])
    assert_said(refusal(given), r"differs from 'heard' in text view \(minilm, e5\)")
    given["views"]["deaf"] = {"encoder": "deaf", "seconds": 5.0}
    given["encoders"]["deaf"] = dict(EAR)
    given["stores"]["pairs"]["stamps-deaf"] = {"dataset": "stamps", "view": "deaf", "encoder": "deaf"}
    given["aligners"]["same"] = entry(views=["deaf", "minilm"])
    assert_said(refusal(given), "audio encoder 'deaf' is 'whisper-tiny.en', with trained weights; .*random-whisper")


def test_tasks_across_modalities_name_what_is_missing(given: dict[str, Any]) -> None:
    given["evaluate"]["tasks"]["cross_retrieval"] = {"sets": [{"dataset": "stamps", "between": ["image", "audio"]}]}
    assert_said(refusal(given), "asks for images and sounds of 'stamps', and the space of no aligner has both")
    given["evaluate"]["tasks"]["cross_retrieval"] = {"sets": [{"dataset": "emoji", "between": ["audio", "text"]}]}
    assert_said(refusal(given), "needs 'emoji' through view 'ear'")
    given["evaluate"]["tasks"]["cross_retrieval"] = {"sets": [{"dataset": "stamps", "between": ["image", "text"]}]}
    assert_said(refusal(given), "between pictures and texts is task retrieval")
