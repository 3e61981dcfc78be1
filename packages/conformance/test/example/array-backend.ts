import type { Backend, BackendTensor, DType, Shape, TensorData } from '@topk-attention/core/backend';
import { broadcastShapes, philox4x32, sizeOf, TopKError } from '@topk-attention/core/backend';

export interface ArrayTensor extends BackendTensor {
  /** Row-major values. Two tensors may share one array: that is how `reshape` makes a view. */
  readonly data: TensorData;
}

function storage(dtype: DType, size: number): TensorData {
  if (dtype === 'f32') return new Float32Array(size);
  if (dtype === 'i32') return new Int32Array(size);
  return new Uint8Array(size); // bool; we do not offer f16
}

/** Counts the tensors on each array, and the bytes of the arrays that have any. */
class Memory {
  readonly #tensors = new Map<TensorData, number>();
  live = 0;
  peak = 0;
  #disposed = false;

  own(data: TensorData, shape: Shape, dtype: DType): ArrayTensor {
    this.requireUsable();
    const before = this.#tensors.get(data) ?? 0;
    this.#tensors.set(data, before + 1);
    if (before === 0) this.live += data.byteLength;
    this.peak = Math.max(this.peak, this.live);
    return { shape: [...shape], dtype, data };
  }

  release({ data }: ArrayTensor): void {
    const left = (this.#tensors.get(data) ?? 0) - 1;
    this.#tensors.set(data, left);
    if (left > 0) return;
    this.#tensors.delete(data);
    this.live -= data.byteLength;
  }

  /** Throws once the backend is disposed. */
  requireUsable(): void {
    if (this.#disposed)
      throw new TopKError('DISPOSED', 'array backend: the backend was used after dispose()');
  }

  dispose(): void {
    this.#disposed = true;
  }
}

type Coordinates = readonly number[];

/** Calls `visit` for every element of a shape, in row-major order. */
function walk(shape: Shape, visit: (at: Coordinates, position: number) => void): void {
  const at = new Array<number>(shape.length).fill(0);
  for (let position = 0; position < sizeOf(shape); position++) {
    visit(at, position);
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      at[axis] = (at[axis] as number) + 1;
      if ((at[axis] as number) < (shape[axis] as number)) break;
      at[axis] = 0;
    }
  }
}

/** Where the element is; extents of 1 repeat and missing leading axes are skipped, as in NumPy. */
function offset(shape: Shape, at: Coordinates): number {
  const skipped = at.length - shape.length;
  return shape.reduce(
    (sum, extent, axis) => sum * extent + (extent === 1 ? 0 : (at[axis + skipped] as number)),
    0,
  );
}

function element(x: ArrayTensor, at: Coordinates): number {
  return x.data[offset(x.shape, at)] as number;
}

function isInside(index: number, extent = 0): boolean {
  return index >= 0 && index < extent;
}

/** Abramowitz and Stegun 7.1.26: right to 1.5e-7. */
function erf(x: number): number {
  const t = 1 / (1 + 0.3275911 * Math.abs(x));
  const series =
    ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t;
  return Math.sign(x) * (1 - series * Math.exp(-x * x));
}

const unaryFunctions = {
  neg: (x: number) => -x,
  abs: Math.abs,
  exp: Math.exp,
  log: Math.log,
  sqrt: Math.sqrt,
  rsqrt: (x: number) => 1 / Math.sqrt(x),
  tanh: Math.tanh,
  erf,
  sigmoid: (x: number) => 1 / (1 + Math.exp(-x)),
};

const binaryFunctions = {
  add: (a: number, b: number) => a + b,
  sub: (a: number, b: number) => a - b,
  mul: (a: number, b: number) => a * b, // of integers: Math.imul, the product of doubles loses digits
  div: (a: number, b: number) => a / b, // stored as i32 it is truncated
  min: Math.min,
  max: Math.max,
};

const compareFunctions = {
  eq: (a: number, b: number) => a === b,
  lt: (a: number, b: number) => a < b,
  le: (a: number, b: number) => a <= b,
};

/** Softmax of one row, in place of zeros. */
function softmaxRow(row: TensorData, out: TensorData): void {
  const largest = Math.max(...row);
  if (largest === Number.NEGATIVE_INFINITY) return; // nothing is visible: zeros, not 0 / 0
  const exponentials = Float64Array.from(row, (x) => Math.exp(x - largest)); // NaN beside +inf
  const total = exponentials.reduce((a, b) => a + b, 0);
  for (let j = 0; j < row.length; j++) out[j] = (exponentials[j] as number) / total;
}

/** Positions of the k largest entries above -inf, ascending. Array.prototype.sort is stable: the lower index wins. */
function largestOf(row: TensorData, k: number): number[] {
  return Array.from(row.keys())
    .filter((j) => (row[j] as number) > Number.NEGATIVE_INFINITY)
    .sort((a, b) => (row[a] === row[b] ? 0 : (row[b] as number) - (row[a] as number)))
    .slice(0, k)
    .sort((a, b) => a - b);
}

export function createArrayBackend(): Backend<ArrayTensor> {
  const memory = new Memory();
  const generate = (shape: Shape, dtype: DType, value: (at: Coordinates) => number): ArrayTensor => {
    const data = storage(dtype, sizeOf(shape));
    walk(shape, (at, position) => {
      data[position] = value(at);
    });
    return memory.own(data, shape, dtype);
  };
  const combine = (a: ArrayTensor, b: ArrayTensor, dtype: DType, f: (a: number, b: number) => number) =>
    generate(broadcastShapes('array backend', a.shape, b.shape), dtype, (at) =>
      f(element(a, at), element(b, at)),
    );
  const reduce = (
    x: ArrayTensor,
    axes: readonly number[],
    initial: number,
    fold: (a: number, b: number) => number,
  ) => {
    const shape = x.shape.map((extent, axis) => (axes.includes(axis) ? 1 : extent));
    const totals = new Float64Array(sizeOf(shape)).fill(initial);
    walk(x.shape, (at, position) => {
      const target = offset(shape, at);
      totals[target] = fold(totals[target] as number, x.data[position] as number);
    });
    const data = storage(x.dtype, totals.length);
    data.set(totals);
    return memory.own(data, shape, x.dtype);
  };

  return {
    name: 'array',
    capabilities: {
      dtypes: ['f32', 'i32', 'bool'],
      floatStorage: 'f32',
      deterministicScatter: true,
      execution: 'eager',
      limits: {
        maxBufferBytes: 2 ** 31,
        targetScratchBytes: 2 ** 22,
        minQueryChunk: 1,
        maxQueryChunk: 1024,
        twoLevel: null,
        gatherCost: 1,
        inPlace: false,
      },
    },

    upload(data, shape, dtype) {
      const own = storage(dtype, data.length);
      own.set(data);
      return memory.own(own, shape, dtype);
    },
    fill: (value, shape, dtype) => generate(shape, dtype, () => value),
    read: async (x) => {
      memory.requireUsable();
      return x.data.slice();
    },
    evaluate: async () => memory.requireUsable(),
    flush: () => {},
    release: (x) => memory.release(x),
    memory: () => ({ live: memory.live, peak: memory.peak, covers: 'typed arrays of live tensors' }),
    resetPeak: () => {
      memory.peak = memory.live;
    },
    dispose: () => memory.dispose(),

    reshape: (x, shape) => memory.own(x.data, shape, x.dtype),
    transpose(x, permutation) {
      const shape = permutation.map((axis) => x.shape[axis] as number);
      const inverse = permutation.map((_, axis) => permutation.indexOf(axis));
      return generate(shape, x.dtype, (at) =>
        element(
          x,
          inverse.map((axis) => at[axis] as number),
        ),
      );
    },
    slice: (x, starts, sizes) =>
      generate(sizes, x.dtype, (at) =>
        element(
          x,
          at.map((i, axis) => i + (starts[axis] as number)),
        ),
      ),
    concat(xs, axis) {
      const [first] = xs as readonly [ArrayTensor];
      const total = xs.reduce((sum, x) => sum + (x.shape[axis] as number), 0);
      const shape = first.shape.map((extent, a) => (a === axis ? total : extent));
      const starts = xs.map((_, n) => xs.slice(0, n).reduce((sum, x) => sum + (x.shape[axis] as number), 0));
      return generate(shape, first.dtype, (at) => {
        const n = starts.filter((start) => start <= (at[axis] as number)).length - 1;
        const start = starts[n] as number;
        return element(
          xs[n] as ArrayTensor,
          at.map((i, a) => (a === axis ? i - start : i)),
        );
      });
    },
    writeInto: (dst, x, starts) =>
      generate(dst.shape, dst.dtype, (at) => {
        const inside = at.map((i, axis) => i - (starts[axis] as number));
        const isWritten = inside.every((i, axis) => isInside(i, x.shape[axis]));
        return isWritten ? element(x, inside) : element(dst, at);
      }),

    unary(op, x) {
      const f = unaryFunctions[op];
      return generate(x.shape, x.dtype, (at) => f(element(x, at)));
    },
    binary: (op, a, b) =>
      combine(a, b, a.dtype, op === 'mul' && a.dtype === 'i32' ? Math.imul : binaryFunctions[op]),
    compare(op, a, b) {
      const holds = compareFunctions[op];
      return combine(a, b, 'bool', (x, y) => Number(holds(x, y)));
    },
    isNaN: (x) => generate(x.shape, 'bool', (at) => Number(Number.isNaN(element(x, at)))),
    logicalAnd: (a, b) => combine(a, b, 'bool', (x, y) => x & y),
    logicalNot: (x) => generate(x.shape, 'bool', (at) => 1 - element(x, at)),
    where(condition, a, b) {
      const shape = broadcastShapes('array backend', condition.shape, a.shape, b.shape);
      return generate(shape, a.dtype, (at) => element(element(condition, at) === 1 ? a : b, at));
    },
    cast: (x, dtype) =>
      generate(x.shape, dtype, (at) => (dtype === 'bool' ? Number(element(x, at) !== 0) : element(x, at))),

    sum: (x, axes) => reduce(x, axes, 0, (a, b) => a + b),
    max: (x, axes) => reduce(x, axes, Number.NEGATIVE_INFINITY, Math.max),

    matmul(a, b, transposeA, transposeB) {
      const [rows, inner] = (transposeA ? a.shape.slice(-2).reverse() : a.shape.slice(-2)) as [
        number,
        number,
      ];
      const columns = (transposeB ? b.shape.at(-2) : b.shape.at(-1)) as number;
      const lead = (a.shape.length >= b.shape.length ? a : b).shape.slice(0, -2);
      return generate([...lead, rows, columns], a.dtype, (at) => {
        const batch = at.slice(0, -2);
        const [i, j] = at.slice(-2) as [number, number];
        let sum = 0;
        for (let p = 0; p < inner; p++) {
          const left = element(a, [...batch, ...(transposeA ? [p, i] : [i, p])]);
          const right = element(b, [...batch, ...(transposeB ? [j, p] : [p, j])]);
          sum += left * right;
        }
        return sum;
      });
    },

    softmax(x) {
      const width = x.shape.at(-1) as number;
      const data = storage(x.dtype, x.data.length);
      for (let start = 0; start < data.length; start += width) {
        softmaxRow(x.data.subarray(start, start + width), data.subarray(start, start + width));
      }
      return memory.own(data, x.shape, x.dtype);
    },
    topK(x, k) {
      const width = x.shape.at(-1) as number;
      const shape = [...x.shape.slice(0, -1), k];
      const values = storage(x.dtype, sizeOf(shape)).fill(Number.NEGATIVE_INFINITY);
      const indices = new Int32Array(values.length).fill(-1);
      for (let row = 0; row * k < values.length; row++) {
        const entries = x.data.subarray(row * width, (row + 1) * width);
        largestOf(entries, k).forEach((j, slot) => {
          values[row * k + slot] = entries[j] as number;
          indices[row * k + slot] = j;
        });
      }
      return { values: memory.own(values, shape, x.dtype), indices: memory.own(indices, shape, 'i32') };
    },

    takeAlong: (x, indices) =>
      generate(indices.shape, x.dtype, (at) => {
        const j = element(indices, at);
        if (j === -1) return 0;
        return isInside(j, x.shape.at(-1)) ? element(x, [...at.slice(0, -1), j]) : Number.NaN;
      }),
    putAlong(indices, values, n) {
      const shape = [...indices.shape.slice(0, -1), n];
      const data = storage(values.dtype, sizeOf(shape));
      walk(indices.shape, (at, position) => {
        const j = indices.data[position] as number;
        if (isInside(j, n)) data[offset(shape, [...at.slice(0, -1), j])] = values.data[position] as number;
      });
      return memory.own(data, shape, values.dtype);
    },
    gatherRows: (x, indices) =>
      generate([...indices.shape, x.shape[2] as number], x.dtype, ([b, m, d]) => {
        const row = element(indices, [b as number, m as number]);
        if (row === -1) return 0;
        return isInside(row, x.shape[1]) ? element(x, [b as number, row, d as number]) : Number.NaN;
      }),
    scatterAddRows(n, indices, updates) {
      const [batch, , width] = updates.shape as readonly [number, number, number];
      const shape = [batch, n, width];
      const sums = new Float64Array(sizeOf(shape));
      walk(updates.shape, ([b, m, d], position) => {
        const row = element(indices, [b as number, m as number]);
        if (!isInside(row, n)) return;
        const target = offset(shape, [b as number, row, d as number]);
        sums[target] = (sums[target] as number) + (updates.data[position] as number);
      });
      const data = storage(updates.dtype, sums.length);
      data.set(sums);
      return memory.own(data, shape, updates.dtype);
    },

    randomBits(seed, start, shape) {
      const key = [seed >>> 0, Math.floor(seed / 2 ** 32)] as const;
      return generate(shape, 'i32', (at) => {
        const place = start.map((word, axis) => word + (at[axis] ?? 0)) as [number, number, number, number];
        const [a, b, c, d] = place;
        return philox4x32([a, b, c, d >>> 2], key)[d & 3] as number;
      });
    },
  };
}
