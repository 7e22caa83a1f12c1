"""What the models cost: python -m stages.accounting"""

from pipeline.accounting import account
from pipeline.config import RunNames
from pipeline.paths import ACCOUNTING
from stages.entry import run


def accounting(settings: RunNames) -> None:
    """Read what params.yaml names under data, write data/accounting."""
    print(account(ACCOUNTING, settings))


if __name__ == "__main__":
    run(accounting)
