"""How aligners look on the page: in which order they stand, and in which colour."""

from collections.abc import Iterable
from dataclasses import dataclass

from pipeline.config import ReportSettings

_COLOURS = 6  # s0 to s5 in the style sheet


@dataclass(frozen=True)
class AlignerStyle:
    """Order, CSS class and legend of the aligners.

    Attributes:
        aligners: in the order of params.yaml.
        control: the aligner that the others are compared with; None for none.
        showcase: the aligner whose examples are shown; None for none.
        control_model: the image model of the control; "" where it is not known.
    """

    aligners: tuple[str, ...]
    control: str | None = None
    showcase: str | None = None
    control_model: str = ""

    @classmethod
    def of(cls, settings: ReportSettings) -> "AlignerStyle":
        """As params.yaml says."""
        views = settings.views.get(settings.control) if settings.control else None
        model = settings.models.get(views[0], "") if views else ""
        return cls(settings.aligners, settings.control, settings.showcase, model)

    def ordered(self, names: Iterable[str]) -> list[str]:
        """`names`, each once: the control first, then the showcase, then as in params.yaml, then by name."""
        order = self._order
        return sorted(set(names), key=lambda name: (order.index(name) if name in order else len(order), name))

    def colour(self, name: str) -> str:
        """`control`, or s0 (the showcase) to s5; a method `<aligner>-<method>` has the colour of its aligner."""
        order = self._order
        aligner = name if name in order else name.rpartition("-")[0]
        if aligner == self.control:
            return "control"
        others = [other for other in order if other != self.control]
        return f"s{others.index(aligner) % _COLOURS}" if aligner in others else f"s{_COLOURS - 1}"

    def label(self, name: str) -> str:
        """The name, marked as the control where it is the control and not called so."""
        return f"{name} (control)" if name == self.control != "control" else name

    def legend(self, names: Iterable[str]) -> list[tuple[str, str]]:
        """(colour class, text) of each aligner; the control with its image model."""
        return [(self.colour(name), self._described(name)) for name in self.ordered(names)]

    @property
    def _order(self) -> list[str]:
        named = (self.control, self.showcase, *self.aligners)
        return list(dict.fromkeys(name for name in named if name is not None))

    def _described(self, name: str) -> str:
        if name != self.control or not self.control_model:
            return self.label(name)
        return f"{name} (control: {self.control_model})" if name != "control" else f"{name} ({self.control_model})"
