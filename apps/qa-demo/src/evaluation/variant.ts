import type { Kept } from '../engine/protocol.js';

/** One way of running the model over a dataset. */
export interface Variant {
  /** Names it in tables and journals. */
  readonly name: string;
  readonly attentionK: Kept;
  readonly feedForwardK: Kept;
  /** Attention keeps random keys instead of the largest. */
  readonly isRandom: boolean;
}

const exact: Variant = { name: 'exact', attentionK: 'exact', feedForwardK: 'exact', isRandom: false };

/** Exact first, the baseline of every difference; then top-k, then the random controls, in the order given. */
export function variantsOf(
  attention: readonly Kept[],
  feedForward: readonly Kept[],
  random: readonly Kept[],
): readonly Variant[] {
  const variants = [exact];
  const add = (attentionK: Kept, feedForwardK: Kept, isRandom: boolean): void => {
    if (attentionK === 'exact' && feedForwardK === 'exact') return;
    const name = `${isRandom ? 'random ' : ''}k=${attentionK} ff=${feedForwardK}`;
    variants.push({ name, attentionK, feedForwardK, isRandom });
  };
  for (const units of feedForward) for (const k of attention) add(k, units, false);
  for (const units of feedForward) for (const k of random) if (k !== 'exact') add(k, units, true);
  return variants;
}
