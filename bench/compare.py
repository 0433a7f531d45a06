#!/usr/bin/python3
"""Compares with Pillow's thumbnail() and libvips in process, one thread each, both C with SIMD.

Needs python3-pil, libvips42 and libvips-tools (Debian), and Go. Prints a table; all of it is from one run, in turns.
"""
import ctypes, glob, io, os, subprocess, sys, tempfile, time

os.environ["VIPS_CONCURRENCY"] = "1"
from PIL import Image

vips = ctypes.CDLL("libvips.so.42")
vips.vips_init(b"compare")
gobject = ctypes.CDLL("libgobject-2.0.so.0")
glib = ctypes.CDLL("libglib-2.0.so.0")
gobject.g_object_unref.argtypes = [ctypes.c_void_p]
glib.g_free.argtypes = [ctypes.c_void_p]
vips.vips_cache_set_max(0)  # or it would remember the thumbnail

ROUNDS = 15


def pillow(data, size):
    image = Image.open(io.BytesIO(data))
    if image.format == "PNG" and image.mode != "RGB":
        image = image.convert("RGB")  # of palettes and 16 bits Pillow scales less
    image.thumbnail((size, size), Image.LANCZOS)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=85)


def libvips(data, size):
    image, buffer, length = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_size_t()
    if vips.vips_thumbnail_buffer(ctypes.c_char_p(data), ctypes.c_size_t(len(data)), ctypes.byref(image), ctypes.c_int(size), ctypes.c_void_p()):
        raise RuntimeError("vips_thumbnail_buffer")
    if vips.vips_image_write_to_buffer(image, b".jpg[Q=85]", ctypes.byref(buffer), ctypes.byref(length), ctypes.c_void_p()):
        raise RuntimeError("vips_image_write_to_buffer")
    glib.g_free(buffer)
    gobject.g_object_unref(image)


def fastest(make, data, size):
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        make(data, size)
        times.append(time.perf_counter() - start)
    return 1000 * min(times)


def make_pngs(folder):
    """Writes the pictures of 1400 pixels as the usual kinds of PNG."""
    for name in glob.glob(folder + "/*-1400.jpg"):
        base, image = name[:-4], Image.open(name).convert("RGB")
        image.save(base + "-rgb.png")
        image.quantize(256).save(base + "-palette.png")
        image.putalpha(Image.radial_gradient("L").resize(image.size))
        image.save(base + "-rgba.png")
        for command in (
            ["pngsave", base + "-rgb.png", base + "-interlaced.png", "--interlace"],
            ["colourspace", base + "-rgb.png", base + "-16-bit.png", "rgb16"],
        ):
            subprocess.run(["vips"] + command, check=True)


with tempfile.TemporaryDirectory() as folder:
    bench = os.path.join(folder, "bench")
    subprocess.run(["go", "build", "-o", bench, "."], check=True, cwd=os.path.dirname(os.path.abspath(__file__)))
    subprocess.run([bench, "-dump", folder], check=True)
    print("| picture → thumbnail, ms | thumbcache | Pillow | libvips |\n|---|---:|---:|---:|")
    make_pngs(folder)
    for name in sorted(glob.glob(folder + "/*.jpg")) + sorted(glob.glob(folder + "/*.png")):
        for size in (256, 512):
            if size == 512 and ("-500" in name or name.endswith(".png")):
                continue
            with open(name, "rb") as f:
                data = f.read()
            ours = float(subprocess.run([bench, "-file", name, "-size", str(size), "-rounds", str(ROUNDS)], check=True, capture_output=True).stdout)
            p, v = fastest(pillow, data, size), fastest(libvips, data, size)
            title = os.path.basename(name).replace(".jpg", "").replace(".png", " PNG").replace("-", " ")
            print("| %s → %d | **%.1f** | %.1f (%.2fx) | %.1f (%.2fx) |" % (title, size, ours, p, ours / p, v, ours / v))
            sys.stdout.flush()
