"""A reader of pages for the tests: the elements with their attributes and text, and what a page must never hold."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"meta", "link", "br", "hr", "img", "input"}
_LOADING = ("src", "href", "xlink:href", "srcset", "action", "data", "poster")


@dataclass
class Element:
    """One element: its name, attributes, its text and that of what it holds, and the names of those that hold it."""

    name: str
    attributes: dict[str, str]
    holders: tuple[str, ...]
    text: str = ""


@dataclass
class Page(HTMLParser):
    """A parsed page. Fails on elements that are not closed in their order."""

    source: str
    elements: list[Element] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self._open: list[Element] = []
        self.feed(self.source)
        self.close()
        assert not self._open, f"left open: {[element.name for element in self._open]}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"<{tag}> has an attribute twice"
        holders = tuple(element.name for element in self._open)
        element = Element(tag, {name: value or "" for name, value in attrs}, holders)
        self.elements.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"</{tag}> closes nothing"
        assert self._open[-1].name == tag, f"</{tag}> closes <{self._open[-1].name}>"
        self._open.pop()

    def handle_data(self, data: str) -> None:
        for element in self._open:
            element.text += data

    def all(self, name: str, **attributes: str) -> list[Element]:
        wanted = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items()}
        return [e for e in self.elements if e.name == name and wanted.items() <= e.attributes.items()]

    def one(self, name: str, **attributes: str) -> Element:
        found = self.all(name, **attributes)
        assert len(found) == 1, f"{len(found)} <{name}>"
        return found[0]

    @property
    def text(self) -> str:
        return self.one("body").text.replace("\N{NO-BREAK SPACE}", " ")


def check_page(source: str) -> Page:
    """What holds of every page: well formed, self-contained, without scripts, and readable without seeing it."""
    page = Page(source)
    for element in page.elements:
        assert element.name not in ("script", "iframe", "object", "embed"), element
        assert not any(name.startswith("on") for name in element.attributes), element
        for name in _LOADING:
            assert element.attributes.get(name, "data:").startswith(("data:", "#")), element
    assert "url(" not in source
    assert "@import" not in source
    assert page.one("html").attributes["lang"] == "en"
    assert "viewport" in [meta.attributes.get("name") for meta in page.all("meta")]
    assert "prefers-color-scheme: dark" in page.one("style").text
    assert page.one("title").text.strip()
    assert page.one("h1").text.strip()
    for plot in page.all("svg", role="img"):
        assert plot.attributes["aria-label"].strip()
    for table in page.all("table"):
        assert table.holders
    assert len(page.all("table")) == len(page.all("caption"))
    assert all(heading.attributes.get("scope") in ("col", "row") for heading in page.all("th"))
    assert "nan" not in page.text.lower().split()
    assert "None:" in page.text or "None" not in page.text
    return page
