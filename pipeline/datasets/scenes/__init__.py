"""Scenes composed of cut-outs: exact masks, long captions. All randomness comes from hashes."""

from pipeline.datasets.scenes.build import build_scenes
from pipeline.datasets.scenes.read import SceneObject, Scenes, read_scenes

__all__ = ["SceneObject", "Scenes", "build_scenes", "read_scenes"]
