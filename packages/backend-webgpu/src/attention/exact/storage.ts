/** Element type of a buffer of rows: vectors where rows are whole vectors, otherwise words. */
export function storageType(width: number, dtype: 'f32' | 'f16'): string {
  if (dtype === 'f16') return width % 4 === 0 ? 'vec2u' : 'u32';
  return width % 4 === 0 ? 'vec4f' : 'f32';
}

/** `name(start, row, column)`: 4 elements of a row as f32, zeros past its end. `start` counts elements. */
export function loadVector(name: string, buffer: string, width: number, dtype: 'f32' | 'f16'): string {
  const head = `fn ${name}(start: u32, row: u32, column: u32) -> vec4f`;
  if (width % 4 === 0) {
    const at = `${buffer}[(start + row * ${width}u + column) / 4u]`;
    const value = dtype === 'f32' ? at : `halves(${at})`;
    const halves =
      dtype === 'f32'
        ? ''
        : `fn ${name}Halves(word: vec2u) -> vec4f { return vec4f(unpack2x16float(word.x), unpack2x16float(word.y)); }\n`;
    return `${halves}${head} {
  if (column >= ${width}u) { return vec4f(0); }
  return ${value.replace('halves', `${name}Halves`)};
}`;
  }
  const one =
    dtype === 'f32'
      ? `return ${buffer}[at];`
      : `let pair = unpack2x16float(${buffer}[at / 2u]); return select(pair.x, pair.y, (at & 1u) == 1u);`;
  const parts = [0, 1, 2, 3].map((i) => `${name}One(at + ${i}u, column + ${i}u)`);
  return `fn ${name}One(at: u32, column: u32) -> f32 { if (column >= ${width}u) { return 0.0; } ${one} }
${head} {
  let at = start + row * ${width}u + column;
  return vec4f(${parts.join(', ')});
}`;
}

/**
 * `name(start, row, column, value)`: writes up to 4 elements of a row. An f16 row must consist of whole words (an even
 * width), each written by one invocation. Needs `halvesOf` for f16.
 */
export function storeVector(name: string, buffer: string, width: number, dtype: 'f32' | 'f16'): string {
  const head = `fn ${name}(start: u32, row: u32, column: u32, value: vec4f)`;
  const at = `start + row * ${width}u + column`;
  if (width % 4 === 0) {
    const stored =
      dtype === 'f32' ? 'value' : 'vec2u(halves_of(value.x, value.y), halves_of(value.z, value.w))';
    return `${head} { if (column < ${width}u) { ${buffer}[(${at}) / 4u] = ${stored}; } }`;
  }
  const writes =
    dtype === 'f32'
      ? [0, 1, 2, 3].map((i) => `if (column + ${i}u < ${width}u) { ${buffer}[at + ${i}u] = value[${i}]; }`)
      : [0, 2].map(
          (i) =>
            `if (column + ${i}u < ${width}u) { ${buffer}[(at + ${i}u) / 2u] = halves_of(value[${i}], value[${i + 1}]); }`,
        );
  return `${head} { let at = ${at}; ${writes.join(' ')} }`;
}
