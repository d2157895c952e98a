"""Drawings stand aside while a page is made, and come back as they were."""

from __future__ import annotations

import re

from failwell.site.aside import Aside, show_only

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


PAGE = "<html><body>\n<p>one<pre>a</pre>two <br>&quot;<pre>b</pre>three\n</body>\n</html>"


def test_whatever_sees_only_some_parts_changes_them_and_adds_to_the_page_and_leaves_the_rest() -> None:
    def see(body: str) -> str:
        seen.append(body)
        return body.replace("<pre>a</pre>", "<div>a</div>").replace("</body>", "<script></script></body>")

    seen: list[str] = []
    shown = show_only(re.compile("<pre>.*?</pre>"), PAGE, see)
    assert shown == PAGE.replace("<pre>a</pre>", "<div>a</div>").replace("</body>", "<script></script></body>")
    assert not any(word in seen[0] for word in ("one", "two", "three", "<html>"))


def test_a_page_without_such_a_part_is_not_shown() -> None:
    for html in (PAGE.replace("pre>", "p>"), "<pre>a page without a body</pre>"):
        assert show_only(re.compile("<pre>.*?</pre>"), html, lambda body: body + "seen") == html
