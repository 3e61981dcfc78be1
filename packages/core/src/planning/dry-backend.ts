import type { Backend, BackendTensor } from '../contract/backend.js';
import { bytesPerElement, type DType } from '../contract/dtype.js';
import { TopKError } from '../contract/errors.js';
import type { AnyFusedOperation, FusedOperation, FusedOperations, OutputSpecs } from '../contract/fused.js';
import { broadcastShapes, type Shape, sizeOf } from '../contract/shape.js';

/** A tensor without storage; views share a block. */
interface DryTensor extends BackendTensor {
  readonly block: { readonly bytes: number; views: number };
}

/**
 * A backend that computes nothing: its tensors have shapes and no storage, and the peak of its `memory()` counts the bytes
 * that the same work takes on `backend`. A model made on it costs no device memory. Reading a tensor is UNSUPPORTED.
 *
 * @throws TopKError UNSUPPORTED for a backend that builds graphs (ONNX Runtime), as its engine places tensors itself.
 *
 * @example
 * const dry = dryBackend(backend);
 * const x = tensor(dry, new Float32Array(4096), [64, 64]);
 * const y = matmul(x, x);
 * const { peak } = dry.memory();
 */
export function dryBackend(backend: Backend): Backend {
  if (backend.dry !== undefined) return backend.dry();
  if (backend.capabilities.execution === 'lazy') {
    throw new TopKError('UNSUPPORTED', `${backend.name}: no dry runs`, {
      expected: 'a backend that makes each tensor when its op is called',
      got: 'one that builds graphs, whose engine decides what is alive when',
      fix: 'Measure memory() instead, or plan single layers with explain()',
    });
  }
  return countingBackend(backend);
}

