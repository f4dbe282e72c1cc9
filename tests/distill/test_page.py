"""The page: whatever text goes in, it comes out as text."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from distill.reporting.page import Markup, facts, heading, joined, page, section, table, tag
from tests.distill.pages import Page, check_page

# Text as a browser keeps it: no lone surrogates, no zero byte, no carriage return (a parser makes it a newline).
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00\r\N{NO-BREAK SPACE}"))
EVIL = "</style><script>alert('1')</script>\"&amp;<b>"


@given(TEXT)
def test_any_text_comes_out_as_it_went_in(text: str) -> None:
    found = Page(f"<body>{tag('p', text)}</body>")
    assert found.text == text


@given(TEXT)
def test_any_attribute_comes_out_as_it_went_in(text: str) -> None:
    assert Page(tag("p", aria_label=text)).one("p").attributes == {"aria-label": text}


def test_markup_is_not_escaped_twice() -> None:
    inner = tag("b", "a & b")
    assert tag("p", inner, " < c") == "<p><b>a &amp; b</b> &lt; c</p>"
    assert isinstance(joined(inner, "x"), Markup)


def test_no_part_of_a_page_lets_markup_through() -> None:
    whole = page(
        EVIL,
        heading(EVIL, EVIL, EVIL),
        section(EVIL, EVIL, facts([(EVIL, EVIL)])),
        table(EVIL, [EVIL, EVIL], [[EVIL, EVIL]], marked=0),
    )
    found = check_page(whole)
    assert "script" not in {element.name for element in found.elements}
    assert found.one("h1").text == EVIL
    assert found.one("title").text == EVIL
    assert found.all("td")[0].text == EVIL


def test_a_number_stays_with_its_unit() -> None:
    kept = tag("p", "80.7 % of 22.7 M in 3 ms, 4 minutes, 5 sets").replace("\N{NO-BREAK SPACE}", "~")
    assert kept == "<p>80.7~% of 22.7~M in 3~ms, 4 minutes, 5 sets</p>"


def test_the_marked_row_is_the_only_one_that_stands_out() -> None:
    found = Page(table("t", ["", "n"], [["a", "1"], ["b", "2"]], marked=1))
    assert [row.text for row in found.all("tr", class_="marked")] == ["b2"]
    assert [cell.text for cell in found.all("th", scope="row")] == ["a", "b"]


def test_a_page_asks_the_network_for_nothing() -> None:
    whole = page("t", heading("k", "t", "l"))
    assert not re.search(r"https?:|//\w", whole)
    assert "default-src 'none'" in whole


def test_light_and_dark_define_the_same_colours() -> None:
    style = Page(page("t", heading("k", "t", "l"))).one("style").text
    light, dark = re.findall(r":root \{(.*?)\}", style, re.S)
    names = set(re.findall(r"(--\w[\w-]*):", dark))
    assert names == set(re.findall(r"(--\w[\w-]*):", light)) - {"--sans", "--mono"}
    assert set(re.findall(r"var\((--[\w-]+)\)", style)) <= names | {"--sans", "--mono"}


def test_all_text_has_the_contrast_that_wcag_asks_for() -> None:
    style = Page(page("t", heading("k", "t", "l"))).one("style").text
    for scheme in re.findall(r":root \{(.*?)\}", style, re.S):
        colours = dict(re.findall(r"(--[\w-]+): (#[0-9a-f]{6})", scheme))
        for ink in ("--ink", "--muted", "--accent", "--best", "--warn"):
            for paper in ("--paper", "--raised", "--best-soft"):
                assert _contrast(colours[ink], colours[paper]) >= 4.5, (ink, paper)


def _contrast(one: str, other: str) -> float:
    """The contrast ratio of WCAG 2."""
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
