"""The import name of a wheel in a clone: `permafrost.x` is the very module `pipeline.x`.

No wheel contains this file; its package `permafrost` is the folder `pipeline` itself (setup.py).
"""

import sys
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import pipeline

_NAME, _FOLDER = "permafrost", "pipeline"


class _SameModules(MetaPathFinder, Loader):
    """Finds each module of `permafrost` as the one of `pipeline`, which is run once and has one set of classes."""

    def __init__(self) -> None:
        self._specs: dict[str, ModuleSpec | None] = {}

    def find_spec(self, fullname: str, _path: Any = None, _target: Any = None) -> ModuleSpec | None:
        """The spec of a module below `permafrost`, or None."""
        if not fullname.startswith(f"{_NAME}."):
            return None
        real = find_spec(_FOLDER + fullname.removeprefix(_NAME))
        return real and ModuleSpec(
            fullname, self, origin=real.origin, is_package=real.submodule_search_locations is not None
        )

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """The module of `pipeline`, imported if it was not."""
        module = import_module(_FOLDER + spec.name.removeprefix(_NAME))
        self._specs[spec.name] = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Nothing to run; the import system has put the alias's spec in place of the module's own."""
        assert module.__spec__ is not None
        module.__spec__ = self._specs.pop(module.__spec__.name)


if __name__ == "__main__":
    from pipeline.commands import main

    sys.exit(main())

sys.meta_path.insert(0, _SameModules())
sys.modules[_NAME] = pipeline
