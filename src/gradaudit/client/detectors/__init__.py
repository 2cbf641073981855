"""Detectors of a model that a malicious server has modified, one file each; a client runs them before it trains."""

from ...values.discovery import Registry, subclasses_of
from ._detector import Detection, Detector, Indicator, Places

DETECTORS: Registry[type[Detector]] = Registry(__name__, "gradaudit.detectors", subclasses_of(Detector))
"""Name -> detector, whose fields are its thresholds."""

__all__ = ["DETECTORS", "Detection", "Detector", "Indicator", "Places"]

__getattr__ = DETECTORS.attribute
__dir__ = DETECTORS.attributes
