"""Tasks across further modalities: sounds that can be played, beside texts and pictures."""

from collections.abc import Sequence

from pipeline.reporting.blocks import Card, Clip, Gallery, Line, Picture, Section
from pipeline.reporting.inputs import Node
from pipeline.reporting.names import language, shown
from pipeline.reporting.run_data import RunData
from pipeline.reporting.sections.task import mark, rank, score, task_section

_INTRO = (
    "Effects are sounds of things and animals; speech is captions read aloud, in the language of the row. The row of a "
    "control has the same encoder with random weights."
)


def cross_retrieval(run: RunData, task: str) -> Section:
    """Both directions on held-out concepts, kinds of sounds apart."""
    return task_section(run, task, intro=_INTRO, galleries=_galleries)


def cross_classification(run: RunData, task: str) -> Section:
    """Held-out sounds, from prompts alone."""
    return task_section(run, task, intro=_INTRO, galleries=_classified)


def _galleries(examples: Sequence[Node], run: RunData) -> list[Gallery]:
    found: dict[tuple[str, str], list[Card]] = {}
    for node in examples:
        found.setdefault((node["from"].text(), node["to"].text()), []).append(_card(node, run))
    return [
        Gallery(f"{shown(one).capitalize()} queries and the {shown(other)}s they retrieve", cards)
        for (one, other), cards in found.items()
    ]


def _card(node: Node, run: RunData) -> Card:
    dataset, first, second = (node[key].text() for key in ("dataset", "from", "to"))
    spoken = node.optional("language")
    kind = " ".join(filter(None, (language(spoken) if spoken else "", node.optional("kind"))))
    note = " · ".join(filter(None, (dataset, kind, rank(node))))
    title, picture, clip = "", None, None
    if first == "text":
        title = f"“{run.library.string('pairs', dataset, node['query']['text_id'])}”"
    elif first == "image":
        picture = Picture(run.library.thumbnail(node["query"]), f"Query picture of {dataset}")
    elif first == "audio":
        clip = run.clips.clip(node["query"], f"Query sound of {dataset}")
    else:
        title = run.library.named(first, node["query"])
    pictures: list[Picture] = []
    clips: list[Clip] = []
    lines: list[Line] = []
    for place, answer in enumerate(node["results"], start=1):
        alt = f"{shown(second).capitalize()} at rank {place}, {mark(answer['right'])}"
        if second == "text":
            words = run.library.string("pairs", dataset, answer["text_id"])
            lines.append(Line(words, mark(answer["right"]), score(answer)))
        elif second == "image":
            pictures.append(Picture(run.library.thumbnail(answer), alt, score(answer), mark(answer["right"])))
        elif second != "audio":
            lines.append(Line(run.library.named(second, answer), mark(answer["right"]), score(answer)))
        else:
            clips.append(run.clips.clip(answer, alt, score(answer), mark(answer["right"])))
    return Card(title, note, picture, pictures=pictures, lines=lines, clip=clip, clips=clips)


def _classified(examples: Sequence[Node], run: RunData) -> list[Gallery]:
    cards = []
    for node in examples:
        right = node["right"].text()
        lines = [
            Line(answer["class"].text(), "right" if answer["class"].text() == right else "wrong", score(answer))
            for answer in node["top"]
        ]
        note = f"{node['dataset'].text()}, by {node['label'].text()} · {rank(node)}"
        if node["query"].get("audio_id") is None:
            cards.append(Card(right, note, lines=lines))
            continue
        clip = run.clips.clip(node["query"], f"Sound of the class {right}")
        cards.append(Card(right, note, lines=lines, clip=clip))
    return [Gallery("Held-out samples and their top-scoring classes", cards)]
