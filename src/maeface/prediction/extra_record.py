"""The record of extras: of which table each one was made, and with which settings.

It is a small JSON file beside the table, ``film.extras.json`` beside ``film.csv``. An extra that is named
there is made again only if its settings or the table have changed. If the table was made anew or edited, the
extras of the earlier one are removed, except for those of a film whose rows are the same. A file that the
record does not name, or that was changed since, is the user's.
"""

import hashlib
import json
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from maeface import checks, console, files, portable
from maeface.errors import ConfigError
from maeface.prediction.extras import ENDINGS, EXTRA_RECORD, NEUTRAL, Key, option_of
from maeface.prediction.parts import look_at
from maeface.prediction.record import (
    CHANGE_ROWS,
    CHANGE_TABLE,
    MADE,
    describe_changes,
    describe_table,
    read_record,
)


class ExtraRecord:
    """The record of the extras of a table.

    Args:
        table: the path of the table.
        content: the record of the table. By it, and by the size and time of change of the table itself, one
            that was made anew or edited is known. What is made of one film only depends on this film, so it
            outlives a table that was made anew with other films.
    """

    def __init__(self, table: Path, content: Mapping[str, Any]) -> None:
        self._table, self._folder, self._stem = table.name, table.parent, table.with_suffix("").name
        seen = describe_table(table)
        self._whole = _digest([content, seen["bytes"], seen["mtime_ns"]])
        self._films: dict[str, str] = {}
        if content.get("table") == seen:  # it was not edited, so the rows of a film depend on this film only
            header = {name: value for name, value in content.items() if name not in MADE}
            options = content["options"]
            header["options"] = {name: options.get(name) for name in (*CHANGE_ROWS, *CHANGE_TABLE)}
            header["alone"] = len(content["inputs"]) == 1  # then its files are beside the table
            of_all = _digest(header)  # once: it is long, and inputs may be many
            for item in content["inputs"]:
                own = {name: value for name, value in item.items() if name != "mtime_ns"}
                self._films[item["name"]] = _digest([of_all, own])
        self._path = _path_of(table)
        self._entries = self._read()

    def _of(self, film: str) -> str:
        """Return the digest of a film's rows, or of the whole table."""
        return self._films.get(film, self._whole)

    def is_current(self, key: Key, settings: Mapping[str, Any]) -> bool:
        """Return whether an extra is there, was made of this table, and with these settings."""
        entry = self._entries.get((self._table, *key))
        if entry is None or entry["of"] != self._of(key[1]) or entry["settings"] != settings:
            return False
        return all(path.is_file() for path in self.files_of(key))

    def is_as_made(self, key: Key) -> bool:
        """Return whether no file of an extra that is recorded was changed since it was made."""
        files_of = self._entries[(self._table, *key)]["files"]
        return all(self._is_as_made(name, content) for name, content in files_of.items())

    def files_of(self, key: Key) -> list[Path]:
        """Return the files of an extra that is recorded."""
        return [self._folder / name for name in self._entries[(self._table, *key)]["files"]]

    def claim(self, key: Key, paths: Iterable[Path]) -> None:
        """Record that files of an extra are written now, unless they hold somebody's work.

        Raises:
            ConfigError: a file is there that the record does not name, or that was changed since.
        """
        made = {name: seen for entry in self._entries.values() for name, seen in entry["files"].items()}
        names = {path.relative_to(self._folder).as_posix(): path for path in paths}
        for name, path in names.items():
            interrupted = name in made and not made[name]
            if (
                path.exists()
                and not interrupted
                and not (name in made and self._is_as_made(name, made[name]))
            ):
                raise ConfigError(
                    f"{path} is there, and was written or changed by others; rename it, or choose another "
                    f"name of the table with {checks.name_of('out')}"
                )
        nothing: dict[str, Any] = {"of": self._of(key[1]), "settings": None, "files": {}}
        self._entries.setdefault((self._table, *key), nothing)["files"] |= {name: [] for name in names}
        self._save()

    def remove_stale(self, wanted: Container[Key]) -> None:
        """Remove the extras that were made of an earlier table.

        Files that were changed since they were made are left.

        Args:
            wanted: what is made next, so that no line is shown for it.
        """
        stale = [
            key
            for key, entry in self._entries.items()
            if key[0] == self._table and entry["of"] != self._of(key[2])
        ]
        removed: list[str] = []
        left: list[str] = []
        options: list[str] = []
        for key in stale:
            for name, content in self._entries[key]["files"].items():
                if not (self._folder / name).exists():
                    continue
                gone = self._remove(name, content)
                if key[1:] not in wanted:
                    (removed if gone else left).append(name)
                    options += [option_of(key[1])] if gone else []
        if not stale:
            return
        for key in stale:
            del self._entries[key]
        self._save()
        if removed:
            console.note(
                f"{self._table} has changed; removed {_listed(removed)} of the earlier one; {_again(options)}"
            )
        if left:
            console.note(f"{_listed(left)} of an earlier {self._table} was changed since, so it is left")

    def note_other_settings(self, wanted: Container[Key], shape: Callable[[str], Mapping[str, Any]]) -> None:
        """Show which extras of this table are left though the settings of this run would shape others.

        Args:
            wanted: what is made next, or is current.
            shape: returns the settings of this run that shape an extra.
        """
        left: list[str] = []
        options: list[str] = []
        changes: list[str] = []
        for (table, what, film), entry in self._entries.items():
            is_of_this = table == self._table and entry["of"] == self._of(film)
            if what == NEUTRAL or not is_of_this or (what, film) in wanted or not entry["settings"]:
                continue
            now = shape(what)
            if different := list(describe_changes(now, _plain(entry["settings"]), _plain(now))):
                there = [name for name in entry["files"] if (self._folder / name).exists()]
                left += there
                options += [option_of(what)] if there else []
                changes += different if there else []
        if left:
            said = "; ".join(dict.fromkeys(changes))
            console.note(f"left as made with other settings ({said}): {_listed(left)}; {_again(options)}")

    @contextmanager
    def making(self, key: Key, settings: Mapping[str, Any]) -> Iterator[list[Path]]:
        """Record an extra when the block, which makes it, ends without an exception.

        Args:
            key: the extra.
            settings: what shapes it, as JSON.

        Yields:
            A list for the files of the extra.
        """
        place = (self._table, *key)
        before: dict[str, list[int]] = {}
        if place in self._entries:
            before = self._entries[place]["files"]
            self._entries[place]["settings"] = None  # until the end some files are new and some are not
            self._save()
        paths: list[Path] = []
        yield paths
        names = {path.relative_to(self._folder).as_posix(): list(look_at(path)[:2]) for path in paths}
        for name in before.keys() - names.keys():
            self._remove(name, before[name])
        for (table, *_), entry in self._entries.items():
            if table != self._table and names.keys() & entry["files"].keys():
                # film.csv and film.parquet have extras of the same names
                entry["files"] = {name: one for name, one in entry["files"].items() if name not in names}
                entry["settings"] = None
        self._entries[place] = {"of": self._of(key[1]), "settings": dict(settings), "files": names}
        self._save()

    def _remove(self, name: str, content: list[int]) -> bool:
        """Remove a file as it was made, and the folders that are empty then; return whether it is gone."""
        if not self._is_as_made(name, content):
            return False
        path = self._folder / name
        path.unlink()
        with suppress(OSError):  # a folder has other files
            for parent in list(path.relative_to(self._folder).parents)[:-1]:
                (self._folder / parent).rmdir()
        return True

    def _is_as_made(self, name: str, content: list[int]) -> bool:
        return list(look_at(self._folder / name)[:2]) == content

    def _read(self) -> dict[tuple[str, str, str], dict[str, Any]]:
        """Return {(table, what, film): entry}; of a damaged record nothing."""
        try:
            listed = json.loads(self._path.read_text(encoding="utf-8"))["extras"]
            entries = {
                (one["table"], one["what"], one["film"]): {
                    "of": one["of"],
                    "settings": one["settings"],
                    "files": {name: list(seen) for name, seen in one["files"].items() if self._is_ours(name)},
                }
                for one in listed
            }
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}
        return entries

    def _is_ours(self, name: str) -> bool:
        """Return whether a name is of something that may be made of the table, and of nothing elsewhere."""
        path = Path(name)
        own = {f"{self._stem}{ending}" for ending in ENDINGS}
        return portable.stays_inside(path) and bool(own.intersection(path.parts[:1]))

    def _save(self) -> None:
        listed = [
            {"table": table, "what": what, "film": film, **entry}
            for (table, what, film), entry in self._entries.items()
        ]
        if listed:
            text = json.dumps({"extras": listed}, indent=1)  # ASCII: names may have bytes that are not UTF-8
            files.write_text(self._path, text + "\n")
        else:
            self._path.unlink(missing_ok=True)


def remove_stale(tables: Iterable[Path]) -> None:
    """Remove the extras of earlier tables, if nothing is made of the present ones."""
    for table in tables:
        if _path_of(table).is_file() and (content := read_record(table)) is not None:
            ExtraRecord(table, content).remove_stale(())


def _path_of(table: Path) -> Path:
    return table.with_name(f"{table.with_suffix('').name}{EXTRA_RECORD}")


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as they were given: a neutral face without size and time, 0 as not given."""
    return {
        name: (value[0] if isinstance(value, list) else value) or None for name, value in settings.items()
    }


def _again(options: Iterable[str]) -> str:
    """Return how to have it again: ``give --report to make it again``."""
    return f"give {' '.join(dict.fromkeys(options))} to make it again"


def _listed(names: list[str], most: int = 3) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return console.escape(", ".join(names[:most]) + more)
