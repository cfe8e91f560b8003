"""Make the pictures of docs/gallery.md anew: run the lines of the page.

python docs/gallery.py
python docs/gallery.py FOLDER    # into FOLDER/gallery
"""

import os
import re
import sys
from pathlib import Path

from PIL import Image

PAGE = Path(__file__).with_suffix(".md")
WIDTH = 560  # pixels


def main(folder: Path) -> None:
    """Run the page's code in a folder, and make the pictures small."""
    code = re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    os.chdir(folder)
    pictures = Path("gallery")
    pictures.mkdir(exist_ok=True)
    exec("\n".join(code), {})
    for path in pictures.glob("*.png"):
        picture = Image.open(path).convert("RGB")
        picture.thumbnail((WIDTH, WIDTH))
        picture.quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(
            path, optimize=True
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else PAGE.parent)
