"""The base class of every error that i2i raises on purpose."""


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
        return f"{self.subject}: {self.explanation}" if self.subject else self.explanation

    @property
    def explanation(self) -> str:
        """The message without its subject, for lists that name the subject themselves."""
        if not self.hint:
            return self.reason
        return f"{self.reason}. {self.hint}" + ("" if self.hint.endswith("?") else ".")

    def with_subject(self, subject: object) -> "I2IError":
        """Return the same error about `subject`, for callers that know the file or the full key."""
        return type(self)(str(subject), self.reason, self.hint)


class OptionError(I2IError, ValueError):
    """A value that a component does not accept; the subject is the name of its option."""
