"""Names that one part of params.yaml uses and another defines: whatever dangles is found before anything runs."""

from collections.abc import Callable, Iterator

from pydantic import ValidationError

from pipeline.config.schema import AlignerSpec, Params, SegmentationBenchmark

Suggest = Callable[[str, list[str]], str]
COMPOSED = ("composed", "training")  # what the stage scenes writes


def dangling(params: Params, suggest: Suggest) -> Iterator[str]:
    """One line for each name without a definition, and for each pair of entries that contradict each other."""
    names = _Names(params, suggest)
    yield from _views(params, names)
    yield from _stores(params, names)
    yield from _curations(params, names)
    for name, aligner in params.aligners.items():
        yield from _aligner(name, aligner, params, names)
    yield from _dense_heads(params, names)
    yield from _prompts(params, names)
    yield from _studies(params, names)
    yield from _evaluation(params, names)
    yield from _transfer(params)


class _Names:
    """What the catalogues define."""

    def __init__(self, params: Params, suggest: Suggest) -> None:
        self._params, self._suggest = params, suggest
        self.stores = {(store.group, store.dataset, store.view) for store in params.stores.values()}

    def missing(self, where: str, name: str, catalogue: str) -> str | None:
        """What to say if `catalogue` does not define `name`."""
        owner = self._params.prompts.sets if catalogue == "prompts.sets" else getattr(self._params, catalogue)
        if name in owner:
            return None
        return f"`{where}` names {name!r}, which is not under `{catalogue}`.{self._suggest(name, list(owner))}"

    def unstored(self, where: str, group: str, dataset: str, view: str) -> str | None:
        """What to say if no store holds the data set through the view; None where either does not exist at all."""
        known = group != "pairs" or dataset in self._params.datasets
        if not known or view not in self._params.views or (group, dataset, view) in self.stores:
            return None
        encoder = self._params.views[view].encoder
        return (
            f"`{where}` needs {dataset!r} through view {view!r}; add under `stores`: "
            f"{dataset}-{view}: {{group: {group}, dataset: {dataset}, view: {view}, encoder: {encoder}}}"
        )


def _found(*problems: str | None) -> Iterator[str]:
    return (problem for problem in problems if problem is not None)


def _views(params: Params, names: _Names) -> Iterator[str]:
    for name, view in params.views.items():
        if problem := names.missing(f"views.{name}.encoder", view.encoder, "encoders"):
            yield problem
            continue
        encoder = params.encoders[view.encoder]
        if encoder.modality == "image" and view.resolution is None:
            yield f"`views.{name}.resolution` is missing: an image view needs the side of its input in pixels."
        if encoder.modality == "image" and encoder.loader == "open_clip" and view.tier != "cls":
            yield f"`views.{name}.tier` is {view.tier}; of the dual encoder {view.encoder!r} only `tier: cls` is kept."
        if encoder.modality == "image" and view.templates:
            yield f"`views.{name}.templates` is for texts; {view.encoder!r} is an encoder of images."
        if encoder.modality == "image" and view.truncations:
            yield f"`views.{name}.truncations` is for texts; {view.encoder!r} is an encoder of images."
        if encoder.modality == "text" and view.crops:
            yield f"`views.{name}.crops` is for images; {view.encoder!r} is an encoder of texts."
        if encoder.modality == "image" and view.chunk_tokens:
            yield f"`views.{name}.chunk_tokens` is for texts; {view.encoder!r} is an encoder of images."


