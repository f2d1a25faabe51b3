"""Settings from YAML files and `--set`."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from hypothesis import strategies as st

from fuzzing import attacked, new_folder, outcome
from i2i import registry
from i2i.config import Config, ConfigError, Layer, parse_override, read_yaml
from i2i.registry import UnknownComponentError
from i2i.run.settings import resolve

METHODS = registry.names("methods")


def _scalars() -> st.SearchStrategy[Any]:
    numbers = st.one_of(
        st.integers(),
        st.integers(-2, 300),
        st.floats(),
        st.sampled_from([0.5, 1e-4, 2**63, 10**400]),
    )
    words = st.sampled_from(
        ["", "auto", "unet", "resnet", "patchgan", "dcgan", "a2b", "none", "1e-4", "~", "é"]
    )
    return st.one_of(
        st.none(),
        st.booleans(),
        numbers,
        words,
        st.text(max_size=8),
        st.dates(),
        st.binary(max_size=4),
    )


def _values() -> st.SearchStrategy[Any]:
    keys = st.one_of(st.text(max_size=6), st.integers(-1, 3), st.none(), st.booleans())
    return st.recursive(
        _scalars(),
        lambda inner: st.one_of(
            st.lists(inner, max_size=4), st.dictionaries(keys, inner, max_size=3)
        ),
        max_leaves=8,
    )


@cache
def default(method: str) -> dict[str, Any]:
    """The settings of a method without any of the user's."""
    return resolve(method, [Layer("x", {"data": {"root": "x"}})]).to_dict()


@cache
def known_keys() -> list[str]:
    """section.key of every setting of every method."""
    leaves = {
        f"{section}.{key}"
        for method in METHODS
        for section, values in default(method).items()
        if isinstance(values, dict)
        for key in values
    }
    return sorted(leaves)


@st.composite
def _settings(draw: st.DrawFn) -> dict[Any, Any]:
    """A mapping of sections: mostly known keys, some of them misspelled, with values of any kind."""
    found: dict[Any, Any] = {"data": {"root": "x"}} if draw(st.booleans()) else {}
    for _ in range(draw(st.integers(0, 5))):
        section, key = draw(st.sampled_from(known_keys())).split(".")
        if draw(st.integers(0, 9)) == 0:
            key = draw(st.text(max_size=8))
        values = found.setdefault(section, {})
        if isinstance(values, dict):
            sanity = [default(method).get(section, {}).get(key) for method in METHODS]
            values[key] = draw(st.one_of(st.sampled_from(sanity), _scalars(), _values()))
    if draw(st.integers(0, 4)) == 0:
        found[draw(st.one_of(st.sampled_from(list(found) or ["x"]), st.text(max_size=6)))] = draw(
            _values()
        )
    return found


def _aliases(made: tuple[str, list[str]]) -> str:
    """A file whose aliases hold each other: each line the one before it, and the first one itself."""
    section, values = made
    lines = [
        f"k{n}: &a{n} {value.replace('*a', f'*a{max(n - 1, 0)}')}" for n, value in enumerate(values)
    ]
    return "\n".join([*lines, f"{section}: *a{len(lines) - 1}"])


def _yaml() -> st.SearchStrategy[str]:
    def written(values: Any) -> str:
        try:
            return yaml.safe_dump(values, allow_unicode=True)
        except (yaml.YAMLError, ValueError):  # a value that YAML does not know
            return repr(values)

    pieces = st.sampled_from(
        ["train:", "data: ", "&a", "*a", "<<: ", "- ", "{", "}", "[", "]", "\n", "  ", "!!python/object:os.abort ",
         "? ", "! ", "root: x", "|", ">", "'", '"', "# ", "lr: 1", "optim:", "\t", "---", ": ", "1.e+400", "0x"]
    )  # fmt: skip
    doubled = st.lists(
        st.sampled_from(["{x: *a, y: *a}", "[*a, *a]", "1", "{x: 1}"]), min_size=1, max_size=40
    )
    laughs = st.tuples(st.sampled_from(["train", "x", "data"]), doubled).map(_aliases)
    return st.one_of(
        _settings().map(written),
        laughs,
        st.text(max_size=60),
        st.lists(pieces, max_size=14).map("".join),
    )


def _survives_the_disk(method: str, layers: list[Layer], folder: Path) -> None:
    """The layers are refused with a message, or give settings that are the same when written and read."""
    config, _ = outcome(lambda: resolve(method, layers), ConfigError, UnknownComponentError)
    if config is None:
        return
    path = folder / "config.yaml"
    path.write_text(config.to_yaml(), "utf-8")
    again: Config = resolve(method, [read_yaml(path)])
    assert again.to_dict() == config.to_dict()
    assert again.to_yaml() == config.to_yaml()


@attacked(method=lambda: st.sampled_from(METHODS), text=_yaml)
def a_config_file_gives_settings_that_survive_the_disk_or_a_refusal(method: str, text: str) -> None:
    with new_folder() as folder:
        (folder / "given.yaml").write_bytes(text.encode("utf-8", "surrogatepass"))
        layer, _ = outcome(lambda: read_yaml(folder / "given.yaml"), ConfigError)
        if layer is not None:
            _survives_the_disk(method, [layer], folder)


def _overrides() -> st.SearchStrategy[list[str]]:
    values = st.one_of(
        _values().map(lambda value: json.dumps(value, default=str, skipkeys=True)),
        st.text(max_size=8),
    )
    deep = st.integers(1, 3_000).map(lambda depth: ".".join(["train"] * depth))
    keys = st.one_of(st.sampled_from(known_keys()), st.text(max_size=8), deep)
    return st.lists(
        st.one_of(st.tuples(keys, values).map("=".join), st.text(max_size=12)), max_size=4
    )


@attacked(method=lambda: st.sampled_from(METHODS), texts=_overrides)
def overrides_give_settings_that_survive_the_disk_or_a_refusal(
    method: str, texts: list[str]
) -> None:
    layers, _ = outcome(
        lambda: [Layer("x", {"data": {"root": "x"}}), *map(parse_override, texts)], ConfigError
    )
    if layers is not None:
        with new_folder() as folder:
            _survives_the_disk(method, layers, folder)


@st.composite
def _misspelled(draw: st.DrawFn) -> tuple[str, str, str]:
    """A method, a section, and a key of it with a letter lost, added or replaced."""
    method = draw(st.sampled_from(METHODS))
    section = draw(
        st.sampled_from(
            [
                name
                for name, values in default(method).items()
                if isinstance(values, dict) and values != {"name": "none"}
            ]
        )
    )
    key = draw(st.sampled_from([name for name in default(method)[section] if len(name) > 2]))
    at, letter = (
        draw(st.integers(0, len(key) - 1)),
        draw(st.sampled_from("abcdefghijklmnopqrstuvwxyz_")),
    )
    wrong = [
        key[:at] + key[at + 1 :],
        key[:at] + letter + key[at:],
        key[:at] + letter + key[at + 1 :],
        f"{key}s",
    ]
    return method, section, draw(st.sampled_from(wrong))


@attacked(words=_misspelled)
def a_misspelled_key_is_refused_with_a_suggestion(words: tuple[str, str, str]) -> None:
    method, section, key = words
    if key in default(method)[section]:
        return
    layers = [Layer("x", {"data": {"root": "x"}}), parse_override(f"{section}.{key}=1")]
    config, message = outcome(lambda: resolve(method, layers), ConfigError)
    assert config is None, "it was taken"
    assert f"{section}.{key}: unknown setting. Did you mean " in message, message
