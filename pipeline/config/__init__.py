"""The schema of params.yaml and its loader."""

from pipeline.config.load import Config, load_config
from pipeline.config.schema import Params

__all__ = ["Config", "Params", "load_config"]