def _stores(params: Params, names: _Names) -> Iterator[str]:
    for name, store in params.stores.items():
        if problem := names.missing(f"stores.{name}.view", store.view, "views"):
            yield problem
        elif params.views[store.view].encoder != store.encoder:
            yield (
                f"`stores.{name}.encoder` is {store.encoder!r}, but `views.{store.view}.encoder` is "
                f"{params.views[store.view].encoder!r}: write the same name in both."
            )
        if store.group == "scenes" and store.dataset not in (*COMPOSED, *params.datasets):
            yield (
                f"`stores.{name}.dataset` is {store.dataset!r}; the data sets of group scenes are "
                f"{' and '.join(COMPOSED)}, and those under `datasets` with label maps."
            )
        if store.group == "pairs":
            yield from _found(names.missing(f"stores.{name}.dataset", store.dataset, "datasets"))
        if store.dataset in params.datasets and params.datasets[store.dataset].group != store.group:
            yield (
                f"`stores.{name}.group` is {store.group!r}, but `datasets.{store.dataset}.group` is "
                f"{params.datasets[store.dataset].group!r}: write the same name in both."
            )


def _curations(params: Params, names: _Names) -> Iterator[str]:
    for name, curation in params.curations.items():
        where = f"curations.{name}"
        yield from _view_of(f"{where}.view", curation.view, "image", params, names)
        for dataset in (*curation.pool, *(entry.dataset for entry in curation.concepts)):
            yield from _found(
                names.missing(where, dataset, "datasets"), names.unstored(where, "pairs", dataset, curation.view)
            )


def _aligner(name: str, aligner: AlignerSpec, params: Params, names: _Names) -> Iterator[str]:
    where = f"aligners.{name}"
    for side, trained_on in (("image", aligner.image), ("text", aligner.text)):
        yield from _view_of(f"{where}.{side}", trained_on, side, params, names)
        for dataset in aligner.data:
            yield from _found(names.unstored(where, "pairs", dataset, trained_on))
    for dataset in aligner.data:
        yield from _found(names.missing(f"{where}.data", dataset, "datasets"))
    try:
        params.train.changed(aligner.train)
    except ValidationError as error:
        for problem in error.errors(include_url=False):
            key = ".".join(map(str, problem["loc"]))
            yield f"`{where}.train{f'.{key}' if key else ''}`: {problem['msg'][0].lower()}{problem['msg'][1:]}."
    if aligner.crops and aligner.image in params.views and not params.views[aligner.image].crops:
        yield f"`{where}.crops` needs crops in its view: set `views.{aligner.image}.crops` to their number."
    if aligner.text_tokens == "full":
        if aligner.text in params.views and params.views[aligner.text].tier != "full":
            yield f"`{where}.text_tokens` is full, so its view {aligner.text!r} needs `tier: full`."
        if aligner.long_text is not None:
            yield f"`{where}.long_text` needs `text_tokens: pooled`: truncated texts are kept as sentence embeddings."
    if aligner.head == "identity":
        yield from _identity(where, aligner, params)
    else:
        yield from _found(names.missing(f"{where}.curation", aligner.curation, "curations"))
    if aligner.head == "identity" and aligner.scenes is not None:
        yield from _found(names.unstored(f"{where}.long_text", "scenes", "composed", aligner.scenes))
    for key, side, base in (("dense", "image", aligner.image), ("long_text", "text", aligner.text)):
        view: str | None = getattr(aligner, key)
        if view is None:
            continue
        yield from _view_of(f"{where}.{key}", view, side, params, names)
        yield from _found(names.unstored(f"{where}.{key}", "scenes", "composed", view))
        if view not in params.views:
            continue
        if base in params.views and params.views[base].encoder != params.views[view].encoder:
            yield (
                f"`{where}.{key}` is a view of {params.views[view].encoder!r}, but `{where}.{side}` is one of "
                f"{params.views[base].encoder!r}: both must be views of one encoder."
            )
        if key == "dense" and params.views[view].tier != "full":
            yield f"`{where}.dense` is {view!r} of tier {params.views[view].tier}; it needs `tier: full`."
        if key == "long_text" and not params.views[view].truncations:
            yield f"`{where}.long_text` is {view!r}, which has no `truncations`."


