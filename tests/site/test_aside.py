"""Drawings stand aside while a page is made, and come back as they were."""

from __future__ import annotations

from failwell.site.aside import Aside

FIGURE = '<figure class="fw-drawing" tabindex="0">\n{}\n</figure>'


def test_drawings_come_back_as_they_were() -> None:
    drawings = [r'<svg class="a"><text>one \1</text>' + "\n\n</svg>", '<svg class="b"><text>two</text></svg>']
    text = "\n\n".join(FIGURE.format(drawing) for drawing in drawings)
    aside = Aside()
    put = aside.put(text)
    assert "<text>" not in put
    assert put.count("<svg") == 2
    assert aside.restore(f"<body>{put}</body>") == f"<body>{text}</body>"


def test_fragments_of_one_page_do_not_mix() -> None:
    aside = Aside()
    first, second = (aside.put(FIGURE.format(f"<svg>{word}</svg>")) for word in ("one", "two"))
    assert aside.restore(second + first) == FIGURE.format("<svg>two</svg>") + FIGURE.format("<svg>one</svg>")


def test_a_drawing_that_a_fence_shows_as_text_stays() -> None:
    text = "```xml\n<svg><text>words</text></svg>\n```"
    assert Aside().put(text) == text
