"""A user's own file of Python code."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType


def module_of(path: Path) -> ModuleType:
    """Run a `.py` file that is there, and return its module; whatever the file raises passes through.

    The module stays in `sys.modules`, where dataclasses and pickle look it up, under a name that no other module has.
    """
    place = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:12]  # two folders may have files of one name
    spec = importlib.util.spec_from_file_location(f"_gradaudit_own_{path.stem}_{place}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[spec.name]
        raise
    return module
