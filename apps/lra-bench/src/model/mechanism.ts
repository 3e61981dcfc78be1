import { exact, type Mechanism, performer, topK } from '@topk-attention/nn';
import type { MechanismSettings } from './settings.js';

/** The mechanism as a value. */
export function mechanismOf({ name, k = 1, features = 256, redraw = 0 }: MechanismSettings): Mechanism {
  switch (name) {
    case 'exact':
      return exact();
    case 'top-k':
      return topK({ k });
    case 'performer':
      return performer({ features, kind: 'softmax', redrawEvery: redraw });
    case 'performer-relu':
      return performer({ features, kind: 'relu', redrawEvery: redraw });
    default:
      return name satisfies never;
  }
}

/** For tables: `exact`, `top-k 128`, `performer`, `performer, redrawn every 1000`. */
export function mechanismTitle({ name, k, redraw }: MechanismSettings): string {
  if (redraw !== undefined) return `${name}, redrawn every ${redraw}`;
  return k === undefined ? name : `${name} ${k}`;
}
