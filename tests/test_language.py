"""The product speaks the language of its field: no invented words, docstrings that begin with a verb or a noun."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted((ROOT / "i2i").rglob("*.py"))
PAGES = sorted(
    [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "configs").glob("*.yaml")]
)

BANNED = {  # words that were invented where the field has its own -> that word
    r"mends?|mended|mending": "fix",
    r"laws?": "distribution, scheme",
    r"seals?|sealed": "checksum",
    r"judges?|judged|judging": "discriminator, score, decide",
    r"gists?": "hash",
    r"ill|diseases?|told|anew": "failing, reported, from scratch",
    r"passe[sd] over(?! the data)|pass(ing)? over(?! the data)": "skip",
    r"goes on|went on|going on|gone on": "continue",
    r"truths?": "target",
    r"is no picture|none needs so much|made to take long": "an error that names the limit",
    r"house": "architecture",
    r"plausible|nonsense": "sanity, invalid",
    r"brought|bring": "convert",
}
BANNED_NAMES = re.compile(
    r"^_?(mend|law|seal|judge|gist|alike|anew|ill|told|doubt|drain|prompt|say|complain|_turn|brought|place|places|"
    r"described|named|found|made|known|shown|seen|whole|asked|spoken|waited|begun|refuse\w*|"
    r"most|deepest|enough|tries|piece)$",
    re.IGNORECASE,
)
BRITISH = re.compile(
    r"\b(\w*colou?red|\w*colour\w*|centre\w*|grey\w*|licen[c]e\w*|behaviour\w*|neighbour\w*|artefact\w*|"
    r"\w+[^aeiou\W]is(e|es|ed|ing|ation)\b(?<!wise)|analyse\w*|catalogue\w*|labell\w*|modell\w*|cancell(ed|ing))\b",
    re.IGNORECASE,
)
OLD_KEYS = {'"seal"', '"law"'}  # in files of earlier formats
AMERICAN = {"colored", "multicolored", "uncolored", "cropped"}
ISE = re.compile(
    r"(normal|initial|general|minim|maxim|optim|real|summar|visual|regular|quant|recogn|organ|random|final|serial|util|special|standard|synchron)is(e|es|ed|ing|ation)$",
    re.IGNORECASE,
)


def words(text: str) -> Iterator[str]:
    for banned, instead in BANNED.items():
        for match in re.finditer(rf"(?<![\w.-])({banned})(?![\w-])", text, re.IGNORECASE):
            yield f"{match.group(0)!r} (write: {instead})"
    for match in re.finditer(r"[A-Za-z]+", text):
        word = match.group(0)
        british = BRITISH.fullmatch(word) and word.lower() not in AMERICAN
        if (british and not re.search(r"is(e|es|ed|ing|ation)$", word)) or ISE.fullmatch(word):
            yield f"{word!r} (US spelling)"


def prose(path: Path) -> Iterator[tuple[int, str]]:
    """Comments and strings of a file, docstrings and the text of f-strings included."""
    source = path.read_text("utf-8")
    kinds = {tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", -1)}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in kinds and token.string not in OLD_KEYS:
            yield token.start[0], token.string


def names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.lineno, node.name
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.attr


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_strings_comments_and_names_use_the_words_of_the_field(path: Path) -> None:
    faults = [f"line {line}: {word}" for line, text in prose(path) for word in words(text)]
    tree = ast.parse(path.read_text("utf-8"))
    faults += [
        f"line {line}: name {name}" for line, name in names(tree) if BANNED_NAMES.match(name)
    ]
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_pages_and_recipes_use_the_words_of_the_field(path: Path) -> None:
    lines = enumerate(path.read_text("utf-8").splitlines(), 1)
    faults = [f"line {number}: {word}" for number, line in lines for word in words(line)]
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_docstrings_begin_with_a_verb_or_a_noun(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            first = (ast.get_docstring(node) or "").split(" ", 1)[0]
            assert first not in {"What", "Whether", "How", "Say", "Of", "Who", "Where", "When"}, (
                f"{getattr(node, 'name', path.stem)} begins with {first}"
            )


def test_lines_over_100_columns_are_rare() -> None:
    lines = [line for path in FILES for line in path.read_text("utf-8").splitlines()]
    assert sum(len(line) > 100 for line in lines) <= len(lines) / 500


def test_nested_comprehensions_are_rare() -> None:
    nested = total = 0
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
                total += 1
                nested += len(node.generators) > 1 or any(
                    isinstance(inner, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp)
                    for inner in ast.walk(node)
                    if inner is not node
                )
    lines = sum(len(path.read_text("utf-8").splitlines()) for path in FILES)
    print(f"{nested} nested of {total} comprehensions in {lines} lines")
    assert nested <= lines / 400
