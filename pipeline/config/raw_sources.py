"""What the entries of `datasets` have in common."""

from typing import Any, ClassVar, Literal

from pydantic import SerializerFunctionWrapHandler, model_serializer, model_validator

from pipeline.config.base import Language, Limit, Section, Share


class Extended(Section):
    """A section with keys that came later: where they have their default they are not written out, so that what was
    indexed before keeps its settings.
    """

    LATER: ClassVar[tuple[str, ...]] = ()

    @model_serializer(mode="wrap")
    def _written(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        out: dict[str, Any] = write(self)
        fields = type(self).model_fields
        return {
            key: value
            for key, value in out.items()
            if key not in self.LATER or getattr(self, key) != fields[key].default
        }


class Files(Section):
    """A data set of files on this machine.

    `links: inside`: a symbolic link in a folder that is named here, which leads out of it, is not read and is listed
    with that reason. `follow` reads what it leads to. What is named here may itself be a link.
    """

    links: Literal["inside", "follow"] = "inside"


class RawSource(Files):
    """What every data set of one's own has.

    `transfer` says that it is for evaluation alone: no concept is held out because of it, and none of it is trained on.
    `limit` takes the first samples only. `check` decodes every picture, or reads headers alone and leaves damage behind
    them to encode. A source is given up once more than `max_failure_rate` of its samples cannot
    be used; one of fewer than a hundred may have as many failures as one of a hundred. `descriptions` is a JSON file
    with sentences for each class name, for the prompt set `descriptions`.
    """

    transfer: bool = False
    limit: Limit = 0
    check: Literal["decode", "header"] = "decode"
    descriptions: str | None = None
    max_failure_rate: Share = 0.1


class FileFolder(RawSource):
    """Files in folders and subfolders, of one medium."""

    path: str
    labels: Literal["folder", "none"] = "folder"
    captions: Literal["beside", "none"] = "none"
    language: Language = "en"
    classnames: str | None = None
    babel: str | None = None
    languages: tuple[str, ...] = ()
    order: Literal["name", "time"] = "name"

    @model_validator(mode="after")
    def _effective(self) -> "FileFolder":
        if self.captions == "none":
            self.refuse(("language",), "no captions are read; set `captions: beside`")
        if self.labels == "none":
            self.refuse(("classnames", "babel"), "folders are not classes with `labels: none`")
        if self.babel is None:
            self.refuse(("languages",), "they are those of `babel`, which is not set")
        return self
