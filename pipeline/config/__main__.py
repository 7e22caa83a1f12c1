"""Validate params.yaml and say what is wrong with it: python -m pipeline.config."""

import sys

from pipeline.config.load import load_config
from pipeline.errors import PermafrostError

if __name__ == "__main__":
    try:
        load_config()
    except PermafrostError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(1)
    print("params.yaml is valid")
