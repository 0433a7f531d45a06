#!/bin/sh
# Makes the pictures of this folder from those in the Debian package lomiri-wallpapers-16.04 (see README.md).
# Needs python3-pil and libjpeg-turbo-progs.
set -e
tmp=$(mktemp -d)
trap 'rm -r "$tmp"' EXIT
(cd "$tmp" && apt-get download lomiri-wallpapers-16.04 && dpkg -x lomiri-*.deb .)
/usr/bin/python3 - "$tmp/usr/share/backgrounds" <<'PY'
import sys
from PIL import Image
def make(name, out, square):
    im = Image.open(sys.argv[1] + "/" + name).convert("RGB")
    w, h = im.size
    if square:
        im = im.crop(((w - h) // 2, 0, (w - h) // 2 + h, h))
    for edge, quality in ((3000, 88), (1400, 90)):
        w, h = im.size
        small = im.resize((edge, round(h * edge / w)), Image.LANCZOS)
        small.save("%s-%d.jpg" % (out, edge), quality=quality, subsampling="4:2:0", optimize=False)
make("life_by_Aitzol_Berasategi.jpg", "dense", False)
make("seeding_by_Clements_Engelhardt.jpg", "ordinary", True)
PY
for p in dense ordinary; do
	jpegtran -copy none -progressive -outfile $p-1400-progressive.jpg $p-1400.jpg
	rm $p-1400.jpg
done
