"""What the user did that cannot work, said in one line that names the thing and the fix."""


class AuditError(Exception):
    """Base of every error that a user can mend; the command line prints its message and exits with 2."""


class MissingKnowledge(AuditError):  # noqa: N818  (the fact is the name)
    """An attack needs a fact that the threat model withholds."""


class AttackFailed(AuditError):  # noqa: N818
    """An attack could not run on this observation, or its objective left the real numbers."""


class AuditInterrupted(Exception):  # noqa: N818
    """Ctrl-C, with what was kept."""


def in_one_line(error: BaseException) -> str:
    """Kind and first line of `error`, at most 200 characters, ending in a full stop."""
    lines = str(error).strip().splitlines()
    message = f"{type(error).__name__}: {lines[0].strip()}" if lines else type(error).__name__
    return message[:200].rstrip(".") + "."
