"""Validate params.yaml and write what each stage reads of it: python -m stages.settings."""

import sys

from pipeline.config import load_config
from pipeline.config.written import write_settings
from pipeline.dvc_lock import keep_or_restore
from pipeline.errors import PermafrostError
from pipeline.paths import SETTINGS


def main() -> None:
    """Write data/settings/<stage>/<item>.json."""
    try:
        if restored := keep_or_restore():
            print(restored)
        params = load_config().params
    except PermafrostError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(1)
    print(f"params.yaml is valid; settings of {write_settings(params, SETTINGS)} stages")


if __name__ == "__main__":
    main()
