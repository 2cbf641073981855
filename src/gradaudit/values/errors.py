"""What the user did that cannot work, said in one line that names the thing and the fix."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from .characters import visible


def printable(text: str) -> str:
    """`text` in one line that any screen and any file takes: other characters than those to read become escapes."""
    return visible(" ".join(text.split("\n")))


class AuditError(Exception):
    """Base of every error that a user can mend; the command line prints its message and exits with 2.

    The message is one printable line, whatever file name, key or foreign message went into it.

    >>> ga.level("prior")
    Traceback (most recent call last):
    gradaudit.values.errors.AuditError: level: unknown level prior. Did you mean priors? Known: basic, priors, ...
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(printable(message))


class MissingKnowledge(AuditError):  # noqa: N818  (the fact is the name)
    """An attack needs a fact that the threat model withholds."""


class AttackFailed(AuditError):  # noqa: N818
    """An attack could not run on this observation, or its objective left the real numbers.

    An audit that meets it goes on, and says of this case that it cannot be judged, and why.

    >>> raise ga.AttackFailed("the update holds no values.")
    Traceback (most recent call last):
    gradaudit.values.errors.AttackFailed: the update holds no values.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(message if message.strip() else "it could not run, and does not say why.")


class AuditInterrupted(Exception):  # noqa: N818
    """Ctrl-C, with what was kept."""


@contextmanager
def guarded(what: str, how: str = ": stopped with") -> Iterator[None]:
    """Run the user's own code: whatever it raises, `sys.exit` included, is an `AuditError`: `what`, `how`, the cause.

    Errors of this package and Ctrl-C pass through.
    """
    try:
        yield
    except (AuditError, AuditInterrupted, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise AuditError(f"{what}{how} {in_one_line(error)}") from error


def in_one_line(error: BaseException) -> str:
    """Kind and first line of `error`, at most 200 characters, ending in a full stop."""
    try:
        lines = str(error).strip().splitlines()
    except Exception:  # an exception of the user's own may fail even at this
        lines = []
    message = f"{type(error).__name__}: {lines[0].strip()}" if lines else type(error).__name__
    return message[:200].rstrip(".") + "."


class AuditWarning(UserWarning):
    """Something that was put right without stopping, such as a damaged file that is computed again."""
