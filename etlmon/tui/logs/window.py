"""Where the reader stands in the lines: the rows on the screen, the cursor, following or not. Pure.

The screen hangs on one line's number, so nothing that comes at the end or goes at the front moves a row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from etlmon.tui.logs.state import LogLines

Row = tuple[int, int]
"""A row of the screen: a line's number, and which of that line's rows it is."""


class LogWindow:
    """See the module. ``n_rows`` says how many rows a line takes."""

    def __init__(self, lines: LogLines, n_rows: Callable[[int], int]) -> None:
        self.lines = lines
        self.n_rows = n_rows
        self.height = 1
        self.following = True
        self.cursor = 0
        self.top: Row = (0, 0)
        self.blanks = 0
        """Rows at the top whose lines have been let go since; they stay empty so that the rest need not move."""
        self._seen_to = 0
        self._drawn: list[Row] = []

    @property
    def n_waiting(self) -> int:
        """How many shown lines came since following stopped and have not been on the screen."""
        return 0 if self.following else self.lines.n_shown - self.lines.place(self._seen_to)

    def rows(self) -> list[Row | None]:
        """What each row of the screen shows, None for a blank at the top; fewer than ``height`` when lines end."""
        self._settle()
        drawn = list(self._forward(self.top, self.height - self.blanks))
        self._drawn = drawn
        if drawn:
            self._seen_to = max(self._seen_to, drawn[-1][0] + 1)
        return [*([None] * self.blanks), *drawn]

    def _settle(self) -> None:
        """After lines came and went: the end when following; else the same rows where they were."""
        lines = self.lines
        if not lines.n_shown:
            self.top, self.blanks, self._drawn = (lines.first, 0), 0, []
            return
        if self.following:
            self.cursor = lines.number(lines.n_shown - 1)
            self._show_end()
            return
        if not lines.is_shown(self.top[0]):
            self._hang_on()
        if not lines.is_shown(self.cursor):
            self.cursor = self._nearest(self.cursor)

    def _hang_on(self) -> None:
        """The line at the top has gone: the first on the screen that has not keeps its row."""
        for y, row in enumerate(self._drawn):
            if self.lines.is_shown(row[0]):
                self.top, self.blanks = row, self.blanks + y
                return
        self.top, self.blanks = (self._nearest(self.top[0]), 0), 0

    def _nearest(self, number: int) -> int:
        lines = self.lines
        return lines.number(min(lines.place(number), lines.n_shown - 1))

    # Walking over rows

    def _forward(self, start: Row, most: int) -> Iterator[Row]:
        number, sub = start
        place, n_shown = self.lines.place(number), self.lines.n_shown
        while place < n_shown and most > 0:
            number = self.lines.number(place)
            for each in range(sub, self.n_rows(number)):
                if most <= 0:
                    return
                most -= 1
                yield number, each
            place, sub = place + 1, 0

    def _back(self, start: Row, most: int) -> Row:
        """The row ``most`` rows before ``start``, or the first there is."""
        number, sub = start
        place = self.lines.place(number)
        while most > sub:
            if place == 0:
                return self.lines.number(0), 0
            most -= sub + 1
            place -= 1
            number = self.lines.number(place)
            sub = self.n_rows(number) - 1
        return number, sub - most

    def _end(self) -> Row:
        """The top row when the last row of all is at the bottom."""
        last = self.lines.number(self.lines.n_shown - 1)
        return self._back((last, self.n_rows(last) - 1), self.height - 1)

    def _show_end(self) -> None:
        self.top, self.blanks = self._end(), 0

    # Moving

    def follow(self) -> None:
        """Go to the end and stay there."""
        self.following = True

    def hold(self) -> None:
        """Stand still: what comes is counted."""
        if self.following:
            self.following = False
            self._seen_to = self.lines.end

    def scroll(self, rows: int) -> None:
        """Move the screen; at its end the end is followed. The cursor stays on the screen."""
        if not self.lines.n_shown:
            return
        self._settle()
        if rows < 0:
            self.hold()
            self.top, self.blanks = self._back(self.top, -rows), 0
        elif not self.following:
            *_, ahead = self._forward(self.top, rows + 1)
            end = self._end()
            self.top, self.blanks = min(ahead, end), 0
            if self.top == end:
                self.follow()
        drawn = list(self._forward(self.top, self.height - self.blanks))
        if drawn and not self.following:
            self.cursor = min(max(self.cursor, drawn[0][0]), drawn[-1][0])

    def move(self, steps: int) -> None:
        """Move the cursor over lines; past the last line the end is followed."""
        if not self.lines.n_shown:
            return
        self._settle()
        place = self.lines.place(self.cursor) + steps
        if steps > 0 and place >= self.lines.n_shown:
            self.follow()
            return
        self.go(self.lines.number(max(0, place)))

    def page(self, pages: float) -> None:
        """Move the screen by its height (less a row), and the cursor with it."""
        rows = round(pages * max(1, self.height - 1))
        if rows < 0 and self.lines.n_shown and self._back(self.top, 1) == self.top and not self.following:
            self.home()
            return
        y = self._cursor_row()
        self.scroll(rows)
        drawn = list(self._forward(self.top, self.height - self.blanks))
        if drawn and not self.following:
            self.cursor = drawn[min(y, len(drawn) - 1)][0]

    def home(self) -> None:
        """To the first line."""
        if self.lines.n_shown:
            self.hold()
            self.cursor = self.lines.number(0)
            self.top, self.blanks = (self.cursor, 0), 0

    def go(self, number: int, *, centre: bool = False) -> None:
        """The cursor to this line, which comes onto the screen; ``centre`` puts it a third down when it was not."""
        if not self.lines.n_shown:
            return
        self._settle()
        self.hold()
        self.cursor = self._nearest(number)
        rows = list(self._forward(self.top, self.height - self.blanks))
        start, end = (self.cursor, 0), (self.cursor, self.n_rows(self.cursor) - 1)
        if rows and rows[0] <= start and end <= rows[-1]:
            return
        if centre and rows and not rows[0] <= start <= rows[-1]:
            self.top = min(self._back(start, self.height // 3), self._end())
        elif rows and start < rows[0]:
            self.top = start
        else:
            self.top = min(start, self._back(end, self.height - 1))
        self.blanks = 0

    def click(self, y: int) -> bool:
        """The cursor to the line in row ``y``; False when there is none."""
        rows = self.rows()
        row = rows[y] if y < len(rows) else None
        if row is not None:
            self.hold()
            self.cursor = row[0]
        return row is not None

    # What is shown changes

    def _cursor_row(self) -> int:
        drawn = self._drawn
        return next((y for y, row in enumerate(drawn) if row[0] == self.cursor), 0) + self.blanks

    def rechosen(self) -> None:
        """Another choice of lines, or other rows of them: the cursor's line keeps its row of the screen."""
        if self.following or not self.lines.n_shown:
            return
        y = self._cursor_row()
        self.cursor = self._nearest(self.cursor)
        self.top, self.blanks = min(self._back((self.cursor, 0), y), self._end()), 0
