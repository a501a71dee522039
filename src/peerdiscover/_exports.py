"""Public names that are loaded when they are first used, said once for every package that has some.

    __getattr__, __dir__ = lazy(__name__, {"sync": ("Discovery",), "aio": ("AsyncDiscovery",)})

Invariants:

* Importing a package loads none of the modules that its lazy names live in.
* A name is looked up once; after that it is an ordinary attribute of its package.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module


def lazy(
    package: str, exports: Mapping[str, tuple[str, ...]]
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """The `__getattr__` and `__dir__` (PEP 562) of `package`, from its submodules and their public names."""
    module_of = {name: module for module, names in exports.items() for name in names}
    namespace = vars(sys.modules[package])

    def load(name: str) -> object:
        if name not in module_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = namespace[name] = getattr(import_module(f"{package}.{module_of[name]}"), name)
        return value

    def names() -> list[str]:
        return sorted({*namespace, *module_of})

    return load, names
