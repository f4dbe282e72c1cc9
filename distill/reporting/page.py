"""A self-contained HTML page: one look for all of ours, nothing loaded from anywhere, and all text escaped by type."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from string import Template


class Markup(str):
    """Text that is HTML already. Every other text is escaped when `tag` takes it in."""

    __slots__ = ()


def tag(_name: str, *children: str, **attributes: str | float | None) -> Markup:
    """An element: `tag("td", "a < b", class_="number")`.

    A trailing underscore of an attribute's name falls off, an inner one becomes a hyphen; None leaves it out.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{_name}{written}>{joined(*children)}</{_name}>")


def joined(*parts: str) -> Markup:
    """The parts one after another, each escaped unless it is markup."""
    return Markup("".join(part if isinstance(part, Markup) else _unbroken(escape(part)) for part in parts))


def _unbroken(text: str) -> str:
    """A number and its unit stay on one line."""
    return re.sub(r"(?<=\d) (?=(%|ms|min|[skMBh])(?!\w))", "\N{NO-BREAK SPACE}", text)


def page(title: str, *sections: Markup) -> str:
    """The whole document."""
    shell = files("distill.reporting").joinpath("page.html").read_text(encoding="utf-8")
    return Template(shell).substitute(title=escape(title), body=joined(*sections))


def heading(kind: str, title: str, *lead: str) -> Markup:
    """The page's head: what kind of page, its name, and what it says in one sentence."""
    return tag(
        "header", tag("p", "Transferset · ", kind, class_="eyebrow"), tag("h1", title), tag("p", *lead, class_="lead")
    )


def section(title: str, *content: str) -> Markup:
    return tag("section", tag("h2", title), *content)


def table(caption: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, marked: int | None = None) -> Markup:
    """A table whose first column names its rows; `marked` is the row to stand out. Scrolls by itself when narrow."""
    head = tag("tr", *(tag("th", column, scope="col") for column in columns))
    body = [
        tag(
            "tr",
            tag("th", cells[0], scope="row"),
            *(tag("td", cell) for cell in cells[1:]),
            class_="marked" if number == marked else None,
        )
        for number, cells in enumerate(rows)
    ]
    written = tag("table", tag("caption", caption), tag("thead", head), tag("tbody", *body))
    return tag("div", written, class_="scroll", role="region", aria_label=caption, tabindex=0)


def facts(pairs: Sequence[tuple[str, str]]) -> Markup:
    """Names and values, side by side."""
    return tag("dl", *(tag("div", tag("dt", name), tag("dd", value)) for name, value in pairs))
