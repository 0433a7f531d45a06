#!/usr/bin/python3
"""Compares with Pillow's thumbnail() and libvips in process, one thread each, both C with SIMD.

Needs python3-pil, libvips42, libvips-tools and ffmpeg (Debian), and Go. Prints the CPU time of each as the median of rounds that all
take in turns. With arguments it measures only the pictures whose title contains one of them:

    ./compare.py [TIFF GIF ...]
"""
import ctypes, glob, io, os, statistics, subprocess, sys, tempfile, time

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
    if image.format != "JPEG" and image.mode != "RGB":
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


def cpu_time(make, data, size):
    start = time.process_time()
    try:
        make(data, size)
    except (OSError, RuntimeError):  # it cannot read this kind
        return float("nan")
    return 1000 * (time.process_time() - start)


def make_pictures(folder):
    """Writes the pictures of 1400 pixels as the usual kinds of every other format."""
    for name in glob.glob(folder + "/*-1400.jpg"):
        base, image = name[:-4], Image.open(name).convert("RGB")
        palette, rgba = image.quantize(256), image.copy()
        rgba.putalpha(Image.radial_gradient("L").resize(image.size))

        for kind, picture in ("rgb", image), ("palette", palette), ("rgba", rgba):
            picture.save("%s-%s.png" % (base, kind))
        for kind, picture in ("24-bit", image), ("32-bit", rgba), ("palette", palette):
            picture.save("%s-%s.bmp" % (base, kind))
        run("ffmpeg", "-loglevel", "error", "-i", base + "-rgb.png", "-pix_fmt", "rgb565le", base + "-16-bit.bmp")
        palette.save(base + "-still.gif", interlace=0)
        palette.save(base + "-interlaced.gif", interlace=1)
        turned = [image.rotate(10 * i).resize((700, 700)).quantize(256) for i in range(12)]
        turned[0].save(base + "-animated-700.gif", save_all=True, append_images=turned[1:])
        image.save(base + "-lossy.webp", quality=90)
        image.save(base + "-lossless.webp", lossless=True)
        rgba.save(base + "-lossy-alpha.webp", quality=90)
        image.convert("CMYK").save(base + "-CMYK-LZW.tif", compression="tiff_lzw")
        rgba.save(base + "-rgba-LZW.tif", compression="tiff_lzw")
        palette.save(base + "-palette-LZW.tif", compression="tiff_lzw")
        for kind, operation, option in (
            ("interlaced.png", "copy", "interlace"),
            ("16-bit.png", "rgb16", ""),
            ("plain.tif", "copy", "compression=none"),
            ("LZW.tif", "copy", "compression=lzw,predictor=none"),
            ("LZW-predictor.tif", "copy", "compression=lzw,predictor=horizontal"),
            ("deflate.tif", "copy", "compression=deflate,predictor=horizontal"),
            ("JPEG.tif", "copy", "compression=jpeg,Q=90"),
            ("JPEG-tiles.tif", "copy", "compression=jpeg,Q=90,tile"),
            ("deflate-tiles.tif", "copy", "compression=deflate,predictor=horizontal,tile"),
            ("16-bit-LZW.tif", "rgb16", "compression=lzw,predictor=horizontal"),
            ("16-bit-plain.tif", "rgb16", "compression=none"),
            ("grey-LZW.tif", "b-w", "compression=lzw,predictor=horizontal"),
        ):
            to = "%s-%s[%s]" % (base, kind, option)
            if operation == "copy":
                run("vips", "copy", base + "-rgb.png", to)
            else:
                run("vips", "colourspace", base + "-rgb.png", to, operation)


def run(*command):
    subprocess.run(command, check=True)


def title(name):
    """Returns what a row calls a picture: "dense-1400-rgb.png" is "dense 1400 rgb PNG"."""
    base, extension = os.path.splitext(os.path.basename(name))
    formats = {".jpg": "", ".tif": " TIFF", ".webp": " WebP"}
    return base.replace("-", " ") + formats.get(extension, " " + extension[1:].upper())


def compare(bench, name, size):
    """Measures one picture and returns the medians of ours, Pillow's and libvips' time in ms."""
    with open(name, "rb") as f:
        data = f.read()
    rounds = []
    for _ in range(ROUNDS + 1):
        bench.stdin.write("%d %s\n" % (size, name))
        bench.stdin.flush()
        rounds.append((float(bench.stdout.readline()), cpu_time(pillow, data, size), cpu_time(libvips, data, size)))
    return [statistics.median(times) for times in zip(*rounds[1:])]  # ours reads the file in the first round


def main():
    with tempfile.TemporaryDirectory() as folder:
        binary = os.path.join(folder, "bench")
        subprocess.run(["go", "build", "-o", binary, "."], check=True, cwd=os.path.dirname(os.path.abspath(__file__)))
        run(binary, "-dump", folder)
        make_pictures(folder)
        print("| picture → thumbnail, ms of CPU | thumbcache | Pillow | libvips |\n|---|---:|---:|---:|")
        with subprocess.Popen([binary, "-serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as bench:
            for extension in "jpg", "png", "webp", "tif", "bmp", "gif":
                for name in sorted(glob.glob("%s/*.%s" % (folder, extension))):
                    if sys.argv[1:] and not any(a in title(name) for a in sys.argv[1:]):
                        continue
                    for size in (256, 512) if extension == "jpg" and "-500" not in name else (256,):
                        ours, p, v = compare(bench, name, size)
                        print("| %s → %d | **%.1f** | %.1f (%.2fx) | %.1f (%.2fx) |" % (title(name), size, ours, p, ours / p, v, ours / v))
                        sys.stdout.flush()


main()
