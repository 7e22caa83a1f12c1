"""`evaluate`: which tasks, and what they have in common."""

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, create_model

from pipeline.config.base import Name, Section
from pipeline.config.task_params import TaskParams
from pipeline.config.tasks import TASKS

if TYPE_CHECKING:

    class Tasks(Section):
        """The tasks to evaluate, by name."""

else:
    _fields: dict[str, Any] = {name: (task.params | None, None) for name, task in TASKS.items()}
    Tasks = create_model("Tasks", __base__=Section, __doc__="The tasks to evaluate, by name.", **_fields)


class EvaluateParams(Section):
    """Evaluation protocols; the test split is read here and nowhere else.

    Only the `tasks` that are named are run. `control` names the control of each aligner that has one; a name alone is
    that of all others, whatever their heads and texts (null: none). The aligners named in `versus` are compared with
    another one as well. Examples, so many of them, are those of `showcase`, by default the first aligner
    in params.yaml. Intervals come from `bootstrap` draws.
    """

    tasks: Tasks = Tasks()
    control: dict[Name, Name] | Name | None = None
    versus: dict[Name, Name] = {}
    showcase: Name | None = None
    examples: Annotated[int, Field(ge=0, le=1_000)] = 12
    bootstrap: Annotated[int, Field(ge=100, le=100_000)] = 2000
    device: str = "auto"

    @property
    def named(self) -> dict[str, TaskParams]:
        """The tasks that params.yaml names, in its order of declaration here."""
        tasks = {name: getattr(self.tasks, name) for name in TASKS}
        return {name: params for name, params in tasks.items() if params is not None}
