"""Validate params.yaml and write what each stage reads of it: python -m stages.settings."""

import sys

from pipeline.config import load_config
from pipeline.config.leftovers import leftovers
from pipeline.config.written import write_settings
from pipeline.errors import PermafrostError
from pipeline.paths import DATA, SETTINGS


def main() -> None:
    """Write data/settings/<stage>/<item>.json, and name what earlier parameters left behind."""
    try:
        params = load_config().params
    except PermafrostError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(1)
    print(f"params.yaml is valid; settings of {write_settings(params, SETTINGS)} stages")
    for folder in leftovers(params, DATA):
        print(f"{folder} is not named in params.yaml and is ignored; remove it if it is of no more use")


if __name__ == "__main__":
    main()
