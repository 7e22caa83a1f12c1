"""Names that one part of params.yaml uses and another defines: whatever contradicts is found before anything runs."""

from collections.abc import Iterator

from pydantic import ValidationError

from pipeline.config.added import added_among_aligners, added_problems, under_added
from pipeline.config.aligners import (
    CAPTIONS,
    MASKS,
    METHODS,
    NO_DATA,
    AlignerSpec,
    EvaluationViews,
    with_method,
)
from pipeline.config.auto import auto_problems, under_auto, with_every_choice
from pipeline.config.concept_checks import concept_problems
from pipeline.config.datasets import SegmentationSource, TextTasksSource, media_of
from pipeline.config.evaluation_checks import evaluation_problems
from pipeline.config.explain import reason
from pipeline.config.further import FURTHER, WITHOUT_WEIGHTS
from pipeline.config.fused import fused_among_aligners, fused_problems, side_problems, under_fused
from pipeline.config.heads import OPTIMISED, AutoHead, FittedHead, IdentityHead
from pipeline.config.imported import imported_problems
from pipeline.config.lookup import Lookup, present
from pipeline.config.modalities import ORDER, further_problems, many, one
from pipeline.config.params import Params
from pipeline.config.sizes import size_problems
from pipeline.config.stores import CLASSNAMES, stored_through
from pipeline.config.studies import CompareSpec, PredictorsSpec, StudySpec
from pipeline.config.training import LoadingParams
from pipeline.config.view_base import FurtherView
from pipeline.config.views import ImageView, TextView


def contradictions(params: Params) -> Iterator[str]:
    """A line for each name without a definition, and for each pair of entries that contradict each other.

    What `auto` leaves open is checked with every pair of views that may be chosen.
    """
    lookup = Lookup(params)
    if misplaced := list(fused_problems(params, lookup)):
        return (yield from misplaced)
    yield from (open_problems := list(auto_problems(params, lookup)))
    yield from added_problems(params, lookup)
    merged = added_among_aligners(fused_among_aligners(params))
    for version in [merged.model_copy(update={"auto": {}})] if open_problems else with_every_choice(merged):
        for problem in _contradictions(version):
            yield under_added(under_fused(under_auto(problem, params), params), params)


def _contradictions(params: Params) -> Iterator[str]:
    lookup = Lookup(params)
    yield from _views(params, lookup)
    yield from _stores(params, lookup)
    yield from size_problems(params)
    yield from _scenes(params, lookup)
    yield from _curations(params, lookup)
    yield from concept_problems(params, lookup)
    for name, aligner in params.aligners.items():
        yield from _aligner(name, aligner, params, lookup)
        for method in METHODS:
            if with_method(name, method) in params.aligners:
                yield f"`aligners.{with_method(name, method)}` cannot be: results call a method of {name!r} so."
    yield from _dense_heads(params, lookup)
    yield from _studies(params, lookup)
    yield from evaluation_problems(params, lookup)


def _views(params: Params, lookup: Lookup) -> Iterator[str]:
    for name, view in params.stored_views.items():
        if problem := lookup.missing(f"views.{name}.encoder", view.encoder, "encoders"):
            yield problem
            continue
        encoder = params.encoders[view.encoder]
        if isinstance(view, ImageView) and encoder.loader == "open_clip" and view.tier != "cls":
            yield f"`views.{name}.tier` is {view.tier}; of the dual encoder {view.encoder!r} only `tier: cls` is kept."
        if isinstance(view, FurtherView) and encoder.loader in WITHOUT_WEIGHTS and view.tier != "pooled":
            single = f"loader {encoder.loader} gives one vector per {one(view.modality)}"
            yield f"`views.{name}.tier` is {view.tier}; {single}: leave it out."
        if encoder.loader == "imported":
            yield from imported_problems(name, view)


