type Values = Float32Array | Int32Array | Uint8Array;

/** The part of `data`, read as `shape`, that begins at `starts` and has `sizes`, copied by runs of the last axis. */
export function hostSlice(
  data: Values,
  shape: readonly number[],
  starts: readonly number[],
  sizes: readonly number[],
): Values {
  const size = sizes.reduce((a, b) => a * b, 1);
  const part =
    data instanceof Float32Array
      ? new Float32Array(size)
      : data instanceof Int32Array
        ? new Int32Array(size)
        : new Uint8Array(size);
  let to = 0;
  const copy = (axis: number, from: number): void => {
    const start = from * (shape[axis] ?? 1) + (starts[axis] ?? 0);
    const extent = sizes[axis] ?? 1;
    if (axis === sizes.length - 1) {
      part.set(data.subarray(start, start + extent), to);
      to += extent;
      return;
    }
    for (let index = start; index < start + extent; index++) copy(axis + 1, index);
  };
  copy(0, 0);
  return part;
}
