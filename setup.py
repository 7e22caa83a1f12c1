"""What the wheel holds: the folder `pipeline` under an import name of its own, `permafrost`.

The names of this project's folders are generic, and other distributions install packages of the same names. So a wheel
has one package, `permafrost`: the files of `pipeline`, in which the dotted name `pipeline` reads `permafrost`. An
editable installation, which is what a clone has, keeps `pipeline` and `stages` as they are and adds `permafrost.py`, a
second name for the same modules. Either way `from permafrost import Aligner` works. docs/decisions.md compares the
alternatives.
"""

import re
import shutil
import sys
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

FOLDER, NAME = "pipeline", "permafrost"
_EDITABLE = bool({"editable_wheel", "develop"} & {*sys.argv})
_DOTTED = re.compile(rf"(?<![\w./]){FOLDER}(?=\.[a-z_])|(?<=from ){FOLDER}(?= import )|(?<=import ){FOLDER}(?=\n)")


def renamed(text: str) -> str:
    """Python source in which modules of `pipeline` are called by the name that the wheel gives them."""
    return _DOTTED.sub(NAME, text)


class BuildRenamed(build_py):
    """Copies modules as setuptools does, then renames what they import."""

    def run(self) -> None:
        """From an empty folder, so that no file of an earlier build gets in."""
        if not self.editable_mode:
            shutil.rmtree(self.build_lib, ignore_errors=True)
        super().run()

    def build_module(self, module, module_file, package):  # type: ignore[no-untyped-def]
        """As setuptools does; the copy is rewritten."""
        written, copied = super().build_module(module, module_file, package)
        path = Path(written)
        path.write_text(renamed(path.read_text(encoding="utf-8")), encoding="utf-8")
        return written, copied


def contents() -> dict[str, object]:
    """Packages and modules, by the way of installation."""
    if _EDITABLE:
        return {"packages": find_packages(include=[f"{FOLDER}*", "stages*"]), "py_modules": [NAME]}
    found = [FOLDER, *(f"{FOLDER}.{name}" for name in find_packages(FOLDER))]
    return {
        "packages": [name.replace(FOLDER, NAME, 1) for name in found],
        "package_dir": {NAME: FOLDER},
        "cmdclass": {"build_py": BuildRenamed},
    }


if __name__ == "__main__":
    setup(**contents())
