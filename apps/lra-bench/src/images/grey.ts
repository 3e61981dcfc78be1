/**
 * Grey levels of pixels [red, green, blue, ...]: 0.2989 R + 0.5870 G + 0.1140 B in floats, truncated. The weights are
 * TensorFlow's, which the published task uses; its function scales by 255.5 / 255 before it truncates, and Pillow rounds:
 * both differ by at most one level.
 */
export function greyOf(colours: Uint8Array): Uint8Array {
  const grey = new Uint8Array(colours.length / 3);
  for (let pixel = 0; pixel < grey.length; pixel++) {
    const [red = 0, green = 0, blue = 0] = colours.subarray(3 * pixel, 3 * pixel + 3);
    grey[pixel] = Math.floor(Math.fround(0.2989 * red + 0.587 * green + 0.114 * blue));
  }
  return grey;
}
