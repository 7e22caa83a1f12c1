"""What is said of parameters that do not hold."""

from typing import Any

import pytest

from pipeline.config.load import validate
from pipeline.errors import ConfigError


def refusal(raw: dict[str, Any]) -> str:
    """The message with which `raw` is refused."""
    with pytest.raises(ConfigError) as caught:
        validate(raw)
    return str(caught.value)
