import { TfjsBackend } from '../backend.js';
import { engineOf } from '../engine.js';
import type { Tf } from '../tf.js';

/** By tf module and by its engine: a backend counts memory for one of each. */
const backends = new WeakMap<object, WeakMap<object, TfjsBackend>>();

/** The one backend that functions without a backend argument run on: that of the engine tf runs on now. */
export function backendOf(tf: Tf): TfjsBackend {
  const engine = engineOf(tf); // throws where tf is none, or has no engine ready
  const ofTf = backends.get(tf) ?? new WeakMap<object, TfjsBackend>();
  backends.set(tf, ofTf);
  const known = ofTf.get(tf.backend());
  if (known !== undefined) return known;
  const made = new TfjsBackend(engine, { fused: true });
  ofTf.set(tf.backend(), made);
  return made;
}
