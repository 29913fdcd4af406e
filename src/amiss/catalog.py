"""Names of everything that can be asked for by name; the code behind a name is imported when it is used."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from amiss.fields import unknown

DETECTORS = {
    "patchcore": "amiss.methods.patchcore:PatchCore",
    "ismp": "amiss.methods.ismp:ISMP",
    "vote3deep": "amiss.methods.vote3deep:Vote3Deep",
    "padim": "amiss.methods.padim:PaDiM",
    "spade": "amiss.methods.spade:SPADE",
    "rad": "amiss.methods.rad:RAD",
    "musc_v2": "amiss.methods.musc_v2:MuScV2",
    "sinbad": "amiss.methods.sinbad:SINBAD",
    "ulsad": "amiss.methods.ulsad:ULSAD",
    "glfm": "amiss.methods.glfm:GLFM",
    "ensemble": "amiss.methods.ensemble:Ensemble",
}
DATASETS = {  # the more particular a layout, the later it stands: a foreign root is named after the last that fits
    "folder": "amiss.data.folder:Folder",
    "mvtec_ad": "amiss.data.mvtec_ad:MvtecAd",
    "mpdd": "amiss.data.mpdd:Mpdd",
    "btad": "amiss.data.btad:Btad",
    "mvtec_loco": "amiss.data.mvtec_loco:MvtecLoco",
    "adam3d": "amiss.data.adam3d:Adam3d",
    "visa": "amiss.data.visa:Visa",
    "real_iad": "amiss.data.real_iad:RealIad",
    "magnetic_tile": "amiss.data.magnetic_tile:MagneticTile",
    "elpv": "amiss.data.elpv:Elpv",
    "real3d_ad": "amiss.data.real3d_ad:Real3dAd",
    "anomaly_shapenet": "amiss.data.anomaly_shapenet:AnomalyShapenet",
    "mulsen_ad": "amiss.data.mulsen_ad:MulsenAd",
    "mvtec_3d": "amiss.data.mvtec_3d:Mvtec3d",
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
