import '@tensorflow/tfjs-backend-cpu';
import * as tf from '@tensorflow/tfjs-core';
import type { Backend, BackendTensor, DType, Shape, TensorData } from '@topk-attention/core';
import { unsupported } from './unsupported.ts';

interface TfTensor extends BackendTensor {
  readonly tensor: tf.Tensor;
}

const tfTypes = { f32: 'float32', i32: 'int32', bool: 'bool', f16: undefined } as const;

function tfTypeOf(dtype: DType): 'float32' | 'int32' | 'bool' {
  const type = tfTypes[dtype];
  if (type === undefined) throw new RangeError(`tfjs has no ${dtype}`);
  return type;
}

/** tf keeps the array it is given, so this always copies. */
function encode(data: TensorData, dtype: DType): Float32Array | Int32Array | Uint8Array {
  if (dtype === 'f32') return Float32Array.from(data);
  return dtype === 'i32' ? Int32Array.from(data) : Uint8Array.from(data);
}

/** The backend interface on tfjs ops, which run at once. */
export async function createTfProbe(): Promise<Backend<TfTensor>> {
  // Which engine runs is a global of tfjs: two backends of different tf engines in one process would need a switch
  // before every op.
  await tf.setBackend('cpu');
  await tf.ready();
  /** tf.memory() is global and counts every user of tf, so each probe counts its own, by shared data. */
  const storages = new Map<object, { bytes: number; views: number }>();
  const alive = new Set<tf.Tensor>();
  let live = 0;
  let peak = 0;

  /** Runs ops and takes care of their results; what they made on the way is freed. */
  const make = (dtype: DType, shape: Shape, run: () => tf.Tensor): TfTensor => {
    // keep: a caller's own tf.tidy must not free what core still counts.
    const tensor = tf.keep(tf.tidy(() => tf.reshape(run(), [...shape])));
    const known = storages.get(tensor.dataId);
    const storage = known ?? { bytes: tensor.size * (dtype === 'bool' ? 1 : 4), views: 0 };
    storages.set(tensor.dataId, storage);
    storage.views++;
    if (known === undefined) live += storage.bytes;
    peak = Math.max(peak, live);
    alive.add(tensor);
    return { shape, dtype, tensor };
  };
  const release = ({ tensor }: TfTensor): void => {
    const storage = storages.get(tensor.dataId);
    if (storage === undefined || !alive.delete(tensor)) return;
    if (--storage.views === 0) {
      storages.delete(tensor.dataId);
      live -= storage.bytes;
    }
    tensor.dispose();
  };
  const rowsOf = (x: tf.Tensor): tf.Tensor2D => tf.reshape(x, [-1, x.shape.at(-1) ?? 1]);

  /** x [B, N, D] at indices [B, M]. tf.gather throws at -1, and 0 * NaN is NaN: so clamp, then where. */
  const gather = (x: tf.Tensor, indices: tf.Tensor): tf.Tensor => {
    const rows = tf.gather(x, tf.maximum(indices, tf.scalar(0, 'int32')), 1, 1);
    const isUsed = tf.greaterEqual(tf.expandDims(indices, -1), tf.scalar(0, 'int32'));
    return tf.where(tf.broadcastTo(isUsed, rows.shape), rows, tf.zerosLike(rows));
  };
  /** Updates of index -1 land in a row behind the n that count, which is cut off. */
  const scatter = (n: number, indices: tf.Tensor, updates: tf.Tensor): tf.Tensor => {
    const [batch = 0, count = 0, width = 0] = updates.shape;
    const unused = tf.less(indices, tf.scalar(0, 'int32'));
    const row = tf.where(unused, tf.fill(indices.shape, n, 'int32'), indices);
    const first = tf.mul(tf.range(0, batch, 1, 'int32'), tf.scalar(n + 1, 'int32'));
    const at = tf.reshape(tf.add(row, tf.expandDims(first, 1)), [batch * count, 1]);
    const flat = tf.reshape(updates, [batch * count, width]);
    const sums = tf.scatterND(at, flat, [batch * (n + 1), width]);
    return tf.slice(tf.reshape(sums, [batch, n + 1, width]), [0, 0, 0], [batch, n, width]);
  };
  /** The first k positions whose flag is set, then others: equal flags go to the lower index. */
  const firstSet = (flags: tf.Tensor, k: number): { values: tf.Tensor; indices: tf.Tensor } =>
    tf.topk(tf.cast(flags, 'float32'), k);
  /**
   * tf.topk orders by value, and among infinities of one sign, whose difference is NaN, in no order at all. So +inf is
   * selected by a flag, the rest by value, the two lists joined, and what is kept ordered by index: -1 if unused.
   */
  const topIndices = (x: tf.Tensor, k: number): tf.Tensor => {
    const n = x.shape.at(-1) ?? 0;
    const rows = rowsOf(x);
    const isInfinite = tf.equal(rows, tf.scalar(Number.POSITIVE_INFINITY));
    const infinite = firstSet(isInfinite, k);
    const other = tf.topk(tf.where(isInfinite, tf.fill(rows.shape, Number.NEGATIVE_INFINITY), rows), k);
    const isUsed = tf.greater(other.values, tf.scalar(Number.NEGATIVE_INFINITY));
    const flags = tf.concat([infinite.values, tf.cast(isUsed, 'float32')], 1);
    const kept = firstSet(flags, k);
    const candidates = tf.concat([infinite.indices, other.indices], 1);
    const indices = tf.gather(candidates, kept.indices, 1, 1);
    const behind = tf.where(tf.cast(kept.values, 'bool'), indices, tf.fill(indices.shape, n, 'int32'));
    const ascending = tf.neg(tf.topk(tf.neg(behind), k).values);
    return tf.where(
      tf.equal(ascending, tf.scalar(n, 'int32')),
      tf.fill(indices.shape, -1, 'int32'),
      ascending,
    );
  };
  const takeAlong = (x: tf.Tensor, indices: tf.Tensor): tf.Tensor =>
    gather(tf.expandDims(rowsOf(x), -1), rowsOf(indices));
  /** One operand of rank 2 is repeated for the other's batch: tf's own broadcasting of batches gives wrong sums. */
  const repeat = (x: tf.Tensor, like: tf.Tensor): tf.Tensor =>
    x.rank < like.rank ? tf.broadcastTo(x, [...like.shape.slice(0, -2), ...x.shape]) : x;

  return {
    ...unsupported<TfTensor>('tf-probe'),
    name: 'tf-probe',
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
    upload: (data, shape, dtype) =>
      make(dtype, shape, () => tf.tensor(encode(data, dtype), [...shape], tfTypeOf(dtype))),
    fill: (value, shape, dtype) => make(dtype, shape, () => tf.fill([...shape], value, tfTypeOf(dtype))),
    read: async ({ tensor }) => (await tensor.data()).slice(), // tf hands out its own array
    evaluate: async () => {},
    flush: () => {},
    release,
    memory: () => ({ live, peak, covers: 'tensors of this probe; not what tf keeps for itself' }),
    resetPeak: () => {
      peak = live;
    },
    dispose() {
      for (const tensor of alive) tensor.dispose();
      alive.clear();
      storages.clear();
      live = 0;
    },

    reshape: (x, shape) => make(x.dtype, shape, () => x.tensor),
    transpose: (x, permutation) =>
      make(
        x.dtype,
        permutation.map((axis) => x.shape[axis] ?? 0),
        () => tf.transpose(x.tensor, [...permutation]),
      ),
    matmul(a, b, transposeA, transposeB) {
      const rows = a.shape.at(transposeA ? -1 : -2) ?? 0;
      const columns = b.shape.at(transposeB ? -2 : -1) ?? 0;
      const lead = (a.shape.length >= b.shape.length ? a : b).shape.slice(0, -2);
      return make(a.dtype, [...lead, rows, columns], () =>
        tf.matMul(repeat(a.tensor, b.tensor), repeat(b.tensor, a.tensor), transposeA, transposeB),
      );
    },
    topK(x, k) {
      const shape = [...x.shape.slice(0, -1), k];
      const indices = make('i32', shape, () => topIndices(x.tensor, k));
      const values = make(x.dtype, shape, () => {
        const at = rowsOf(indices.tensor);
        const taken = tf.reshape(takeAlong(x.tensor, at), at.shape);
        const unused = tf.equal(at, tf.scalar(-1, 'int32'));
        return tf.where(unused, tf.fill(at.shape, Number.NEGATIVE_INFINITY), taken);
      });
      return { values, indices };
    },
    takeAlong: (x, indices) => make(x.dtype, indices.shape, () => takeAlong(x.tensor, indices.tensor)),
    putAlong: (indices, values, n) =>
      make(values.dtype, [...indices.shape.slice(0, -1), n], () =>
        scatter(n, rowsOf(indices.tensor), tf.expandDims(rowsOf(values.tensor), -1)),
      ),
    gatherRows: (x, indices) =>
      make(x.dtype, [...indices.shape, x.shape[2] ?? 0], () => gather(x.tensor, indices.tensor)),
    scatterAddRows: (n, indices, updates) =>
      make(updates.dtype, [updates.shape[0] ?? 0, n, updates.shape[2] ?? 0], () =>
        scatter(n, indices.tensor, updates.tensor),
      ),
  };
}
