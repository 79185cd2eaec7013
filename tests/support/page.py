"""A page of HTML as a test looks at it."""

from html.parser import HTMLParser


class Page(HTMLParser):
    """Tags with their attributes, the text of table rows, and everything visible."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.rows: list[list[str]] = []
        self.text = ""
        self._cell = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self._cell = True
        if tag == "small" and self._cell:
            self.rows[-1][-1] += " | "

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._cell = False

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._cell:
            self.rows[-1][-1] += data

    def row(self, name: str) -> list[str]:
        """Return the cells of the first row whose heading begins with `name`."""
        return next(row for row in self.rows if row and row[0].startswith(name))
