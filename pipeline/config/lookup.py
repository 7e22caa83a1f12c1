"""Looking names up in the catalogues of params.yaml, and what to say where they are not there."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pipeline.config.modalities import many
from pipeline.config.suggestion import suggestion
from pipeline.config.views import FusedView, TextView

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
        """What to add if no store holds the data set through the view; None where there can be no such store.

        A fused view has the stores of the views that it joins.
        """
        catalogues: dict[str, dict[str, Any]] = {"pairs": self._params.datasets, "scenes": self._params.scenes}
        catalogue = catalogues.get(group)
        if catalogue is not None and dataset not in catalogue:
            return None
        for member in self._params.members(view):
            spec = self._params.stored_views.get(member)
            texts_alone = group == "prompts" and spec is not None and spec.modality != "text"
            if spec is None or texts_alone or self.holds(group, dataset, member):
                continue
            joined = f", one of fused view {view!r}" if member != view else ""
            return (
                f"`{where}` needs {dataset!r} through view {member!r}{joined}; add under `stores.{group}`: "
                f"{dataset}-{member}: {{dataset: {dataset}, view: {member}, encoder: {spec.encoder}}}"
            )
        return None

    def not_a_view(self, where: str, view: str, *modalities: str) -> Iterator[str]:
        """What to say if the view is missing, is of none of these modalities, or joins several."""
        if problem := self.missing(where, view, "views"):
            yield problem
            return
        spec = self._params.views[view]
        if isinstance(spec, FusedView):
            yield (
                f"`{where}` is {view!r}, a fused view, which only `views` of an aligner under `fused` take; name one "
                f"of those that it joins: {', '.join(spec.concat)}."
            )
        elif spec.modality not in modalities:
            yield f"`{where}` is {view!r}, a view of an encoder of {many(spec.modality)}."

    def languages(self, where: str, view: str, languages: set[str]) -> Iterator[str]:
        """What to say if a view of texts, or one that it joins, does not encode the languages that a task asks for."""
        for name in self._params.members(view):
            spec = self._params.views.get(name)
            if isinstance(spec, TextView) and spec.only and not languages <= {*spec.only}:
                yield (
                    f"`{where}` asks for class names in {', '.join(sorted(languages - {*spec.only}))}, which view "
                    f"{name!r} does not encode: set `views.{name}.languages: all`, or name them there."
                )


def present(*problems: str | None) -> Iterator[str]:
    """Those that are not None."""
    return (problem for problem in problems if problem is not None)
