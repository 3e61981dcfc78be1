import { times } from '../wgsl/text.js';

/** `load_NAME`: elements j to j + 3 of a row, 0 beyond the end. */
export function loadFloats(name: string, isVec: boolean): string {
  return `fn load_${name}(start: u32, j: u32, width: u32) -> vec4f {
  var quad = vec4f();
  ${
    isVec
      ? `if (j < width) { quad = ${name}[(start + j) / 4u]; }`
      : times(4, (i) => `if (j + ${i}u < width) { quad[${i}] = ${name}[start + j + ${i}u]; }`, '\n  ')
  }
  return quad;
}`;
}
