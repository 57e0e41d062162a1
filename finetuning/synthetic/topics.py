"""What the rows are about: a category and a topic for each, decided by the row's number and the seed alone."""

import random
from dataclasses import dataclass

from assistant.core.values import CATEGORIES, Category

PREFIX = "synthetic-"
TOPICS: dict[Category, tuple[str, ...]] = {
    "qna": (
        "ancient history", "modern history", "rivers and mountains", "countries and capitals", "the planets", "the human body",
        "animals", "plants", "the weather", "the oceans", "chemistry", "physics", "mathematics", "statistics", "economics",
        "law and government", "languages", "literature", "music", "painting", "architecture", "religion and philosophy",
        "inventions", "medicine", "food science", "programming concepts", "how computers work", "the internet", "energy",
        "sports rules",
    ),
    "technical": (
        "Python", "the command line", "Git", "SQL databases", "spreadsheets", "e-mail programs", "printers", "Wi-Fi",
        "a slow computer", "disk space and backups", "passwords and safety", "web pages", "mobile phones", "photos and videos",
        "PDF files", "text editors", "installing programs", "Linux servers", "network problems", "3D modelling", "CAD drawings",
        "testing and debugging", "JSON and CSV files", "scheduling jobs", "browsers",
    ),
    "general": (
        "the day", "cooking", "travel plans", "a birthday", "a job interview", "friends", "family", "pets", "a hobby", "films",
        "books", "sleep", "exercise", "moving house", "gardening", "learning something new", "stress", "a polite message",
        "a small story", "weekend plans", "shopping", "school", "the season", "a thank-you note", "making a decision",
    ),
}  # fmt: skip
# What the model stands in for while its user writes; it decides what such a user asks.
_OPEN = {
    "qna": "You are a helpful assistant who answers short questions about {topic} with facts and explanations.",
    "technical": "You are a helpful technical assistant. The user asks how to do something or to solve a problem with {topic}.",
    "general": "You are a friendly assistant for everyday talk and writing. The user talks with you about {topic}.",
}
_ASKED = {
    "qna": "Write one question that a curious person could ask about {topic}. It needs no other material.",
    "technical": "Write one question of a person who wants to do or repair something with {topic}. It names what it is about.",
    "general": "Write one message that a person could send to a friendly assistant about {topic}: talk, advice, or a short text to write.",
}


@dataclass(frozen=True, slots=True)
class Subject:
    """What row ``number`` is about."""

    number: int
    category: Category
    topic: str

    @property
    def id(self) -> str:
        """The row's name in every file."""
        return f"{PREFIX}{self.number:06d}"

    @property
    def system(self) -> str:
        """The system prompt under which a user's turn is left open (Magpie)."""
        return _OPEN[self.category].format(topic=self.topic)

    @property
    def request(self) -> str:
        """What a teacher is asked, whose template is not known."""
        return f"{_ASKED[self.category].format(topic=self.topic)} Reply with the message alone, without quotation marks."


def subjects(numbers: range, seed: int) -> list[Subject]:
    """What these rows are about; categories take turns."""
    found = []
    for number in numbers:
        category = CATEGORIES[number % len(CATEGORIES)]
        found.append(Subject(number, category, random.Random(f"{seed}/topic/{number}").choice(TOPICS[category])))
    return found


def batch_seed(seed: int, stage: str, batch: int) -> int:
    """The seed of one batch, so that a resumed stage writes what an unbroken one would have written."""
    return random.Random(f"{seed}/{stage}/{batch}").getrandbits(31)
