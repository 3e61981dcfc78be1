/** Five columns of seven pixels each, the top one in the lowest bit. */
const glyphs: Readonly<Record<string, readonly [number, number, number, number, number]>> = {
  ' ': [0, 0, 0, 0, 0],
  '0': [62, 81, 73, 69, 62],
  '1': [0, 66, 127, 64, 0],
  '2': [66, 97, 81, 73, 70],
  '3': [33, 65, 69, 75, 49],
  '4': [24, 20, 18, 127, 16],
  '5': [39, 69, 69, 69, 57],
  '6': [60, 74, 73, 73, 48],
  '7': [1, 113, 9, 5, 3],
  '8': [54, 73, 73, 73, 54],
  '9': [6, 73, 73, 41, 30],
  A: [126, 17, 17, 17, 126],
  B: [127, 73, 73, 73, 54],
  C: [62, 65, 65, 65, 34],
  D: [127, 65, 65, 34, 28],
  E: [127, 73, 73, 73, 65],
  F: [127, 9, 9, 9, 1],
  H: [127, 8, 8, 8, 127],
  K: [127, 8, 20, 34, 65],
  L: [127, 64, 64, 64, 64],
  N: [127, 4, 8, 16, 127],
  O: [62, 65, 65, 65, 62],
  P: [127, 9, 9, 9, 6],
  R: [127, 9, 25, 41, 70],
  S: [70, 73, 73, 73, 49],
  T: [1, 1, 127, 1, 1],
  U: [63, 64, 64, 64, 63],
  X: [99, 20, 8, 20, 99],
  Y: [7, 8, 112, 8, 7],
};

/** Side of a pixel, and the height of pictures that the recogniser takes. */
const SIDE = 4;
export const HEIGHT = 48;

/** Dark text on white, as numbers between -1 and 1: one channel of [HEIGHT, width]. */
export function drawText(text: string): { readonly width: number; readonly pixels: Float32Array } {
  const columns = [...text].flatMap((letter) => [...(glyphs[letter] ?? []), 0]);
  const width = (columns.length + 4) * SIDE;
  const pixels = new Float32Array(HEIGHT * width).fill(1);
  const top = (HEIGHT - 7 * SIDE) / 2;
  for (const [column, bits] of columns.entries()) {
    for (let row = 0; row < 7; row++) {
      if (((bits >> row) & 1) === 0) continue;
      for (let y = 0; y < SIDE; y++) {
        const start = (top + row * SIDE + y) * width + (column + 2) * SIDE;
        pixels.fill(-1, start, start + SIDE);
      }
    }
  }
  return { width, pixels };
}
