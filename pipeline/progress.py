"""Progress: a bar on a terminal, and in a log a line now and then."""

import sys
from typing import TYPE_CHECKING, Any

from tqdm import tqdm as _tqdm

if TYPE_CHECKING:
    tqdm = _tqdm
else:

    class tqdm(_tqdm):
        """tqdm's bar, with its arguments. Where the stream is no terminal it writes whole lines, half a minute apart.

        What takes less than that leaves nothing there: the line that a stage ends with says what was done.
        """

        SECONDS = 30.0
        LINE = "{desc}: {n_fmt} of {total_fmt} {unit}s, {rate_fmt}, {elapsed} gone, {remaining} left"

        def __init__(self, *args: Any, **options: Any) -> None:
            stream = options.get("file") or sys.stderr
            self._by_lines = not getattr(stream, "isatty", bool)()
            if self._by_lines:
                interval = {"mininterval": self.SECONDS, "maxinterval": 10 * self.SECONDS, "bar_format": self.LINE}
                options |= {**interval, "leave": False, "unit_scale": options.get("unit_scale", False)}
            super().__init__(*args, **options)

        def display(self, msg: str | None = None, pos: int | None = None) -> None:
            """Write the bar, or a line if anything has been done since the last one."""
            if not self._by_lines:
                super().display(msg, pos)
            elif self.n > self.initial and msg is None:
                self.fp.write(f"{self}\n")
                self.fp.flush()

        def close(self) -> None:
            """Clear the bar; lines stay as they are."""
            if not self._by_lines:
                super().close()
            elif not self.disable:
                self.disable = True
                self._decr_instances(self)
