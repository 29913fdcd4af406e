"""Names of everything that can be asked for by name; the code behind a name is imported when it is used."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from amiss.fields import unknown

DETECTORS = {
    "patchcore": "amiss.methods.patchcore:PatchCore",
}
DATASETS = {
    "folder": "amiss.data.folder:Folder",
}
BACKBONES = {
    "efficientnet_lite0": "amiss.backbones.efficientnet_lite:load",
}
KINDS = {"detector": DETECTORS, "dataset": DATASETS, "backbone": BACKBONES}


def resolve(kind: str, name: str) -> Any:
    """The class or function behind a name.

    raises  BadField with the nearest name where there is none
    """
    entries = KINDS[kind]
    if name not in entries:
        raise unknown(name, entries, f"the list of {kind}s")
    module, _, attribute = entries[name].partition(":")
    return getattr(import_module(module), attribute)