def _stores(params: Params, lookup: Lookup) -> Iterator[str]:
    for name, store in params.stores.by_name().items():
        where = f"stores.{store.group}.{name}"
        if problem := lookup.missing(f"{where}.view", store.view, "views"):
            yield problem
        elif (view := params.stored_views[store.view]).encoder != store.encoder:
            yield (
                f"`{where}.encoder` is {store.encoder!r}, but `views.{store.view}.encoder` is {view.encoder!r}: write "
                "the same name in both."
            )
        if store.view in params.views and store.group == "prompts":
            yield from lookup.not_a_view(f"{where}.view", store.view, "text")
        if store.view in params.views and isinstance(params.datasets.get(store.dataset), SegmentationSource):
            yield from lookup.not_a_view(f"{where}.view", store.view, "image")
        if store.view in params.views and isinstance(params.datasets.get(store.dataset), TextTasksSource):
            yield from lookup.not_a_view(f"{where}.view", store.view, "text")
        if store.view in params.views:
            yield from _without_media(where, store.group, store.dataset, store.view, params)
        if store.group == "prompts":
            if store.dataset != CLASSNAMES:
                yield f"`{where}.dataset` is {store.dataset!r}; the texts of the stage prompts are {CLASSNAMES!r}."
        else:
            catalogue = "datasets" if store.group == "pairs" else "scenes"
            yield from present(lookup.missing(f"{where}.dataset", store.dataset, catalogue))


def _without_media(where: str, group: str, dataset: str, view: str, params: Params) -> Iterator[str]:
    """What to say of a store of pictures, or of sounds, of a data set that has none."""
    modality = params.views[view].modality
    if group == "scenes" and modality in FURTHER:
        yield f"`{where}.view` is {view!r}, a view of an encoder of {many(str(modality))}; scenes are pictures."
    spec = params.datasets.get(dataset)
    if group != "pairs" or spec is None or isinstance(spec, SegmentationSource | TextTasksSource):
        return
    media = media_of(spec)
    if media is not None and modality in {*ORDER} - {"text"} - media:
        how = " Set `effects: true`, or name languages under `speech`." if spec.source == "stamps" else ""
        yield (
            f"`{where}` is {dataset!r} through view {view!r}, a view of {many(str(modality))}, and "
            f"`datasets.{dataset}` has none.{how}"
        )


def _scenes(params: Params, lookup: Lookup) -> Iterator[str]:
    for name, scenes in params.scenes.items():
        for dataset in scenes.pieces:
            yield from present(lookup.missing(f"scenes.{name}.pieces", dataset, "datasets"))
            yield from _has_samples(f"scenes.{name}.pieces", dataset, params)


def _curations(params: Params, lookup: Lookup) -> Iterator[str]:
    if NO_DATA in params.curations:
        yield f"`curations.{NO_DATA}` cannot be: `data: {NO_DATA}` says that an aligner is fitted to nothing."
    for name, curation in params.curations.items():
        where = f"curations.{name}"
        yield from lookup.not_a_view(f"{where}.view", curation.view, "image", *FURTHER)
        concepts = getattr(curation, "concepts", ())
        for dataset in dict.fromkeys((*curation.pool, *(entry.dataset for entry in concepts))):
            yield from present(
                lookup.missing(where, dataset, "datasets"), lookup.unstored(where, "pairs", dataset, curation.view)
            )
            yield from _has_samples(where, dataset, params)


def _has_samples(where: str, dataset: str, params: Params) -> Iterator[str]:
    if isinstance(params.datasets.get(dataset), SegmentationSource):
        yield f"`{where}` names {dataset!r}, whose label maps are for evaluation alone."
    if isinstance(params.datasets.get(dataset), TextTasksSource):
        yield f"`{where}` names {dataset!r}, which has texts and no images."


def _aligner(name: str, aligner: AlignerSpec, params: Params, lookup: Lookup) -> Iterator[str]:
    where, head = f"aligners.{name}", aligner.head
    known = aligner.data == NO_DATA or aligner.data in params.concept_curations
    problem = None if known else lookup.missing(f"{where}.data", aligner.data, "curations")
    yield from present(problem)
    datasets = () if problem or aligner.data == NO_DATA else params.all_curations[aligner.data].pool
    yield from further_problems(where, aligner, params)
    for place, view in enumerate(aligner.views):
        yield from side_problems(where, aligner, place, params, lookup)
        for dataset in datasets:
            yield from present(lookup.unstored(where, "pairs", dataset, view))
    if isinstance(head, IdentityHead):
        yield from _identity(where, aligner, params)
        yield from _evaluation_views(where, aligner, params, lookup)
        return
    fitted = params.train if isinstance(head, OPTIMISED) else LoadingParams()
    try:
        fitted.changed(head.train)
    except ValidationError as error:
        for found in error.errors(include_url=False):
            key = ".".join(map(str, found["loc"]))
            value = f" is {found['input']!r:.200}" if key else ""
            yield f"`{where}.head.train{f'.{key}' if key else ''}`{value}: {reason(found)}."
    image, text = (params.views.get(view) for view in aligner.views)
    if isinstance(image, ImageView):
        yield from _kept_tokens(f"{where}.head", head, aligner.views[0], image, params)
    if head.crops and isinstance(image, ImageView) and not image.crops:
        yield f"`{where}.head.crops` needs crops in its view: set `views.{aligner.views[0]}.crops` to their number."
    if head.text_tokens == "full" and isinstance(text, TextView) and text.tier != "full":
        yield f"`{where}.head.text_tokens` is full, so its view {aligner.views[1]!r} needs `tier: full`."
    yield from _evaluation_views(where, aligner, params, lookup)


