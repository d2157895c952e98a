"""Every Python fence of pages, README and docstrings: found twice, by the runner and by a real parser."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

from markdown_it import MarkdownIt
from pytest_examples import CodeExample, find_examples

ROOT = Path(__file__).resolve().parents[2]
KEYS = {"raises", "clock"}

_markdown = MarkdownIt("commonmark")
_python = re.compile(r"py(thon3?)?\b|\{\s*\.py(thon3?)?\b", re.IGNORECASE)
_key = re.compile(r"""([\w-]+)=(["'])(.*?)\2""")


def files() -> list[Path]:
    """All files that may hold a snippet."""
    pages = sorted((ROOT / "docs").rglob("*.md"))
    modules = sorted((ROOT / "src").rglob("*.py"))
    return [ROOT / "README.md", *pages, *modules]


def examples() -> list[CodeExample]:
    """What the runner finds."""
    return list(find_examples(*files()))


def settings(example: CodeExample) -> dict[str, str]:
    """The keys of a fence, as written: ```python {raises="ConnectionError" clock="real"}."""
    line = example.path.read_text(encoding="utf-8").split("\n")[example.start_line - 1]  # the runner lower-cases it
    return {key: value for key, _, value in _key.findall(line)}


def fences(path: Path) -> list[str]:
    """What a real Markdown parser finds: the text of each Python fence."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return list(_fences(text))
    return [fence for docstring in _docstrings(text) for fence in _fences(docstring)]


def _docstrings(text: str) -> Iterator[str]:
    """Strings that stand alone: docstrings of modules, classes and functions, and those under attributes."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield inspect.cleandoc(node.value.value)


def _fences(text: str) -> Iterator[str]:
    for token in _markdown.parse(text):
        if token.type == "fence" and _python.match(token.info.strip()):
            yield token.content
        elif token.type == "code_block":  # indented: the body of a tab, of an admonition, of a docstring's section
            yield from _fences(token.content)
