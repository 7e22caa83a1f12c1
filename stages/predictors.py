"""What predicts how well encoders align: python -m stages.predictors +item=NAME"""

from pipeline.config import PredictorsSettings
from pipeline.paths import PREDICTORS
from pipeline.predictors.run import run_study
from stages.entry import run


def predictors(settings: PredictorsSettings) -> None:
    """Read data/splits, data/features/pairs, data/checkpoints and the tasks' index, write data/predictors/<item>."""
    print(run_study(settings, PREDICTORS / settings.name))


if __name__ == "__main__":
    run(predictors)
