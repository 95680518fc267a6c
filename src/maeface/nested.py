"""Nested dictionaries of settings: merged, overridden, and flattened to one level."""

import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

from maeface.errors import ConfigError


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
