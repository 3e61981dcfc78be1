import { exact, type Mechanism, performer, topK } from '@topk-attention/nn';
import type { MechanismSettings } from './settings.js';

/** The mechanism as a value. */
export function mechanismOf({ name, k = 1, features = 256 }: MechanismSettings): Mechanism {
  switch (name) {
    case 'exact':
      return exact();
    case 'top-k':
      return topK({ k });
    case 'performer':
      return performer({ features, kind: 'softmax' });
    case 'performer-relu':
      return performer({ features, kind: 'relu' });
    default:
      return name satisfies never;
  }
}

/** For tables: `exact`, `top-k 128`, `performer`. */
export function mechanismTitle({ name, k }: MechanismSettings): string {
  return k === undefined ? name : `${name} ${k}`;
}
