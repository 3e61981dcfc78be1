import type { Engine } from '../engine/engine.js';
import type { TfTensor } from '../tf.js';

/** x as float32: a new tensor, which every op reads as floats. */
export function toFloats({ tf, traits }: Engine, x: TfTensor): TfTensor {
  if (x.dtype === 'float32') return tf.clone(x);
  switch (traits.toFloats) {
    case 'tf.cast':
      return tf.cast(x, 'float32');
    case 'copy':
      return tf.tensor(Float32Array.from(x.dataSync()), x.shape, 'float32');
    case 'multiplication':
      return tf.tidy(() => tf.mul(x, tf.scalar(1)));
    default:
      return traits.toFloats satisfies never;
  }
}

/** {@link toFloats} where the engine transposes and reduces floats only; elsewhere x itself. */
export function asFloats(engine: Engine, x: TfTensor): TfTensor {
  return engine.traits.movesOnlyFloats && x.dtype !== 'float32' ? toFloats(engine, x) : x;
}
