import type { Engine } from '../engine.js';
import type { TfTensor } from '../tf.js';

/** What the choice of hidden units needs to know of wOut [F, Dout]. */
export interface OutputWeights {
  /** No NaN and no infinity: then a weight of 0 hides any row. */
  readonly isFinite: boolean;
  /** [F]: norms of the rows. */
  norms(): Float32Array;
}

/** By the tensor's data, which tf never writes to: a layer's weights are looked at once. */
const known = new WeakMap<object, OutputWeights>();

export function outputWeights({ tf }: Engine, wOut: TfTensor): OutputWeights {
  const found = known.get(wOut.dataId);
  if (found !== undefined) return found;
  // A sum of finite numbers may overflow, which only means the longer way.
  const isFinite = tf.tidy(() => Number.isFinite(tf.sum(tf.abs(wOut)).dataSync()[0]));
  let norms: Float32Array | undefined;
  const made: OutputWeights = {
    isFinite,
    norms: () => {
      norms ??= tf.tidy(() =>
        tf
          .sqrt(tf.sum(tf.mul(wOut, wOut), 1))
          .dataSync<'float32'>()
          .slice(),
      );
      return norms;
    },
  };
  known.set(wOut.dataId, made);
  return made;
}
