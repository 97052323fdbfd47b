"""Make MergeScopeMath.woff2: letters of IBM Plex Sans, signs of IBM Plex Math, and indices that neither has.

    pip install fonttools brotli
    npm pack @ibm/plex-sans@1.1.0 @ibm/plex-math@1.1.0      # unpack each into a folder of its own
    python assets/fonts/make.py FOLDER_OF_SANS FOLDER_OF_MATH assets/fonts/MergeScopeMath.woff2
"""

from __future__ import annotations

import sys
from typing import Any

from fontTools.feaLib.builder import addOpenTypeFeaturesFromString
from fontTools.pens.boundsPen import BoundsPen
from fontTools.pens.recordingPen import DecomposingRecordingPen
from fontTools.pens.transformPen import TransformPen
from fontTools.pens.ttGlyphPen import TTGlyphPen
from fontTools.subset import Options, Subsetter
from fontTools.ttLib import TTFont

KEPT = [
    *range(0x20, 0x7F), *range(0x100, 0x180), *range(0x391, 0x3CA), 0x302, 0x303, 0x304,
    *map(ord, "±²³¹·×′⁰⁴⁵⁶⁷⁸⁹₀₁₂₃₄₅₆₇₈₉←↑→↓ℓ∂∏∑−√∞∫≈≠≤≥…✓"),
]  # fmt: skip
SIGNS = "‖⁺⁻⁽⁾₊₋∇∈∉∼⊙⊕⊗∥⊥∩∪∅⊂⊆≪≫≃∝∀∃∧∨⌈⌉⌊⌋⟨⟩■□▨▲△▼◆◇◉○●▸▾─┆⇒↦"
SUBSCRIPTS = dict(zip("aeoxhklmnpstiruvjβγρφχ", "ₐₑₒₓₕₖₗₘₙₚₛₜᵢᵣᵤᵥⱼᵦᵧᵨᵩᵪ", strict=True))
SUPERSCRIPTS = dict(zip("TNtkmijn", "ᵀᴺᵗᵏᵐⁱʲⁿ", strict=True))
HATS = {"\u0302": "τpxθsv", "\u0303": "KLτpθ", "\u0304": "sτθx"}
SMALL, LOW, HIGH = 0.64, -150, 250  # size of an index, and where it stands


def make(sans: TTFont, darker: TTFont, signs: TTFont) -> TTFont:
    """Return the font; `darker` gives the indices, which are as dark as the letters when small."""
    options = Options(hinting=False, name_IDs=[0, 13, 14], layout_features=[], notdef_outline=True)
    options.drop_tables += ["GPOS", "GSUB", "GDEF"]
    subsetter = Subsetter(options)
    subsetter.populate(unicodes=KEPT)
    subsetter.subset(sans)
    for sign in SIGNS:
        _add(sans, sign, signs, sign)
    _add(sans, "✕", signs, "×")
    _add(sans, "✗", darker, "×", (1.1, 0, 0.1, 1.1, -30, -30))
    for indices, height in ((SUBSCRIPTS, LOW), (SUPERSCRIPTS, HIGH)):
        for letter, index in indices.items():
            _add(sans, index, darker, letter, (SMALL, 0, 0, SMALL, 0, height))
    _add(sans, "┄", darker, "…", (1, 0, 0, 1, 0, 270))
    rules = [_hat(sans, mark, letter) for mark, letters in HATS.items() for letter in letters]
    sans.setGlyphOrder(sans["glyf"].glyphOrder)
    sans["maxp"].recalc(sans)
    addOpenTypeFeaturesFromString(sans, f"feature ccmp {{ {' '.join(rules)} }} ccmp;")
    for place, text in {1: "MergeScope Math", 2: "Regular", 4: "MergeScope Math", 6: "MergeScopeMath-Regular"}.items():
        sans["name"].setName(text, place, 3, 1, 0x409)
    sans.flavor = "woff2"
    return sans


def _add(font: TTFont, sign: str, source: TTFont, origin: str, matrix: tuple = (1, 0, 0, 1, 0, 0)) -> None:
    """Copy a glyph of another font through a matrix."""
    name, found, drawn = f"uni{ord(sign):04X}", source.getBestCmap()[ord(origin)], TTGlyphPen(None)
    pen = DecomposingRecordingPen(source.getGlyphSet())
    source.getGlyphSet()[found].draw(pen)
    pen.replay(TransformPen(drawn, matrix))
    _put(font, name, drawn.glyph(), round(source["hmtx"][found][0] * matrix[0]))
    for table in font["cmap"].tables:
        if table.isUnicode():
            table.cmap[ord(sign)] = name


def _hat(font: TTFont, mark: str, letter: str) -> str:
    """Add a letter under its mark as one glyph; returns the rule that puts it in their place."""
    base, hat = font.getBestCmap()[ord(letter)], font.getBestCmap()[ord(mark)]
    under, over = _bounds(font, base), _bounds(font, hat)
    shift = round((under[0] + under[2] - over[0] - over[2]) / 2), max(0, round(under[3] + 50 - over[1]))
    pen = TTGlyphPen(font.getGlyphSet())
    pen.addComponent(base, (1, 0, 0, 1, 0, 0))
    pen.addComponent(hat, (1, 0, 0, 1, *shift))
    _put(font, f"{base}_{hat}", pen.glyph(), font["hmtx"][base][0])
    return f"sub {base} {hat} by {base}_{hat};"


def _put(font: TTFont, name: str, glyph: Any, width: int) -> None:
    font["glyf"][name] = glyph
    glyph.recalcBounds(font["glyf"])
    font["hmtx"][name] = (width, glyph.xMin)


def _bounds(font: TTFont, name: str) -> tuple[float, float, float, float]:
    pen = BoundsPen(font.getGlyphSet())
    font.getGlyphSet()[name].draw(pen)
    return pen.bounds


if __name__ == "__main__":
    sans_folder, math_folder, target = sys.argv[1:]
    style = "{}/package/fonts/complete/woff2/IBMPlex{}.woff2".format
    regular, medium = (TTFont(style(sans_folder, f"Sans-{weight}")) for weight in ("Regular", "Medium"))
    make(regular, medium, TTFont(style(math_folder, "Math-Regular"))).save(target)
