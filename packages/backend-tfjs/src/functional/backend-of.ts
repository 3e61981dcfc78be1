import { TfjsBackend } from '../backend.js';
import { engineOf } from '../engine/engine.js';
import type { Tf } from '../tf.js';

/** By tf module and by its engine: a backend counts the memory of one engine of one tf. */
const backends = new WeakMap<object, WeakMap<object, TfjsBackend>>();

/** The backend for functions that take tf instead: one per tf and engine it runs. */
export function backendOf(tf: Tf): TfjsBackend {
  const engine = engineOf(tf);
  const ofTf = backends.get(tf) ?? new WeakMap<object, TfjsBackend>();
  backends.set(tf, ofTf);
  const known = ofTf.get(tf.backend());
  if (known !== undefined) return known;
  const made = new TfjsBackend(engine, { fused: true });
  ofTf.set(tf.backend(), made);
  return made;
}
