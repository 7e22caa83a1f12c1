"""Validate params.yaml and say what is wrong with it: python -m pipeline.config."""

from pipeline.config.load import load_config
from pipeline.failures import reported

if __name__ == "__main__":
    with reported("python -m pipeline.config"):
        load_config()
        print("params.yaml is valid")
