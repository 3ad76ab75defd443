"""What a test reads off the page, and does to it."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def shown_numbers(page, box: str = "#matrices", figure: int = 0) -> list[list[str]]:
    cells = page.locator(f"{box} figure").nth(figure).locator("[data-number]")
    found = {tuple(map(int, cell.get_attribute("data-number").split(","))): cell.text_content() for cell in cells.all()}
    size = 1 + max(row for row, _ in found)
    return [[found[row, column] for column in range(size)] for row in range(size)]


def printed(weights: np.ndarray, *, masked: bool = True) -> list[list[str]]:
    return [
        ["0" if masked and j > i else f"{weight:.2f}" for j, weight in enumerate(row)] for i, row in enumerate(weights)
    ]


def fill(page, rows) -> None:
    for i, row in enumerate(rows):
        for j, value in enumerate(row):
            page.fill(f"#sketch [data-at='{i},{j}']", value)


def exported(page, button: str) -> bytes:
    with page.expect_download() as download:
        page.click(button)
    return Path(download.value.path()).read_bytes()
