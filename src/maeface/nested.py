"""Nested dictionaries of settings: merged, and flattened to one level."""

from collections.abc import Mapping
from typing import Any


def merge(defaults: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """Return ``defaults`` with ``values`` in their place, section by section."""
    both = {key for key, value in values.items() if isinstance(value, dict)}
    both &= {key for key, value in defaults.items() if isinstance(value, dict)}
    return defaults | values | {key: merge(defaults[key], values[key]) for key in both}


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
