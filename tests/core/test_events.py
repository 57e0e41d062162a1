import json

import pytest

from assistant.core.events import (
    EVENTS,
    Chart,
    Checked,
    Failed,
    Finished,
    Lines,
    Notice,
    Progress,
    Rejected,
    Report,
    RouteChosen,
    Spans,
    Step,
    Switched,
    Table,
    TextDelta,
    TurnDone,
    from_json,
    to_json,
)
from assistant.core.values import Reply

REPLY = Reply(
    "q",
    "a",
    "unified",
    "0001",
    "qna",
    {"qna": 1.0, "technical": 0.0, "general": 0.0},
    None,
    0.1,
    False,
    None,
    "because",
    3,
    0.1,
    0.4,
    10.0,
    "end",
)
EXAMPLES = [
    RouteChosen("unified", "0001", "qna", None, "by default"),
    TextDelta("Hi"),
    TurnDone(REPLY),
    Step("Reading"),
    Progress(3, 10, "steps", {"loss": 1.5}, 4.0),
    Checked("disk", True, "9 GB free"),
    Rejected("row 3", "empty"),
    Report(
        "Status",
        {"a": [1]},
        (Table(("a", "b"), (("1", "2"),), "t"), Chart("c", (("x", 1.0),), "rows"), Lines("l", ("one",)), Spans("s", (("text", True),))),
    ),
    Notice("careful", "warning"),
    Failed("what", "fix"),
    Switched("qna", "0002", None),
    Finished(1),
]


def test_every_event_has_an_example_here():
    assert {type(event) for event in EXAMPLES} == set(EVENTS)


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda event: type(event).__name__)
def test_an_event_survives_the_way_through_json(event):
    assert from_json(json.loads(json.dumps(to_json(event)))) == event


def test_an_unknown_event_is_an_error():
    with pytest.raises(ValueError, match="unknown event"):
        from_json({"event": "Surprise"})
