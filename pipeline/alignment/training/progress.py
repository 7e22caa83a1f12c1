"""A progress bar over the steps of a training, where standard error is a terminal."""

from typing import Never

from tqdm import tqdm

from pipeline.alignment.training.records import EpochRecord


class ProgressBar:
    """Counts steps, and shows the last record; a context manager that clears the bar.

    Args:
        repeat: named in front of the bar.
        steps: of the whole training.
        done: of them, before this run.
        hidden: show nothing, wherever standard error leads.
    """

    def __init__(self, repeat: int, steps: int, done: int, hidden: bool = False) -> None:
        self._bar: tqdm[Never] = tqdm(
            total=steps, initial=done, desc=f"repeat {repeat}", unit="step", leave=False, disable=hidden or None
        )

    def __enter__(self) -> "ProgressBar":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def step(self) -> None:
        """Count a step."""
        self._bar.update()

    def show(self, record: EpochRecord) -> None:
        """Show its loss, validation recall and speed behind the bar."""
        shown = {"loss": f"{record.loss:.3f}", "val_recall": f"{record.val_recall:.3f}"}
        self._bar.set_postfix(shown | {"pairs/s": f"{record.samples_per_second:.3g}"})
