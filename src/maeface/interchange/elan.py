"""Events as an annotation file of ELAN (``.eaf``, EAF 3.0)."""

import re
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd

from maeface import portable
from maeface.interchange import events as events_tables

# The types that ELAN itself writes; it chooses a player by them.
MIME_TYPES = {
    ".mp4": "video/mp4",
    ".m4v": "video/mp4",
    ".mpg": "video/mpeg",
    ".mpeg": "video/mpeg",
    ".mov": "video/quicktime",
    ".qt": "video/quicktime",
}
ANY_VIDEO = "video/*"
TYPE = "action unit"
SCHEMA = "http://www.mpi.nl/tools/elan/EAFv3.0.xsd"
XSI = "http://www.w3.org/2001/XMLSchema-instance"
# Characters that XML 1.0 cannot hold, also not escaped.
_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def to_eaf(events: pd.DataFrame, media: Path, out: Path, now: datetime | None = None) -> bytes:
    """Return an annotation file of one film: a tier for each person and action unit, a span for each event.

    Args:
        events: as for ``events.prepare``, of one input only; none gives a file without tiers.
        media: the film.
        out: where the file will be; the film is linked by its absolute path and from here.
        now: time of creation; None: the present.

    Raises:
        DataError: as for ``events.prepare``.
    """
    table = events_tables.prepare(events)
    assert table["input"].nunique() <= 1, "a file of ELAN is of one film"
    slots, places = _time_slots(table)
    root = ElementTree.Element(
        "ANNOTATION_DOCUMENT",
        {
            "AUTHOR": "maeface",
            "DATE": (now or datetime.now(UTC)).isoformat(timespec="seconds"),
            "FORMAT": "3.0",
            "VERSION": "3.0",
            "xmlns:xsi": XSI,
            "xsi:noNamespaceSchemaLocation": SCHEMA,
        },
    )
    header = ElementTree.SubElement(root, "HEADER", {"MEDIA_FILE": "", "TIME_UNITS": "milliseconds"})
    ElementTree.SubElement(header, "MEDIA_DESCRIPTOR", _describe_media(media, out))
    last = ElementTree.SubElement(header, "PROPERTY", {"NAME": "lastUsedAnnotationId"})
    last.text = str(len(table))
    order = ElementTree.SubElement(root, "TIME_ORDER")
    for number, time in enumerate(slots, 1):
        ElementTree.SubElement(order, "TIME_SLOT", {"TIME_SLOT_ID": f"ts{number}", "TIME_VALUE": str(time)})
    for keys, rows in table.groupby(["person", "au"], sort=False):
        person, au = map(str, keys)
        attributes = {"LINGUISTIC_TYPE_REF": TYPE, "PARTICIPANT": person, "TIER_ID": f"{person} {au}"}
        tier = ElementTree.SubElement(root, "TIER", attributes)
        for row in rows.index:
            begin, end = places[row]
            annotation = ElementTree.SubElement(
                ElementTree.SubElement(tier, "ANNOTATION"),
                "ALIGNABLE_ANNOTATION",
                {
                    "ANNOTATION_ID": f"a{row + 1}",
                    "TIME_SLOT_REF1": f"ts{begin}",
                    "TIME_SLOT_REF2": f"ts{end}",
                },
            )
            ElementTree.SubElement(annotation, "ANNOTATION_VALUE").text = table["code"].iloc[row]
    ElementTree.SubElement(
        root,
        "LINGUISTIC_TYPE",
        {"GRAPHIC_REFERENCES": "false", "LINGUISTIC_TYPE_ID": TYPE, "TIME_ALIGNABLE": "true"},
    )
    ElementTree.indent(root, "    ")
    text: bytes = ElementTree.tostring(root, encoding="UTF-8", xml_declaration=True)
    return text + b"\n"


def _time_slots(table: pd.DataFrame) -> tuple[list[int], list[tuple[int, int]]]:
    """Return the times of all slots in order, and for each event the 1-based slots of its start and end."""
    times = [
        (int(time), row, end)
        for end, name in enumerate(("start", "end"))
        for row, time in table[name].items()
    ]
    times.sort()
    places = {(row, end): number for number, (_, row, end) in enumerate(times, 1)}
    return [time for time, _, _ in times], [(places[row, 0], places[row, 1]) for row in table.index]


def _describe_media(media: Path, out: Path) -> dict[str, str]:
    # ELAN takes both as they are: it knows no escapes such as %20.
    relative = portable.relative_path(media, out.absolute().parent)
    if not relative.startswith("..") and not Path(relative).is_absolute():
        relative = f"./{relative}"
    return {
        "MEDIA_URL": _clean(portable.file_url(media.absolute())),
        "MIME_TYPE": MIME_TYPES.get(media.suffix.lower(), ANY_VIDEO),
        "RELATIVE_MEDIA_URL": _clean(relative),
    }


def _clean(text: str) -> str:
    return _FORBIDDEN.sub("?", text)
