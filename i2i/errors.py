"""The base class of every error that i2i raises on purpose, and foreign text in its message."""

import re

LONGEST = 500  # characters of a subject, a hint, or a value in a reason
LONGEST_REASON = 1_500  # characters: it may list files
_INVISIBLE = re.compile(  # letters and marks that show nothing
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)


def printable(text: object, limit: int = LONGEST) -> str:
    """Return `text` as one line of visible characters, shortened in the middle to `limit`.

    Names of files, tensors and members are foreign: line ends, terminal commands, characters that
    turn the direction of writing or show nothing, and bytes that are no text are escaped.
    """
    line = str(text)
    if len(line) > limit:
        line = f"{line[: limit // 2]}…{line[-(limit // 2) :]}"
    if line.isascii() and line.isprintable():
        return line
    return "".join(
        char
        if char.isprintable() and not _INVISIBLE.match(char)
        else char.encode("unicode_escape").decode()
        for char in line
    )


class I2IError(Exception):
    """An error with its subject, its reason and a hint; the message is composed here only.

    Args:
        subject: file, setting or flag that the error is about; "" where the reason says it.
        reason: what happened, without a final period.
        hint: what to do, without a final period; "" where there is nothing to do.
    """

    exit_code = 2  # of the command line

    def __init__(self, subject: object, reason: str, hint: str = "") -> None:
        self.subject, self.reason, self.hint = str(subject), reason, hint
        super().__init__(self.subject, reason, hint)  # the arguments that unpickling passes again

    def __str__(self) -> str:
        subject = printable(self.subject)
        return f"{subject}: {self.explanation}" if subject else self.explanation

    @property
    def explanation(self) -> str:
        """The message without its subject, for lists that name the subject themselves."""
        reason, hint = printable(self.reason, LONGEST_REASON), printable(self.hint)
        if not hint:
            return reason
        return f"{reason}. {hint}" + ("" if hint.endswith("?") else ".")

    def with_subject(self, subject: object) -> "I2IError":
        """Return the same error about `subject`, for callers that know the file or the full key."""
        return type(self)(str(subject), self.reason, self.hint)


class OptionError(I2IError, ValueError):
    """A value that a component does not accept; the subject is the name of its option."""
