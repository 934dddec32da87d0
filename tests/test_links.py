"""README, CHANGELOG and docs: their links lead somewhere, and the files they name exist."""

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
ROOMS = ("benchmarks", "docs", "nodes", "sama_core", "subgraphs", "tests", "web", "workflows")
SOURCES = (".py", ".toml")

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def without_code(text: str) -> str:
    """The text without indented blocks and code spans, in which brackets are no links."""
    lines = [line for line in text.splitlines() if not line.startswith("    ")]
    return re.sub(r"`[^`]*`", "", "\n".join(lines))


def links(page: Path) -> list[str]:
    return re.findall(r"\]\(([^)\s]+)\)", without_code(page.read_text(encoding="utf-8")))


def present_text(page: Path) -> str:
    """The page without the first column of CHANGELOG's tables, which holds former names."""
    text = page.read_text(encoding="utf-8")
    return re.sub(r"^\|[^|]*\|", "|", text, flags=re.MULTILINE) if page == PAGES[1] else text


@cache
def anchors(page: Path) -> frozenset[str]:
    """The anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    kept = [re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings]
    return frozenset(heading.replace(" ", "-") for heading in kept)


@cache
def source_names() -> frozenset[str]:
    """Names of all sources and recipes, without their folders."""
    found = {path.name for room in ROOMS for path in (ROOT / room).rglob("*.*")}
    found |= {path.name for path in ROOT.glob("*.*")}
    return frozenset(name for name in found if name.endswith(SOURCES))


@each_page
def test_links_lead_to_files_and_headings(page):
    broken = []
    for link in links(page):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


@each_page
def test_files_that_are_named_exist(page):
    """Paths into the repository, and sources that are named without their folder."""
    text = present_text(page)
    paths = re.findall(rf"(?<![\w/.-])(?:{'|'.join(ROOMS)})(?:/[\w.-]+)+", text)
    names = re.findall(r"(?<![\w/.-])[\w-]+\.(?:py|toml)\b", text)
    missing = [path for path in paths if not (ROOT / path.rstrip(".")).exists()]
    missing += [name for name in names if name not in source_names()]
    assert missing == []


@each_page
def test_modules_that_are_run_exist(page):
    for module in re.findall(r"-m ((?:sama_core|benchmarks|tests)[\w.]*)", present_text(page)):
        path = ROOT.joinpath(*module.split("."))
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), module


@each_page
def test_pictures_say_what_they_show(page):
    pictures = re.findall(r"!\[([^\]]*)\]", page.read_text(encoding="utf-8"))
    assert [words for words in pictures if len(words.split()) < 3] == []


def test_every_page_is_linked_from_the_readme_or_from_a_page_that_is():
    seen, wanted = set(), [PAGES[0]]
    while wanted:
        page = wanted.pop()
        if page in seen:
            continue
        seen.add(page)
        targets = [(page.parent / link.partition("#")[0]).resolve() for link in links(page)]
        wanted += [path for path in targets if path.suffix == ".md" and path.is_file()]
    assert sorted(set(PAGES) - seen) == []


@each_page
def test_prose_is_wrapped(page):
    """At 100 columns, as the code; tables, commands and pictures may be longer."""
    lines = page.read_text(encoding="utf-8").splitlines()
    prose = [line for line in lines if not line.startswith(("|", " " * 4, "!"))]
    assert [line for line in prose if len(line) > 100] == []
