"""Label inference: the sources of an attack's labels."""

from ....values.discovery import Registry, subclasses_of
from ..label_values import LabelInference

LABELS: Registry[type[LabelInference]] = Registry(__name__, "gradaudit.labels", subclasses_of(LabelInference))

__getattr__ = LABELS.attribute
__dir__ = LABELS.attributes
