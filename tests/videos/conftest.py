"""torchvision is made to load before transformers asks for it."""

from pipeline.torchvision_fix import ensure_torchvision

ensure_torchvision()
