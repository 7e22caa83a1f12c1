"""What a view may ask of vectors that were imported."""

from collections.abc import Iterator

from pipeline.config.views import AnyView, ImageView, TextView


def imported_problems(name: str, view: AnyView) -> Iterator[str]:
    """One line for each key of a view that the one vector of each input cannot satisfy."""
    others: dict[str, object]
    if isinstance(view, ImageView):
        others = {"tier": view.tier != "cls", "crops": view.crops, "fit": view.fit != "model"}
        hint = "set `tier: cls`, and neither crops nor fit"
    elif isinstance(view, TextView):
        others = {"tier": view.tier != "pooled", "max_tokens": view.max_tokens, "truncations": view.truncations}
        others |= {"chunk_tokens": view.chunk_tokens, "templates": view.templates}
        hint = "leave it out"
    else:  # an encoder of audio cannot be imported, which its entry says
        return
    for key in (key for key, written in others.items() if written):
        yield f"`views.{name}.{key}` is {getattr(view, key)!r}; imported are single vectors: {hint}."
