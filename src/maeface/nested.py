"""Nested settings: strict models of them; dictionaries, merged, overridden, flattened, and what is wrong."""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from maeface import checks
from maeface.errors import ConfigError

EXPECTED = {
    "greater_than": "a number above {gt:g}",
    "greater_than_equal": "at least {ge:g}",
    "less_than": "a number below {lt:g}",
    "less_than_equal": "at most {le:g}",
    "finite_number": "a finite number",
    **dict.fromkeys(("int_parsing", "int_type", "int_from_float"), "a whole number"),
    **dict.fromkeys(("float_parsing", "float_type"), "a number"),
}
"""What a setting should be, for pydantic's names of what is wrong with it."""


class Settings(BaseModel):
    """Frozen and strict: an unknown key is an error. One value stands for a list of one."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _make_lists(cls, values: object) -> object:
        if not isinstance(values, dict):
            return values
        lists = {name for name, field in cls.model_fields.items() if get_args(field.annotation)[1:] == (...,)}
        single = {name for name in lists & values.keys() if isinstance(values[name], (str, int, float))}
        return values | {name: [values[name]] for name in single if values[name] != ""}


def merge(defaults: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """Return ``defaults`` with ``values`` in their place, section by section."""
    both = {key for key, value in values.items() if isinstance(value, dict)}
    both &= {key for key, value in defaults.items() if isinstance(value, dict)}
    return defaults | values | {key: merge(defaults[key], values[key]) for key in both}


def apply_overrides(overrides: Sequence[str], values: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return ``values`` with the overrides of ``--set``, not checked; ConfigError for a malformed one."""
    values = values or {}
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"--set takes section.key=value, got {override!r}")
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            value = text.strip()  # a bare word: --set run.device=cpu
        inner, (*sections, last) = values, key.strip().split(".")
        for section in sections:
            inner = inner.setdefault(section, {})
            if not isinstance(inner, dict):
                raise ConfigError(f"--set {override}: {section} is a value, not a section")
        inner[last] = value
    return values


def flatten(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested values as {"section.key": value}; a section in a list gives {"list[name].key": value}."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= {f"{key}.{inner}": leaf for inner, leaf in flatten(value).items()}
        elif isinstance(value, (list, tuple)) and any(isinstance(item, Mapping) for item in value):
            for n, item in enumerate(value):
                flat |= flatten({f"{key}[{item.get('name', n) if isinstance(item, Mapping) else n}]": item})
        else:
            flat[key] = value
    return flat


def describe_problems(kind: type[BaseModel], error: ValidationError, of_arguments: bool) -> Iterator[str]:
    """Yield a line on each problem of values that are not settings of a kind; keys as they were typed."""
    for problem in error.errors():
        where = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            near = checks.find_nearest(where, _keys(kind))
            known = (key for key in _keys(kind) if key.rpartition(".")[0] == where.rpartition(".")[0])
            meant = f"did you mean {near!r}?" if near else f"expected {', '.join(known) or 'none'}"
            yield f"unknown key {where!r}; {meant}"
        else:
            yield describe_value(checks.name_of(where) if of_arguments else where, problem)


def describe_value(name: str, problem: Mapping[str, Any]) -> str:
    """Return a line on a wrong value: the name of the setting, what it is, and what was expected."""
    given, text = problem["input"], str(problem["msg"]).removeprefix("Value error, ")
    expected = EXPECTED.get(problem["type"], "").format(**problem.get("ctx", {}))
    if not expected and " is not one of " in text:  # as the command line says it
        expected = f"one of {text.partition(' is not one of ')[2].removesuffix('.').replace(chr(39), '')}"
    if expected and name:
        shown = f"{given:g}" if isinstance(given, float) else repr(given)
        return f"{name} is {shown}; expected {expected}"
    got = f", got {given!r}" if problem["type"] != "value_error" else ""
    return (f"{name}: " if name else "") + text + got


def _keys(kind: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in kind.model_fields.items():
        yield prefix + name
        if isinstance(inner := field.annotation, type) and issubclass(inner, BaseModel):
            yield from _keys(inner, f"{prefix}{name}.")
