// ThumbHash (https://evanw.github.io/thumbhash/): a blurred picture in about 20 bytes.

// decodeBase64 returns the bytes of a hash.
export const decodeBase64 = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));

// paintHash draws the picture of a hash into a canvas, and resizes the canvas to that picture: at most 32 x 32 pixels.
export function paintHash(canvas, hash) {
  const { width, height, data } = decodeHash(hash);
  canvas.width = width;
  canvas.height = height;
  canvas.getContext("2d").putImageData(new ImageData(data, width, height), 0, 0);
}

// decodeHash returns the picture of a hash as RGBA pixels. The format is a header with the constant terms, followed by the
// cosine terms, four bits each: lightness, yellow-blue, red-green, and alpha if present.
export function decodeHash(hash) {
  const header = hash[0] | hash[1] << 8 | hash[2] << 16;
  const header2 = hash[3] | hash[4] << 8;
  const hasAlpha = header >> 23 === 1;
  const landscape = header2 >> 15 === 1;
  const full = hasAlpha ? 5 : 7;
  const nx = landscape ? full : header2 & 7;
  const ny = landscape ? header2 & 7 : full;
  const lx = Math.max(3, nx), ly = Math.max(3, ny);

  let at = (hasAlpha ? 6 : 5) * 2; // position, in half bytes
  const terms = (nx, ny, scale) => {
    const list = [];
    for (let cy = 0; cy < ny; cy++) {
      for (let cx = cy ? 0 : 1; cx * ny < nx * (ny - cy); cx++, at++) {
        const four = hash[at >> 1] >> (at & 1) * 4 & 15;
        list.push({ cx, cy, value: (four / 7.5 - 1) * scale });
      }
    }
    return list;
  };
  const channel = (constant, list) => ({ constant, list });
  const l = channel((header & 63) / 63, terms(lx, ly, (header >> 18 & 31) / 31));
  const p = channel((header >> 6 & 63) / 31.5 - 1, terms(3, 3, (header2 >> 3 & 63) / 63 * 1.25));
  const q = channel((header >> 12 & 63) / 31.5 - 1, terms(3, 3, (header2 >> 9 & 63) / 63 * 1.25));
  const a = hasAlpha ? channel((hash[5] & 15) / 15, terms(5, 5, (hash[5] >> 4) / 15)) : channel(1, []);

  const ratio = Math.min(Math.max(nx / ny || 1, 1 / 8), 8); // an invalid hash must not create a huge canvas
  const width = Math.round(ratio > 1 ? 32 : 32 * ratio);
  const height = Math.round(ratio > 1 ? 32 / ratio : 32);
  const data = new Uint8ClampedArray(width * height * 4);
  const waves = (n) => Array.from({ length: n }, (_, i) => Array.from({ length: 7 }, (_, c) => Math.cos(Math.PI / n * (i + 0.5) * c)));
  const wx = waves(width), wy = waves(height);
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0; x < width; x++, i += 4) {
      const value = ({ constant, list }) => list.reduce((sum, t) => sum + t.value * wx[x][t.cx] * wy[y][t.cy] * 2, constant);
      const light = value(l), red = value(q);
      const b = light - 2 / 3 * value(p);
      const r = (3 * light - b + red) / 2;
      data[i] = 255 * r; // the array clamps to 0...255
      data[i + 1] = 255 * (r - red);
      data[i + 2] = 255 * b;
      data[i + 3] = 255 * value(a);
    }
  }
  return { width, height, data };
}
