"""Bring a text of another program into plain form: line ends, control characters, HTML, and lines that look like turns."""

import re
from html.parser import HTMLParser

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u202a-\u202e\u2066-\u2069\ufeff]")
_HTML = re.compile(r"</(?:p|pre|code|li|ul|ol|div|h\d|strong|em|a|span)>|<br\s*/?>|<p>", re.IGNORECASE)
# In an ``input_text`` these words at a line's start begin a turn, so a text may not bring its own.
_TURN = re.compile(r"\n(?=(?:User|Assistant): ?)")
_BLOCK = {"p", "div", "pre", "ul", "ol", "h1", "h2", "h3", "h4", "blockquote", "table", "tr", "hr"}


def clean(text: str) -> str:
    """The text with plain line ends, without control characters, HTML turned into light Markdown."""
    if text.isprintable() and "<" not in text:
        return text.strip()
    text = _CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    return (_from_html(text) if _HTML.search(text) else text).strip()


def framed(text: str) -> str:
    """The text so that none of its lines is taken for a turn of the conversation."""
    return _TURN.sub("\n ", text) if "\n" in text else text


def _from_html(text: str) -> str:
    reader = _Reader()
    reader.feed(text)
    reader.close()
    return re.sub(r"\n{3,}", "\n\n", "".join(reader.parts)).strip()


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._verbatim = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "pre":
            self._verbatim = True
            self.parts.append("\n\n```\n")
        elif tag == "li":
            self.parts.append("\n- ")
        elif tag == "br":
            self.parts.append("\n")
        elif tag == "code" and not self._verbatim:
            self.parts.append("`")
        elif tag in ("strong", "b"):
            self.parts.append("**")
        elif tag in _BLOCK and self.parts[-1:] != ["\n- "]:
            self.parts.append("\n\n")

    def handle_endtag(self, tag: str) -> None:
        if tag == "pre":
            self._verbatim = False
            self.parts.append("\n```\n\n")
        elif tag == "code" and not self._verbatim:
            self.parts.append("`")
        elif tag in ("strong", "b"):
            self.parts.append("**")
        elif tag in _BLOCK:
            self.parts.append("\n\n")

    def handle_data(self, data: str) -> None:
        if self._verbatim:
            self.parts.append(data)
        elif data.strip() or "\n" not in data:
            self.parts.append(re.sub(r"\s+", " ", data))
