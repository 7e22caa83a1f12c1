"""What the models cost: python -m stages.accounting"""

from pipeline.accounting import account
from pipeline.config import Config
from pipeline.paths import ACCOUNTING
from stages.entry import run


def accounting(config: Config, _item: str) -> None:
    """Read everything under data, write data/accounting."""
    print(account(ACCOUNTING, config.section("stores")))


if __name__ == "__main__":
    run(accounting)
