"""User errors: one line that names the problem and the fix."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from .characters import visible


def printable(text: str) -> str:
    """Return `text` as one line; invisible characters become escapes."""
    return visible(" ".join(text.split("\n")))


class AuditError(Exception):
    """Base of all errors that a user can fix. The command line prints the message and exits with code 2.

    The message is one printable line, whatever file name, key or foreign message it contains.

    >>> ga.level("prior")
    Traceback (most recent call last):
    gradaudit.values.errors.AuditError: level: unknown level prior. Did you mean priors? Known: basic, priors, ...
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(printable(message))


class MissingKnowledge(AuditError):  # noqa: N818  (the fact is the name)
    """An attack needs a fact that the threat model withholds."""


class AttackFailed(AuditError):  # noqa: N818
    """An attack could not run on this observation, or its objective became NaN or infinite.

    An audit continues after it, and reports that this case cannot be judged, with the reason.

    >>> raise ga.AttackFailed("the update holds no values.")
    Traceback (most recent call last):
    gradaudit.values.errors.AttackFailed: the update holds no values.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(message if message.strip() else "it could not run, and gives no reason.")


class AuditInterrupted(Exception):  # noqa: N818
    """An interrupt by Ctrl-C or SIGTERM; the message says what is kept."""


@contextmanager
def guarded(what: str, how: str = ": stopped with") -> Iterator[None]:
    """Run code of the user and convert everything it raises, including `SystemExit`, to an `AuditError`.

    The message consists of `what`, `how` and the cause. Errors of this package and Ctrl-C are not converted.
    """
    try:
        yield
    except (AuditError, AuditInterrupted, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise AuditError(f"{what}{how} {in_one_line(error)}") from error


def in_one_line(error: BaseException) -> str:
    """Return the type and the first line of `error`, at most 200 characters, with a full stop."""
    try:
        lines = str(error).strip().splitlines()
    except Exception:  # `str` of a user-defined exception may fail
        lines = []
    message = f"{type(error).__name__}: {lines[0].strip()}" if lines else type(error).__name__
    return message[:200].rstrip(".") + "."


class AuditWarning(UserWarning):
    """A problem that was handled without stopping, such as a damaged file whose case is computed again."""