def _dense_heads(params: Params, names: _Names) -> Iterator[str]:
    """Dense heads see training scenes through their image view, and read captions through their text view."""
    for name in COMPOSED:
        if name in params.datasets:
            yield f"`datasets.{name}` has the name of scenes that the stage scenes composes; call it something else."
    for name, head in params.dense_heads.items():
        where = f"dense_heads.{name}"
        for key, view in (("image", head.image), ("text", head.text)):
            yield from _view_of(f"{where}.{key}", view, key, params, names)
        if head.image in params.views and params.views[head.image].tier != "full":
            yield f"`{where}.image` is {head.image!r} of tier {params.views[head.image].tier}; it needs `tier: full`."
        yield from _found(names.unstored(f"{where}.image", "scenes", "training", head.image))
        for dataset in params.scenes.pieces:
            yield from _found(names.unstored(f"{where}.text", "pairs", dataset, head.text))
    for name, aligner in params.aligners.items():
        if aligner.dense_head is None:
            continue
        where = f"aligners.{name}.dense_head"
        if problem := names.missing(where, aligner.dense_head, "dense_heads"):
            yield problem
            continue
        head = params.dense_heads[aligner.dense_head]
        if (head.image, head.text) != (aligner.dense, aligner.text):
            yield (
                f"`{where}` is {aligner.dense_head!r}, which joins views {head.image!r} and {head.text!r}; the aligner "
                f"has `dense: {aligner.dense}` and `text: {aligner.text}`. Name a head of those views."
            )
    if not params.dense_heads:
        yield "`dense_heads` is empty; the evaluation needs one. Add `vit: {image: <view of tier full>, text: <view>}`."


def _identity(where: str, aligner: AlignerSpec, params: Params) -> Iterator[str]:
    """Nothing is trained between the views, so they must be of models whose features share a space."""
    sides = [params.views[view].encoder for view in (aligner.image, aligner.text) if view in params.views]
    encoders = [params.encoders[name] for name in sides if name in params.encoders]
    for name, encoder in zip(sides, encoders, strict=False):
        if encoder.pooling != "model":
            yield (
                f"`{where}.head` is identity, which takes the projected features of a dual encoder; "
                f"set `encoders.{name}.pooling: model`, found {encoder.pooling}."
            )
    models = {(encoder.source, encoder.model, encoder.revision, encoder.loader) for encoder in encoders}
    if len(models) > 1 and not aligner.two_models:
        named = " and ".join(repr(encoder.model) for encoder in encoders)
        yield (
            f"`{where}.head` is identity, but its views are of {named}: give both encoders the same source, model, "
            "revision and loader, or set `two_models: true` where both models are known to share a space."
        )


def _view_of(where: str, view: str, modality: str, params: Params, names: _Names) -> Iterator[str]:
    """The view is there and of an encoder of that modality."""
    if problem := names.missing(where, view, "views"):
        yield problem
        return
    encoder = params.encoders.get(params.views[view].encoder)
    if encoder is not None and encoder.modality != modality:
        yield f"`{where}` is {view!r}, a view of an encoder of {encoder.modality}s."


def _prompts(params: Params, names: _Names) -> Iterator[str]:
    for entry in params.prompts.classes:
        yield from _found(names.missing("prompts.classes", entry.dataset, "datasets"))
    for dataset in params.scenes.pieces:
        yield from _found(names.missing("scenes.pieces", dataset, "datasets"))
    for dataset in params.prompts.segmentation:
        yield from _found(names.missing("prompts.segmentation", dataset, "datasets"))
        if dataset in params.datasets and params.datasets[dataset].group != "scenes":
            yield f"`prompts.segmentation` names {dataset!r}, which has no label maps (its group is not scenes)."


def _transfer(params: Params) -> Iterator[str]:
    """What is for evaluation alone is trained on nowhere."""
    kept = {name for name, dataset in params.datasets.items() if getattr(dataset, "transfer", False)}
    used = {f"aligners.{name}.data": aligner.data for name, aligner in params.aligners.items()}
    used |= {f"curations.{name}.pool": curation.pool for name, curation in params.curations.items()}
    used["compare.datasets"] = params.compare.datasets
    for where, datasets in used.items():
        for dataset in sorted(kept.intersection(datasets)):
            yield f"`{where}` names {dataset!r}, which is for evaluation alone (`datasets.{dataset}.transfer: true`)."


