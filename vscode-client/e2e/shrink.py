"""``python shrink.py FOLDER`` stores the pictures of a folder with the colours that they need."""

import sys
from pathlib import Path

from PIL import Image

COLOURS = 192
MOST_BYTES = 250_000

for file in sorted(Path(sys.argv[1]).glob("*.png")):
    picture = Image.open(file)
    if picture.mode != "P":
        # Dithering would put noise into plain areas, and make the file larger.
        few = picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
        few.save(file, optimize=True)
    size = file.stat().st_size
    print(f"{file.name}: {picture.width} × {picture.height}, {size / 1000:.0f} kB")
    if size > MOST_BYTES:
        sys.exit(f"{file.name} is larger than {MOST_BYTES / 1000:.0f} kB")
