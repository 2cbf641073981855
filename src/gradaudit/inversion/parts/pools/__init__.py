"""Pools: combine the reconstructions of several runs into one."""

from ....values.discovery import Registry, subclasses_of
from ._pool import Pool, Pooled

POOLS: Registry[type[Pool]] = Registry(__name__, "gradaudit.pools", subclasses_of(Pool))

__all__ = ["POOLS", "Pool", "Pooled"]

__getattr__ = POOLS.attribute
__dir__ = POOLS.attributes