def _studies(params: Params, names: _Names) -> Iterator[str]:
    compare = params.compare
    for dataset in compare.datasets:
        yield from _found(names.missing("compare.datasets", dataset, "datasets"))
    for key, modality, views in (("images", "image", compare.images), ("texts", "text", compare.texts)):
        for view in views:
            yield from _view_of(f"compare.{key}", view, modality, params, names)
            for dataset in compare.datasets:
                yield from _found(names.unstored("compare", "pairs", dataset, view))
    if compare.control not in compare.images:
        yield f"`compare.control` is {compare.control!r}, which is not among `compare.images`."


def _evaluation(params: Params, names: _Names) -> Iterator[str]:
    evaluate = params.evaluate
    aligners = (evaluate.control, evaluate.showcase, *evaluate.versus, *evaluate.versus.values())
    for key, name in zip(("control", "showcase", *["versus"] * (len(aligners) - 2)), aligners, strict=True):
        yield from _found(names.missing(f"evaluate.{key}", name, "aligners"))
    for key in ("datasets", "multilingual", "long_text"):
        for dataset in getattr(evaluate, key):
            yield from _found(names.missing(f"evaluate.{key}", dataset, "datasets"))
    for aligner in params.aligners.values():
        for dataset in evaluate.long_text if aligner.long_text else ():
            for view in (aligner.image, str(aligner.long_text)):
                yield from _found(names.unstored("evaluate.long_text", "pairs", dataset, view))
    for key in ("classification", "segmentation"):
        prompted = {(entry.dataset, entry.label) for entry in params.prompts.classes}
        for entry in getattr(evaluate, key):
            if (entry.dataset, entry.label) not in prompted:
                yield (
                    f"`evaluate.{key}` asks for {entry.label} classes of {entry.dataset!r} without prompts; "
                    f"add under `prompts.classes`: {{dataset: {entry.dataset}, label: {entry.label}}}"
                )
    for scene_labels in evaluate.segmentation:
        for language in scene_labels.languages:
            translated = {(t.dataset, t.label, t.language) for t in params.prompts.translations}
            if (scene_labels.dataset, scene_labels.label, language) not in translated:
                yield (
                    f"`evaluate.segmentation` asks for {scene_labels.label} classes of {scene_labels.dataset!r} in "
                    f"{language!r}; give them names under `prompts.translations`."
                )
    for benchmark in evaluate.segmentation_benchmarks:
        yield from _benchmark(benchmark, params, names)
    for name in evaluate.prompt_sets:
        yield from _found(names.missing("evaluate.prompt_sets", name, "prompts.sets"))


def _benchmark(benchmark: SegmentationBenchmark, params: Params, names: _Names) -> Iterator[str]:
    """A data set with label maps, prompts for it, and for each aligner a dense view of its own image encoder."""
    where, dataset = "evaluate.segmentation_benchmarks", benchmark.dataset
    yield from _found(
        names.missing(where, dataset, "datasets"), names.missing(where, benchmark.prompt_set, "prompts.sets")
    )
    if dataset not in params.prompts.segmentation:
        yield f"`{where}` asks for {dataset!r} without prompts; name it under `prompts.segmentation`."
    for name, view in benchmark.views.items():
        if problem := names.missing(where, name, "aligners") or names.missing(where, view, "views"):
            yield problem
            continue
        own = params.views.get(params.aligners[name].image)
        if own is not None and own.encoder != params.views[view].encoder:
            yield (
                f"`{where}` shows {dataset!r} to aligner {name!r} through {view!r}, a view of "
                f"{params.views[view].encoder!r}; its own encoder is {own.encoder!r}."
            )
        if params.views[view].tier != "full":
            yield f"`{where}` needs views of `tier: full`; {view!r} is of tier {params.views[view].tier}."
        if params.aligners[name].head == "identity":
            yield f"`{where}` names {name!r}, whose head is identity: its patch tokens are in no shared space."
        yield from _found(names.unstored(where, "scenes", dataset, view))
