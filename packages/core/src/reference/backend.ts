import type { Backend } from '../contract/backend.js';
import type { TensorData } from '../contract/dtype.js';
import { TopKError } from '../contract/errors.js';
import { philoxKey, randomWord } from '../contract/philox.js';
import { aBoolean, type OptionKinds, oneOf, readOptions } from '../tensor/read-options.js';
import * as elementwise from './elementwise.js';
import { createFusedOperations } from './fused.js';
import * as layout from './layout.js';
import { matmul } from './matmul.js';
import * as reductions from './reductions.js';
import * as selection from './selection.js';
import { ReferenceMemory, type ReferenceTensor } from './storage.js';

export interface ReferenceBackendOptions {
  /**
   * Type that 'f32' tensors are stored in. 'f64' turns off rounding of stored values, for finite differences: `data()`
   * of an 'f32' tensor is then a Float64Array. Default 'f32'.
   */
  readonly floatStorage?: 'f32' | 'f64';
  /**
   * Whether attention and feed-forward layers run as the plain loops in this folder (default) or, with false, as core's
   * composition of the primitives. Comparing the two tests both.
   */
  readonly fused?: boolean;
}

const kinds: OptionKinds<ReferenceBackendOptions> = { floatStorage: oneOf('f32', 'f64'), fused: aBoolean };

/**
 * The oracle: every primitive as loops over typed arrays, sums in f64, one rounding per stored value (and per score, as
 * on engines), in every JavaScript runtime. It is eager and deterministic, counts its bytes exactly, and is slow.
 *
 * @example
 * const backend = createReferenceBackend();
 * const x = tensor(backend, [1, 2, 3, 4], [2, 2]);
 */
export function createReferenceBackend(options?: ReferenceBackendOptions): Backend<ReferenceTensor> {
  const { floatStorage = 'f32', fused = true } = readOptions('createReferenceBackend', options, kinds);
  const memory = new ReferenceMemory(floatStorage);
  return {
    name: 'reference',
    capabilities: {
      dtypes: ['f32', 'f16', 'i32', 'bool'],
      floatStorage,
      deterministicScatter: true,
      execution: 'eager',
      limits: {
        maxBufferBytes: 2 ** 32,
        // About the size of a second-level cache; the loops are not otherwise sensitive to the chunk.
        targetScratchBytes: 2 ** 22,
        minQueryChunk: 1,
        maxQueryChunk: 1024,
        twoLevel: null,
        gatherCost: 1,
        inPlace: true,
      },
    },
    ...(fused && { fused: createFusedOperations(memory) }),

    upload: (data, shape, dtype) => memory.makeRaw(shape, dtype, (out) => out.set(data)),
    fill: (value, shape, dtype) => memory.make(shape, dtype, (out) => fillNumbers(out, value)),
    read: async (x) => {
      memory.requireUsable();
      return copyOf(x.block.data);
    },
    evaluate: async () => memory.requireUsable(),
    flush: () => {},
    release: (x) => memory.release(x),
    memory: () => memory.report(),
    resetPeak: () => memory.resetPeak(),
    dispose: () => memory.dispose(),

    reshape: (x, shape) => memory.view(x, shape),
    transpose: (x, permutation) => layout.transpose(memory, x, permutation),
    slice: (x, starts, sizes) => layout.slice(memory, x, starts, sizes),
    concat: (xs, axis) => layout.concat(memory, xs, axis),
    writeInto: (dst, x, starts, exclusive) => layout.writeInto(memory, dst, x, starts, exclusive),

    unary: (op, x) => elementwise.unary(memory, op, x),
    binary: (op, a, b) => elementwise.binary(memory, op, a, b),
    compare: (op, a, b) => elementwise.compare(memory, op, a, b),
    isNaN: (x) => elementwise.map(memory, 'bool', x, (value) => (Number.isNaN(value) ? 1 : 0)),
    logicalAnd: (a, b) => elementwise.logicalAnd(memory, a, b),
    logicalNot: (a) => elementwise.map(memory, 'bool', a, (value) => (value === 0 ? 1 : 0)),
    where: (condition, a, b) => elementwise.where(memory, condition, a, b),
    cast: (x, dtype) => elementwise.cast(memory, x, dtype),

    sum: (x, axes) => reductions.sum(memory, x, axes),
    max: (x, axes) => reductions.max(memory, x, axes),

    matmul: (a, b, transposeA, transposeB) => matmul(memory, a, b, transposeA, transposeB),
    softmax: (x) => reductions.softmax(memory, x),
    topK: (x, k) => selection.topK(memory, x, k),
    takeAlong: (x, indices) => selection.takeAlong(memory, x, indices),
    putAlong: (indices, values, n) => selection.putAlong(memory, indices, values, n),
    gatherRows: (x, indices) => selection.gatherRows(memory, x, indices),
    scatterAddRows: (n, indices, updates) => selection.scatterAddRows(memory, n, indices, updates),
    randomBits(seed, offset, shape) {
      if (shape.length > 4) throw new TopKError('UNSUPPORTED', 'randomBits: rank above 4');
      const key = philoxKey(seed);
      return memory.make(shape, 'i32', (out) => {
        const counter: [number, number, number, number] = [...offset];
        for (let position = 0; position < out.length; position++) {
          let rest = position;
          for (let axis = shape.length - 1; axis >= 0; axis--) {
            const extent = shape[axis] as number;
            counter[axis] = (offset[axis] as number) + (rest % extent);
            rest = Math.floor(rest / extent);
          }
          out[position] = randomWord(counter, key);
        }
      });
    },
  };
}

function fillNumbers(out: { length: number; [index: number]: number }, value: number): void {
  for (let i = 0; i < out.length; i++) out[i] = value;
}

function copyOf(data: TensorData): TensorData {
  return data.slice();
}