/** Counts tensors by their shapes, and the scratch that fused operations plan. */
function countingBackend(of: Backend): Backend<DryTensor> {
  const { capabilities } = of;
  let [live, peak] = [0, 0];
  const count = (bytes: number): void => {
    live += bytes;
    peak = Math.max(peak, live);
  };
  const bytesOf = (dtype: DType): number => {
    if (dtype === 'bool') return capabilities.limits.boolBytes ?? 1;
    return dtype === 'f32' && capabilities.floatStorage === 'f64' ? 8 : bytesPerElement(dtype);
  };
  const make = (shape: Shape, dtype: DType): DryTensor => {
    const bytes = sizeOf(shape) * bytesOf(dtype);
    count(bytes);
    return { shape: [...shape], dtype, block: { bytes, views: 1 } };
  };
  const view = ({ block, dtype }: DryTensor, shape: Shape): DryTensor => {
    block.views++;
    return { shape: [...shape], dtype, block };
  };
  const sameAs = ({ shape, dtype }: DryTensor): DryTensor => make(shape, dtype);
  const reduce = ({ shape, dtype }: DryTensor, axes: readonly number[]): DryTensor =>
    make(
      shape.map((extent, axis) => (axes.includes(axis) ? 1 : extent)),
      dtype,
    );
  const along = (shape: Shape, last: number): Shape => [...shape.slice(0, -1), last];
  /** dst with something written into it: its own storage where the backend may write into that. */
  const written = (dst: DryTensor, { block }: DryTensor, exclusive: boolean): DryTensor => {
    const isInPlace =
      capabilities.limits.inPlace && exclusive && dst.block.views === 1 && dst.block !== block;
    return isInPlace ? view(dst, dst.shape) : sameAs(dst);
  };
  const dryOf = (operation: AnyFusedOperation): AnyFusedOperation => ({
    prepare: (request, limits) => {
      const prepared = (operation as FusedOperation<unknown, never, object>).prepare(request, limits);
      if ('refusals' in prepared) return prepared;
      return {
        ...prepared,
        run: (_inputs, chunk, specs: OutputSpecs = {}) => {
          const made = Object.entries(specs).map(([role, { shape, dtype }]) => [role, make(shape, dtype)]);
          const scratch = prepared.scratchBytes(chunk);
          count(scratch);
          live -= scratch;
          return Object.fromEntries(made);
        },
      };
    },
  });
  return {
    name: of.name,
    capabilities,
    ...(of.composedBytes && { composedBytes: of.composedBytes }),
    ...(of.fused && {
      fused: Object.fromEntries(
        Object.entries(of.fused).flatMap(([name, one]) => (one === undefined ? [] : [[name, dryOf(one)]])),
      ) as FusedOperations<DryTensor>,
    }),

    upload: (_data, shape, dtype) => make(shape, dtype),
    fill: (_value, shape, dtype) => make(shape, dtype),
    read: async () => {
      throw new TopKError('UNSUPPORTED', `${of.name}, dry: a read`, {
        expected: 'work on tensors whose values nobody asks for',
        got: 'a read',
      });
    },
    evaluate: async () => {},
    flush: () => {},
    release: ({ block }) => {
      if (--block.views === 0) live -= block.bytes;
    },
    memory: () => ({
      live,
      peak,
      covers: 'what tensors would hold, and the scratch that fused operations plan',
    }),
    resetPeak: () => {
      peak = live;
    },
    dispose: () => {},
    dry: () => countingBackend(of),

    reshape: view,
    transpose: ({ shape, dtype }, permutation) =>
      make(
        permutation.map((axis) => shape[axis] as number),
        dtype,
      ),
    slice: ({ dtype }, _starts, sizes) => make(sizes, dtype),
    concat: (xs, axis) => {
      const { shape, dtype } = xs[0] as DryTensor;
      const extent = xs.reduce((sum, x) => sum + (x.shape[axis] as number), 0);
      return make(
        shape.map((own, at) => (at === axis ? extent : own)),
        dtype,
      );
    },
    writeInto: (dst, x, _starts, exclusive) => written(dst, x, exclusive),
    ...(of.writeAt && {
      writeAt: (dst: DryTensor, x: DryTensor, axis: number, _start: DryTensor, exclusive: boolean) =>
        dst.shape[axis] === x.shape[axis] ? view(x, x.shape) : written(dst, x, exclusive),
    }),

    unary: (_op, x) => sameAs(x),
    binary: (op, a, b) => make(broadcastShapes(op, a.shape, b.shape), a.dtype),
    compare: (op, a, b) => make(broadcastShapes(op, a.shape, b.shape), 'bool'),
    isNaN: ({ shape }) => make(shape, 'bool'),
    logicalAnd: (a, b) => make(broadcastShapes('logicalAnd', a.shape, b.shape), 'bool'),
    logicalNot: sameAs,
    where: (condition, a, b) => make(broadcastShapes('where', condition.shape, a.shape, b.shape), a.dtype),
    cast: ({ shape }, dtype) => make(shape, dtype),

    sum: reduce,
    max: reduce,

    matmul: (a, b, transposeA, transposeB) => {
      const rows = a.shape.at(transposeA ? -1 : -2) as number;
      const columns = b.shape.at(transposeB ? -2 : -1) as number;
      const batch = (a.shape.length >= b.shape.length ? a : b).shape.slice(0, -2);
      return make([...batch, rows, columns], a.dtype);
    },
    softmax: sameAs,
    topK: ({ shape, dtype }, k) => ({
      values: make(along(shape, k), dtype),
      indices: make(along(shape, k), 'i32'),
    }),
    takeAlong: ({ dtype }, { shape }) => make(shape, dtype),
    putAlong: ({ shape }, { dtype }, n) => make(along(shape, n), dtype),
    gatherRows: (x, { shape }) => make([...shape, x.shape[2] as number], x.dtype),
    scatterAddRows: (n, _indices, { shape, dtype }) =>
      make([shape[0] as number, n, shape[2] as number], dtype),
    randomBits: (_seed, _offset, shape) => make(shape, 'i32'),
  };
}
