"""Progress where stderr is not a terminal."""

import pytest

from maeface import console
from maeface.report.lines import describe_faces


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test sets."""
    now = [0.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    return now


def lines(capsys):
    return [line.split(",")[0] for line in capsys.readouterr().err.splitlines()]


@pytest.mark.parametrize("seconds", [1, 60])
@pytest.mark.parametrize("total", [1, 2])
def test_the_last_line_is_printed_once(capsys, clock, seconds, total):
    with console.progress("work", total, "items") as advance:
        for number in range(total):
            clock[0] += seconds
            advance()
            advance(0, f"note {number}")
    earlier = ["work: 1/2 items"] if (total, seconds) == (2, 60) else []
    assert lines(capsys) == [*earlier, f"work: {total}/{total} items"]


def test_a_long_item_shows_that_it_goes_on(capsys, clock):
    with console.progress("work", 1, "videos") as advance:
        for count in range(3):
            clock[0] += 11
            advance(0, f"{count} images")
        advance()
    assert lines(capsys) == ["work: 0/1 videos"] * 3 + ["work: 1/1 videos"]


@pytest.mark.parametrize("completed", [0, 1])
def test_an_error_prints_no_last_line(capsys, clock, completed):
    def fail():
        with console.progress("work", 1, "items") as advance:
            clock[0] += 60
            advance(completed)
            raise ValueError

    with pytest.raises(ValueError):
        fail()
    assert lines(capsys) == ["work: 0/1 items"] * (1 - completed)


def test_nothing_to_do_is_one_line(capsys):
    with console.progress("work", 5, "items", completed=5):
        pass
    assert lines(capsys) == ["work: 5/5 items"]


NAME = "a\n\r\x1b[31m\u2028é日\u3000b.jpg"
SHOWN = r"a\n\r\x1b[31m\u2028é日" + "\u3000b.jpg"


def test_names_are_shown_without_control_characters(capsys):
    assert console.escape(NAME) == SHOWN
    row = {"input": NAME, "frame": 3, "time_s": 0.5, "face": -1, "status": "no_face"}
    assert list(describe_faces([row], {})) == [f"{SHOWN}: no face"]
    assert list(describe_faces([row], {}, {NAME})) == [f"{SHOWN}, frame 3 (0.50 s): no face"]
    console.FewNotes("files").add(f"skipped {NAME}")
    console.note("two\nlines\x1b[31m")
    assert capsys.readouterr().err == f"skipped {SHOWN}\ntwo\nlines\\x1b[31m\n"


def test_the_first_notes_of_a_kind_are_shown(capsys):
    notes = console.FewNotes("files")
    for number in range(console.MESSAGES + 5):
        notes.add(f"file {number}")
    said = capsys.readouterr().err.splitlines()
    assert said == [*(f"file {n}" for n in range(console.MESSAGES)), "further files are only counted"]
    assert notes.count == console.MESSAGES + 5
