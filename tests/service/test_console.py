"""The console as files: what a browser is told about them, what is not in them, and colours that can be read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.resources import files

import pytest
from starlette.testclient import TestClient

from service.keys import KeyRing
from service.routes.console import POLICY, TYPES
from tests.service.house import running, settings_in
from tests.service.test_api import problem

FOLDER = files("service") / "console"
TEXTS = {file.name: file.read_text(encoding="utf-8") for file in FOLDER.iterdir() if file.name.endswith(tuple(TYPES))}
SCRIPTS = [name for name in TEXTS if name.endswith(".js")]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    settings = settings_in(tmp_path_factory.mktemp("console"), workers=0)
    KeyRing(settings.keys_file).create("ann", "read")  # with keys there are, the console must still be reached
    with running(settings) as client:
        yield client


@pytest.mark.parametrize("name", ["/", *(f"/console/{name}" for name in TEXTS)])
def test_every_file_comes_without_a_key_with_its_type_and_the_policy(client: TestClient, name: str) -> None:
    answer = client.get(name)
    ending = f".{name.rpartition('.')[2]}" if "." in name else ".html"
    assert answer.status_code == 200
    assert answer.headers["content-type"] == f"{TYPES[ending]}; charset=utf-8"
    assert answer.headers["content-security-policy"] == POLICY
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["x-content-type-options"] == "nosniff"
    again = client.get(name, headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert client.head(name).headers["etag"] == answer.headers["etag"]


@pytest.mark.parametrize("name", ["none.js", "..%2fapi.py", "%2e%2e/api.py", "../console.py", "index.html%00", "index"])
def test_nothing_else_comes_from_there(client: TestClient, name: str) -> None:
    found = client.get(f"/console/{name}")
    assert found.status_code in (401, 404)
    if found.status_code == 404:
        problem(found, 404)


def test_the_data_still_asks_for_a_key(client: TestClient) -> None:
    problem(client.get("/v1/indexes"), 401)


def test_nothing_is_allowed_that_is_not_ours() -> None:
    assert POLICY.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "unsafe" not in POLICY
    assert "require-trusted-types-for 'script'; trusted-types 'none'" in POLICY


@pytest.mark.parametrize("name", TEXTS)
def test_nothing_is_loaded_from_elsewhere_and_no_text_can_become_html(name: str) -> None:
    text = TEXTS[name]
    addresses = set(re.findall(r"https?://[\w./-]+", text)) - {"http://www.w3.org/2000/svg"}
    assert not addresses
    for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "DOMParser", "eval(", "Function("):
        assert word not in text, word
    if name.endswith(".html"):
        assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\son\w+=|\sstyle=", text)


def test_every_file_that_is_named_is_there() -> None:
    named = set(re.findall(r'"console/([\w.-]+)"', TEXTS["index.html"]))
    for script in SCRIPTS:
        named |= set(re.findall(r'from "\./([\w.-]+)"', TEXTS[script]))
    assert named | {"index.html"} == TEXTS.keys()


@pytest.mark.parametrize("name", SCRIPTS)
def test_what_a_script_imports_is_exported_and_used(name: str) -> None:
    for given, other in re.findall(r'import \{([^}]+)\} from "\./([\w.-]+)"', TEXTS[name]):
        for imported in filter(None, map(str.strip, given.split(","))):
            assert re.search(rf"export (async )?(function\*?|const|class) {imported}\b", TEXTS[other]), imported
            assert len(re.findall(rf"\b{imported}\b", TEXTS[name])) > 1, f"{imported} is not used"


@pytest.mark.parametrize("name", TEXTS)
def test_a_file_says_what_it_is_and_is_short(name: str) -> None:
    assert len(TEXTS[name].splitlines()) < 400
    if not name.endswith(".html"):
        assert re.match(r"// \w[^\n]*[:,.]|/\* \w[^\n]*[:.]", TEXTS[name])


# Colours, by the custom properties of both schemes.

ON = {  # what it is: the least contrast, and which lies on which
    "text": (4.5, "ink paper, ink raised, ink accent-soft, muted paper, muted raised, muted faint"),
    "links and buttons": (4.5, "accent paper, accent raised, on-accent accent"),
    "words of a state": (4.5, "best paper, best best-soft, warn paper, warn warn-soft, bad paper, bad bad-soft"),
    "edges, bars and lights": (3, "edge paper, edge raised, edge faint, accent line, accent faint, best paper"),
}
BLOCKS = re.findall(r":root \{([^}]*)\}", TEXTS["console.css"])
SCHEMES = [dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", block)) for block in BLOCKS]


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("what", ON)
def test_contrast_is_that_of_wcag_aa(what: str, scheme: int) -> None:
    least, pairs = ON[what]
    colours = SCHEMES[scheme]
    for pair in pairs.split(", "):
        front, back = pair.split()
        assert contrast(colours[front], colours[back]) >= least, pair


def test_colours_stand_in_the_two_schemes_alone_and_sizes_of_text_are_in_rem() -> None:
    assert len(SCHEMES) == 2
    assert SCHEMES[0].keys() == SCHEMES[1].keys()
    rules = re.sub(r":root \{[^}]*\}", "", TEXTS["console.css"])
    assert not re.findall(r"#[0-9a-f]{3,8}\b(?=[^{}]*;)", rules)
    assert not re.findall(r"font(?:-size)?:[^;{}]*\dpx", rules)
    assert "prefers-reduced-motion: reduce" in rules
    assert "forced-colors: active" in rules


def contrast(one: str, other: str) -> float:
    """WCAG 2.2's contrast ratio of two #rrggbb colours."""
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
