"""How aligners look on the page: in which order they stand, and in which colour."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pipeline.config import ReportSettings, control_of, split_method

_COLOURS = 6  # s0 to s5 in the style sheet


@dataclass(frozen=True)
class AlignerStyle:
    """Order, CSS class and legend of the aligners.

    Attributes:
        aligners: in the order of params.yaml.
        controls: the control of each aligner that has one.
        showcase: the aligner whose examples are shown; None for none.
        control_models: the image model of each control, where it is known.
    """

    aligners: tuple[str, ...]
    controls: Mapping[str, str] = field(default_factory=dict)
    showcase: str | None = None
    control_models: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, settings: ReportSettings) -> "AlignerStyle":
        """As params.yaml says."""
        controls = dict.fromkeys(settings.controls.values())
        image = {name: settings.views[name][0] for name in controls if name in settings.views}
        models = {name: settings.models[view] for name, view in image.items() if settings.models.get(view)}
        return cls((*settings.aligners, *settings.ensembles), settings.controls, settings.showcase, models)

    def control_of(self, row: str) -> str | None:
        """The control of a row, an aligner or a method of one; None where it has none."""
        return control_of(self.controls, row)

    def is_control(self, row: str) -> bool:
        """Whether the row is one of a control."""
        return split_method(row)[0] in self.controls.values()

    def ordered(self, names: Iterable[str]) -> list[str]:
        """`names`, each once: controls first, then the showcase, then as in params.yaml, then by name.

        A method `<aligner>-<method>` stands behind the aligners, in their order.
        """
        order = self._order

        def place(name: str) -> tuple[bool, int, str]:
            aligner, method = split_method(name)
            return bool(method), order.index(aligner) if aligner in order else len(order), name

        return sorted(set(names), key=place)

    def colour(self, name: str) -> str:
        """`control`, or s0 (the showcase) to s5; a method has the colour of its aligner."""
        aligner = split_method(name)[0]
        if self.is_control(aligner):
            return "control"
        others = [other for other in self._order if not self.is_control(other)]
        return f"s{others.index(aligner) % _COLOURS}" if aligner in others else f"s{_COLOURS - 1}"

    def label(self, name: str) -> str:
        """The name, marked as a control where it is one and is not called so."""
        return f"{name} (control)" if self.is_control(name) and not _called_control(name) else name

    def legend(self, names: Iterable[str]) -> list[tuple[str, str]]:
        """(colour class, text) of each aligner; a control with its image model."""
        return [(self.colour(name), self._described(name)) for name in self.ordered(names)]

    @property
    def _order(self) -> list[str]:
        own = self.controls.get(self.showcase or "")
        named = (own, *self.controls.values(), self.showcase, *self.aligners)
        return list(dict.fromkeys(name for name in named if name is not None))

    def _described(self, name: str) -> str:
        model = self.control_models.get(split_method(name)[0])
        if model is None:
            return self.label(name)
        return f"{name} ({model})" if _called_control(name) else f"{name} (control: {model})"


def _called_control(name: str) -> bool:
    return split_method(name)[0].startswith("control")
