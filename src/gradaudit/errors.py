"""What the user did that cannot work, said in one line that names the thing and the fix."""


def printable(text: str) -> str:
    """`text` in one line that any screen and any file takes: other characters than those to read become escapes."""
    line = " ".join(text.split("\n"))
    return line if line.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)


class AuditError(Exception):
    """Base of every error that a user can mend; the command line prints its message and exits with 2.

    The message is one printable line, whatever file name, key or foreign message went into it.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(printable(message))


class MissingKnowledge(AuditError):  # noqa: N818  (the fact is the name)
    """An attack needs a fact that the threat model withholds."""


class AttackFailed(AuditError):  # noqa: N818
    """An attack could not run on this observation, or its objective left the real numbers."""


class AuditInterrupted(Exception):  # noqa: N818
    """Ctrl-C, with what was kept."""
