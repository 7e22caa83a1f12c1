"""Looking names up in the catalogues of params.yaml, and what to say where they are not there."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pipeline.config.suggestion import suggestion

if TYPE_CHECKING:
    from pipeline.config.params import Params


class Lookup:
    """What the catalogues define."""

    def __init__(self, params: "Params") -> None:
        self._params = params
        self._stores = {(store.group, store.dataset, store.view) for store in params.stores.by_name().values()}

    def missing(self, where: str, name: str, catalogue: str) -> str | None:
        """What to say if `catalogue`, a dotted key, does not define `name`."""
        owner: Any = self._params
        for part in catalogue.split("."):
            owner = getattr(owner, part)
        if name in owner:
            return None
        return f"`{where}` names {name!r}, which is not under `{catalogue}`.{suggestion(name, list(owner))}"

    def holds(self, group: str, dataset: str, view: str) -> bool:
        """Whether a store holds the data set through the view."""
        return (group, dataset, view) in self._stores

    def unstored(self, where: str, group: str, dataset: str, view: str) -> str | None:
        """What to add if no store holds the data set through the view; None where there can be no such store."""
        catalogues: dict[str, dict[str, Any]] = {"pairs": self._params.datasets, "scenes": self._params.scenes}
        catalogue = catalogues.get(group)
        if (catalogue is not None and dataset not in catalogue) or view not in self._params.views:
            return None
        texts_alone = group == "prompts" and self._params.views[view].modality != "text"
        if texts_alone or self.holds(group, dataset, view):
            return None
        encoder = self._params.views[view].encoder
        return (
            f"`{where}` needs {dataset!r} through view {view!r}; add under `stores.{group}`: "
            f"{dataset}-{view}: {{dataset: {dataset}, view: {view}, encoder: {encoder}}}"
        )

    def not_a_view(self, where: str, view: str, modality: str) -> Iterator[str]:
        """What to say if the view is missing, or is one of another modality."""
        if problem := self.missing(where, view, "views"):
            yield problem
        elif self._params.views[view].modality != modality:
            yield f"`{where}` is {view!r}, a view of an encoder of {self._params.views[view].modality}s."


def present(*problems: str | None) -> Iterator[str]:
    """Those that are not None."""
    return (problem for problem in problems if problem is not None)
