"""`make screenshots`: every page as PNG files for a person to look at."""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

from tests.browser import served

WIDTHS = {"phone": 360, "desk": 1440}


def main(to: Path, only: str) -> None:
    to.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, served.serving(served.build(Path(folder))) as address:
        with served.browser() as browser:
            for scheme in ("light", "dark"):
                with browser.new_context(color_scheme=scheme, reduced_motion="reduce") as context:
                    page = context.new_page()
                    for path in served.pages():
                        if not re.search(only, path):
                            continue
                        for name, width in WIDTHS.items():
                            page.set_viewport_size({"width": width, "height": 900})
                            page.goto(f"{address}/{path}")
                            page.wait_for_function("!document.querySelector('pre.mermaid')")
                            file = to / f"{path.strip('/').replace('/', '-') or 'home'}-{name}-{scheme}.png"
                            page.screenshot(path=str(file), full_page=True)
                            print(file)


if __name__ == "__main__":
    main(served.ROOT / "screenshots", sys.argv[1] if len(sys.argv) > 1 else "")
