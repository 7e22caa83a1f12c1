"""`prompts`: templates for class names, and names in other languages."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline.config.base import Language, Name, Section
from pipeline.config.selection import ClassificationSet, Label

NamedTemplates = Literal["openai-80", "openai-7", "own", "descriptions"]
SINGLE: dict[str, tuple[str, ...] | NamedTemplates] = {"single": ("a picture of a {}.",)}


class Translation(Section):
    """Names of the classes of a label in another language, by what the data set calls them."""

    dataset: Name
    label: Label
    language: Language
    names: Annotated[dict[str, Annotated[str, Field(min_length=1)]], Field(min_length=1)]

    @model_validator(mode="after")
    def _foreign(self) -> "Translation":
        if self.language == "en":
            raise ValueError("English names come from the data set; translations are into other languages")
        return self


class PromptsParams(Section):
    """Named template sets; `{}` stands for the class name. The classes are those of the tasks that need prompts.

    A set may be a name: OpenAI's 80 or 7 templates for ImageNet, those that came with each data set (own), or sentences
    for each class (descriptions, of data sets that name such a file; others take the bare class name). Names in other
    languages than English, a data set's own or those of `translations`, are prompts as they are, without a template.
    """

    sets: Annotated[dict[Name, tuple[str, ...] | NamedTemplates], Field(min_length=1)] = SINGLE
    translations: tuple[Translation, ...] = ()

    @model_validator(mode="after")
    def _placeholders(self) -> "PromptsParams":
        for name, templates in self.sets.items():
            if isinstance(templates, str):
                continue
            if not templates:
                raise ValueError(f"prompts.sets.{name} holds no template")
            for template in templates:
                if template.count("{}") != 1:
                    raise ValueError(f"template {template!r} in prompts.sets.{name} needs exactly one {{}}")
        return self


class PromptedClasses(PromptsParams):
    """What the stage prompts reads: the template sets, and the classes of the tasks that need them.

    `classes` are labels of samples, `segmentation` data sets with label maps.
    """

    classes: tuple[ClassificationSet, ...] = ()
    segmentation: tuple[Name, ...] = ()
