"""Words of commands, and foreign text in what commands print."""

import unicodedata
from contextlib import chdir

from commands import here
from hypothesis import strategies as st

from fuzzing import attacked, new_folder
from i2i.errors import I2IError, printable

_UNSEEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def is_visible(text: str) -> bool:
    """Return True if a terminal shows all of `text` and obeys none of it."""
    return not any(unicodedata.category(char) in _UNSEEN for char in text)


@attacked(
    subject=lambda: st.text(st.characters(), max_size=700), reason=lambda: st.text(max_size=700)
)
def foreign_text_is_printed_as_one_visible_line(subject: str, reason: str) -> None:
    assert is_visible(str(I2IError(subject, reason, subject)))
    assert printable(printable(subject, 10_000), 100_000) == printable(subject, 10_000)


def _words() -> st.SearchStrategy[list[str]]:
    commands = st.sampled_from(["list", "show", "translate", "generate", "evaluate", "import", "data", "demo", "resume", "bench", "train"])  # fmt: skip
    options = st.sampled_from(["--out", "--size", "--grid", "--seed", "--count", "--set", "--config", "--data", "--input", "--shard", "-", "--"])  # fmt: skip
    values = st.one_of(
        st.text(st.characters(), max_size=8),
        st.integers().map(str),
        st.floats().map(str),
        st.sampled_from(
            [
                "pix2pix",
                "check",
                "unpack",
                "synth",
                "9" * 5_000,
                "1x" + "9" * 5_000,
                "x" * 10_000,
                "a\0b",
                "/dev/zero",
            ]
        ),
    )
    return st.tuples(commands, st.lists(st.one_of(options, values), max_size=5)).map(
        lambda parts: [parts[0], *parts[1]]
    )


@attacked(words=_words)
def any_words_are_answered_by_visible_lines_and_a_status(words: list[str]) -> None:
    if words[0] in ("demo", "data", "bench", "train"):  # which work for minutes where the words fit
        words = [*words, "--no-such-option"]
    with new_folder() as folder, chdir(folder):
        done = here(*words)
    assert done.status in (0, 1, 2)
    assert is_visible((done.out + done.err).replace("\n", ""))
    assert len(done.err) < 10_000
