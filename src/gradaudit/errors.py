"""What the user did that cannot work, said in one line that names the thing and the fix."""


class AuditError(Exception):
    """Base of every error that a user can mend; the command line prints its message and exits with 2."""


class MissingKnowledge(AuditError):  # noqa: N818  (the fact is the name)
    """An attack needs a fact that the threat model withholds."""


class AttackFailed(AuditError):  # noqa: N818
    """An attack could not run on this observation, or its objective left the real numbers."""


class AuditInterrupted(Exception):  # noqa: N818
    """Ctrl-C, with what was kept."""


class AuditWarning(UserWarning):
    """Something that was put right without stopping, such as a damaged file that is computed again."""