def _kept_tokens(where: str, head: FittedHead | AutoHead, name: str, view: ImageView, params: Params) -> Iterator[str]:
    """The image view keeps the tokens and layers that the head reads."""
    encoder = params.encoders.get(view.encoder)
    if encoder is not None and encoder.loader in ("open_clip", "imported"):
        if head.local_tokens != "none":
            kind = "dual encoder" if encoder.loader == "open_clip" else "the imported encoder"
            yield (
                f"`{where}.local_tokens` is {head.local_tokens}, but {kind} {view.encoder!r} gives one vector "
                "per image: set `local_tokens: none`, with `image_input: cls` of a head that has it."
            )
        return
    tier = {"grid": "grid", "patch": "full"}.get(head.local_tokens, view.tier)
    if view.tier != tier:
        yield (
            f"`{where}.local_tokens` is {head.local_tokens}, so its view {name!r} needs `tier: {tier}`, found "
            f"{view.tier}; `local_tokens: mean` goes with every tier."
        )
    if encoder is not None and head.layers > len(encoder.layers):
        yield (
            f"`{where}.layers` is {head.layers}, but `encoders.{view.encoder}.layers` keeps {len(encoder.layers)}: "
            "keep more there, or lower it here."
        )


def _evaluation_views(where: str, aligner: AlignerSpec, params: Params, lookup: Lookup) -> Iterator[str]:
    """The views of `evaluation` are of the aligner's own encoders, and keep what they are for."""
    evaluation: EvaluationViews = aligner.evaluation
    for key, side, base in (("dense", "image", aligner.views[0]), ("long_text", "text", aligner.views[1])):
        name: str | None = getattr(evaluation, key)
        if name is None:
            continue
        yield from lookup.not_a_view(f"{where}.evaluation.{key}", name, side)
        view, own = params.stored_views.get(name), params.stored_views.get(base)
        if view is not None and own is not None and own.encoder != view.encoder:
            yield (
                f"`{where}.evaluation.{key}` is a view of {view.encoder!r}, but `{where}.views` has one of "
                f"{own.encoder!r}: both must be views of one encoder."
            )
        if isinstance(view, ImageView) and view.tier != "full":
            yield f"`{where}.evaluation.dense` is {name!r} of tier {view.tier}; it needs `tier: full`."
        if isinstance(view, TextView) and not view.truncations:
            yield f"`{where}.evaluation.long_text` is {name!r}, which has no `truncations`."
    for key, supervision in (("dense_head", MASKS), ("caption_head", CAPTIONS)):
        if (name := getattr(evaluation, key)) is not None:
            yield from _segments_by(f"{where}.evaluation.{key}", name, supervision, aligner, params, lookup)


def _segments_by(
    key: str, name: str, supervision: str, aligner: AlignerSpec, params: Params, lookup: Lookup
) -> Iterator[str]:
    """A head through which an aligner segments is one of its own views, and of the supervision that the key says."""
    if problem := lookup.missing(key, name, "dense_heads"):
        yield problem
        return
    head, dense = params.dense_heads[name], aligner.evaluation.dense
    if (head.image, head.text) != (dense, aligner.views[1]):
        yield (
            f"`{key}` is {name!r}, which joins views {head.image!r} and {head.text!r}; the aligner has "
            f"`dense: {dense}` and the text view {aligner.views[1]!r}. Name a head of those views."
        )
    if head.supervision != supervision:
        yield (
            f"`{key}` is {name!r} of `supervision: {head.supervision}`; it takes a head of `supervision: "
            f"{supervision}`. Their rows in results are kept apart."
        )


