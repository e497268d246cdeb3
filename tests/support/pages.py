"""An HTML page as a browser takes it apart."""

from __future__ import annotations

from html.parser import HTMLParser

from typing_extensions import override

_VOID = frozenset({"meta", "img", "br", "link", "path", "use", "rect", "stop"})


class Page(HTMLParser):
    """What a page loads from where, which elements it left open, its scripts and its words."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.open: list[str] = []
        self.scripts: list[str] = []
        self.text: list[str] = []
        self.feed(text)

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.sources += [str(value) for name, value in attrs if name in {"src", "href"}]
        if tag not in _VOID:
            self.open.append(tag)

    @override
    def handle_endtag(self, tag: str) -> None:
        if tag not in _VOID:
            assert self.open.pop() == tag

    @override
    def handle_data(self, data: str) -> None:
        is_script = self.open[-1:] == ["script"]
        (self.scripts if is_script else self.text).append(data.strip())
