"""Check that every link inside the built pages leads somewhere: files, pictures and anchors.

python docs/links.py docs/_build/html
"""

from __future__ import annotations

import sys
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """The anchors of a page, and what it refers to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("id", "name") and value:
                self.anchors.add(value)
            elif name in ("href", "src") and value:
                self.links.add(value)


page = cache(Page)


def broken(root: Path) -> list[str]:
    """Links of the pages below `root` that lead nowhere, as "page: link".

    Addresses elsewhere are not asked for, but scripts, styles, pictures and fonts must lie here.
    """
    found = []
    for path in sorted(root.rglob("*.html")):
        if "_static" in path.relative_to(root).parts:  # templates of the theme
            continue
        for link in sorted(page(path).links):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            anchor = unquote(parts.fragment)
            is_known = not anchor or target.suffix != ".html" or (target.is_file() and anchor in page(target).anchors)
            if not target.exists() or not is_known:
                found.append(f"{path.relative_to(root)}: {link}")
    return found


def main(root: Path) -> int:
    """Report; the exit status."""
    bad = broken(root)
    n = len(list(root.rglob("*.html")))
    print("\n".join(f"broken link: {link}" for link in bad) or f"the links of {n} pages lead somewhere")
    print(f"open {(root / 'index.html').resolve()}")
    return bool(bad) or not n


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