def _identity(where: str, aligner: AlignerSpec, params: Params) -> Iterator[str]:
    """Nothing is trained between the views, so they must be of models whose features share a space."""
    sides = [params.stored_views[view].encoder for view in aligner.views if view in params.stored_views]
    encoders = [params.encoders[name] for name in sides if name in params.encoders]
    for name, encoder in zip(sides, encoders, strict=False):
        if encoder.pooling != "model":
            yield (
                f"`{where}.head` is identity, which takes the projected features of a dual encoder; "
                f"set `encoders.{name}.pooling: model`, found {encoder.pooling}."
            )
    if not stored_through(params.stores, params.datasets, aligner.views):
        views = " and ".join(aligner.views)
        yield f"`{where}` needs a data set under `stores.pairs` through both of its views, {views}."
    models = {(encoder.source, encoder.model, encoder.revision, encoder.loader) for encoder in encoders}
    assert isinstance(aligner.head, IdentityHead)
    if len(models) > 1 and not aligner.head.two_models:
        named = " and ".join(repr(encoder.model) for encoder in encoders)
        yield (
            f"`{where}.head` is identity, but its views are of {named}: give both encoders the same source, model, "
            "revision and loader, or set `two_models: true` where both models are known to share a space."
        )


def _dense_heads(params: Params, lookup: Lookup) -> Iterator[str]:
    """Dense heads see training scenes through their image view, and read captions through their text view."""
    for name, head in params.dense_heads.items():
        where = f"dense_heads.{name}"
        for key, view in (("image", head.image), ("text", head.text)):
            yield from lookup.not_a_view(f"{where}.{key}", view, key)
        image = params.views.get(head.image)
        if isinstance(image, ImageView) and image.tier != "full":
            yield f"`{where}.image` is {head.image!r} of tier {image.tier}; it needs `tier: full`."
        if problem := lookup.missing(f"{where}.scenes", head.scenes, "scenes"):
            yield problem
            continue
        scenes = params.scenes[head.scenes]
        if scenes.use != "training":
            yield f"`{where}.scenes` is {head.scenes!r}, which is for evaluation; name scenes of `use: training`."
        yield from present(lookup.unstored(f"{where}.image", "scenes", head.scenes, head.image))
        for dataset in scenes.pieces:
            yield from present(lookup.unstored(f"{where}.text", "pairs", dataset, head.text))


def _spaces(where: str, compare: CompareSpec, params: Params, lookup: Lookup) -> Iterator[str]:
    """Views of either modality, and a store of every data set through each of them."""
    for dataset in compare.datasets:
        yield from present(lookup.missing(f"{where}.datasets", dataset, "datasets"))
        yield from _has_samples(f"{where}.datasets", dataset, params)
    for key, modality, views in (("images", "image", compare.images), ("texts", "text", compare.texts)):
        for view in views:
            yield from lookup.not_a_view(f"{where}.{key}", view, modality)
            for dataset in compare.datasets:
                yield from present(lookup.unstored(where, "pairs", dataset, view))


def _studies(params: Params, lookup: Lookup) -> Iterator[str]:
    for name, compare in params.compare.items():
        where = f"compare.{name}"
        yield from _spaces(where, compare, params, lookup)
        if compare.control not in compare.images:
            yield f"`{where}.control` is {compare.control!r}, which is not among `{where}.images`."
    for name, toy in params.toy.items():
        yield from _study(f"toy.{name}", toy, params, lookup)
    for name, predictors in params.predictors.items():
        yield from _study(f"predictors.{name}", predictors, params, lookup)
        yield from _predictors(f"predictors.{name}", predictors, params, lookup)


def _study(where: str, study: StudySpec, params: Params, lookup: Lookup) -> Iterator[str]:
    """What a study names in place of the views and data sets of its comparison."""
    if problem := lookup.missing(f"{where}.compare", study.compare, "compare"):
        yield problem
        return
    compare = study.spaces(params.compare)
    if (study.datasets, study.images, study.texts) != (None, None, None):
        yield from _spaces(where, compare, params, lookup)
    if compare.control not in compare.images:
        yield f"`{where}.images` lacks {compare.control!r}, the control of `compare.{study.compare}`: add it."


def _predictors(where: str, study: PredictorsSpec, params: Params, lookup: Lookup) -> Iterator[str]:
    texts = study.spaces(params.compare).texts if study.compare in params.compare else ()
    if texts and study.text_control is not None and study.text_control not in texts:
        yield f"`{where}.text_control` is {study.text_control!r}, which is not among its texts."
    name = study.text_tasks
    if name is None:
        return
    if problem := lookup.missing(f"{where}.text_tasks", name, "datasets"):
        yield problem
    elif not isinstance(params.datasets[name], TextTasksSource):
        yield f"`{where}.text_tasks` is {name!r}, a data set of another source than text-tasks."
    else:
        for view in texts:
            yield from present(lookup.unstored(f"{where}.text_tasks", "pairs", name, view))
