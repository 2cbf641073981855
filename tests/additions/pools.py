"""The best guess alone."""

from dataclasses import dataclass

from gradaudit.inversion.parts.pools import Pool, Pooled


@dataclass(frozen=True)
class BestAlone(Pool):
    """The first of the members, which come with the best one first."""

    def bind(self, seen):
        """Return the function that pools."""
        return lambda members: Pooled(members[0].inputs, members[0].labels)
