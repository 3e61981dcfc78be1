import type { Engine } from '../engine/engine.js';
import type { Tf, TfTensor } from '../tf.js';

/** What the selection of hidden units needs to know of wOut [F, Dout]. */
export interface OutputWeights {
  /** No NaN and no infinity, so that an activation of 0 hides any row. */
  readonly isFinite: boolean;
  /** [F]: norms of the rows. */
  norms(): Float32Array;
}

interface Known {
  readonly isFinite: boolean;
  /** By the number of rows: the same data may be weights of several shapes. */
  readonly norms: Map<number, Float32Array>;
}

/** By the tensor's data, which tf never overwrites: a layer's weights are examined once. */
const known = new WeakMap<object, Known>();

export function outputWeights({ tf }: Engine, wOut: TfTensor): OutputWeights {
  const found = known.get(wOut.dataId) ?? { isFinite: areFinite(tf, wOut), norms: new Map() };
  known.set(wOut.dataId, found);
  const rows = wOut.shape[0] as number;
  return {
    isFinite: found.isFinite,
    norms: () => {
      const norms = found.norms.get(rows) ?? normsOf(tf, wOut);
      found.norms.set(rows, norms);
      return norms;
    },
  };
}

/** The sum of finite numbers may overflow, which only means the slower path. */
function areFinite(tf: Tf, x: TfTensor): boolean {
  return tf.tidy(() => Number.isFinite(tf.sum(tf.abs(x)).dataSync()[0]));
}

function normsOf(tf: Tf, x: TfTensor): Float32Array {
  return tf.tidy(() =>
    tf
      .sqrt(tf.sum(tf.mul(x, x), 1))
      .dataSync<'float32'>()
      .slice(),
  );
}
