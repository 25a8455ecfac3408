"""Make the font of our plots again: ``python make_font.py [NotoSansCJK-Regular.ttc]``.

Plots must show Chinese on a fresh machine, and no Chinese font is there. So the package brings one: the Simplified
Chinese face of Noto Sans CJK (SIL Open Font License 1.1, see OFL.txt) cut down to GB 2312, the 5,401 common Traditional
characters of Big5 (a base model often writes those), Latin, punctuation and the symbols of our sentences, without the
layout features that plots never use. It carries another name, so that an installed Noto is never taken in its place.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from fontTools import subset
from fontTools.ttLib import TTCollection, TTFont

SOURCE = "/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc"  # Debian: fonts-noto-cjk
FACE = "Noto Sans CJK SC"
FAMILY = "Resonance Sans SC"
TARGET = Path(__file__).with_name("ResonanceSansSC-Regular.otf")
SYMBOLS = "–—‘’“”…‰′″←↑→↓⇒≈≠≤≥−×÷±·•●○■□▲△▼▽◆◇★☆✓①②③④⑤⑥⑦⑧⑨⑩αβγμπσ°℃¥￥€²³½"


def main(source: str = SOURCE) -> None:
    """Write the font beside this script and print its size."""
    font = _face(source)
    options = subset.Options(
        layout_features=[], hinting=False, desubroutinize=False, name_IDs=[0, 1, 2, 3, 4, 5, 6, 13, 14]
    )
    subsetter = subset.Subsetter(options)
    subsetter.populate(text="".join(characters()))
    subsetter.subset(font)
    _rename(font)
    font["head"].modified = font["head"].created  # the same input gives the same bytes
    font.recalcTimestamp = False
    font.save(TARGET)
    print(f"{TARGET.name}: {len(font.getBestCmap())} characters, {TARGET.stat().st_size / 1e6:.2f} MB")


def characters() -> Iterator[str]:
    """ASCII, Latin-1, GB 2312, the first level of Big5 and our symbols."""
    yield from (chr(code) for code in (*range(0x20, 0x7F), *range(0xA0, 0x100)))
    for row in range(0xA1, 0xF8):
        for cell in range(0xA1, 0xFF):
            yield bytes((row, cell)).decode("gb2312", errors="ignore")
    for row in range(0xA4, 0xC7):
        for cell in (*range(0x40, 0x7F), *range(0xA1, 0xFF)):
            yield bytes((row, cell)).decode("big5", errors="ignore")
    yield from SYMBOLS


def _face(source: str) -> TTFont:
    faces = {font["name"].getDebugName(1): font for font in TTCollection(source).fonts}
    return faces[FACE]


def _rename(font: TTFont) -> None:
    compact = FAMILY.replace(" ", "")
    names = {1: FAMILY, 2: "Regular", 3: f"{compact}-Regular", 4: FAMILY, 6: f"{compact}-Regular"}
    for record in font["name"].names:
        if record.nameID in names:
            record.string = names[record.nameID]
    font["CFF "].cff.fontNames = [names[6]]
    top = font["CFF "].cff.topDictIndex[0]
    top.FullName, top.FamilyName = FAMILY, FAMILY


if __name__ == "__main__":
    main(*sys.argv[1:])
