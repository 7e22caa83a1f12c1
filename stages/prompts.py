"""Write class names in templates: python -m stages.prompts."""

from pipeline.config import PromptsSettings
from pipeline.datasets.prompts import build_prompts
from pipeline.paths import SPLITS, index_folder
from stages.entry import run


def prompts(settings: PromptsSettings) -> None:
    """Read data/splits, write data/index/prompts/classnames."""
    about = build_prompts(SPLITS, settings.prompts, index_folder("prompts", "classnames"))
    print(f"{about['counts']['texts']} prompts for {about['counts']['classes']} classes")


if __name__ == "__main__":
    run(prompts)
