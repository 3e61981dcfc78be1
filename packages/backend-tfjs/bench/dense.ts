import type { Tf, TfTensor } from './engines.js';
import type { Outputs } from './method.js';
import type { Inputs, Tile } from './setup.js';
import { overTiles } from './tiles.js';

const attend = (tf: Tf, q: TfTensor, k: TfTensor, v: TfTensor, scale: number): TfTensor =>
  tf.matMul(tf.softmax(tf.matMul(tf.mul(q, scale), k, false, true)), v);

export function denseForward(tf: Tf, inputs: Inputs, tile: Tile): Outputs {
  const scale = inputs.setup.dim ** -0.5;
  return overTiles(tf, inputs, tile, ({ q, k, v }) => ({ output: attend(tf, q, k, v, scale) }));
}

/** What is no longer needed is freed at once; the scale is applied to the small operands. */
export function denseBackward(tf: Tf, inputs: Inputs, tile: Tile): Outputs {
  const scale = inputs.setup.dim ** -0.5;
  return overTiles(tf, inputs, tile, ({ q, k, v, dOutput }) => {
    const scaled = tf.mul(q, scale);
    const weights = tf.tidy(() => tf.softmax(tf.matMul(scaled, k, false, true)));
    const dScores = tf.tidy(() => {
      const dWeights = tf.matMul(dOutput, v, false, true);
      const mean = tf.tidy(() => tf.sum(tf.mul(weights, dWeights), -1, true));
      const centred = tf.sub(dWeights, mean);
      dWeights.dispose();
      return tf.mul(weights, centred);
    });
    return {
      q: tf.mul(tf.matMul(dScores, k), scale),
      k: tf.matMul(dScores, scaled, true),
      v: tf.matMul(weights, dOutput, true),
    };
  });
}

export function denseGrads(tf: Tf, inputs: Inputs, tile: Tile): Outputs {
  const scale = inputs.setup.dim ** -0.5;
  const gradients = tf.grads((q, k, v) => attend(tf, q as TfTensor, k as TfTensor, v as TfTensor, scale));
  return overTiles(tf, inputs, tile, ({ q, k, v, dOutput }) => {
    const [dQ, dK, dV] = gradients([q, k, v], dOutput) as [TfTensor, TfTensor, TfTensor];
    return { q: dQ, k: dK, v: dV };
  });
}
