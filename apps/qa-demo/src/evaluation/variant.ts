import { type CrossMechanism, factsOf } from '../engine/cross-mechanism.js';
import type { Kept } from '../engine/protocol.js';

/** One way of running the model over a dataset. */
export interface Variant {
  /** Names it in tables and journals. */
  readonly name: string;
  readonly attentionK: Kept;
  readonly feedForwardK: Kept;
  /** Attention keeps random keys instead of the largest. */
  readonly isRandom: boolean;
  /** In place of cross-attention, untrained; self-attention and feed-forward layers stay exact. */
  readonly cross?: CrossMechanism;
}

const exact: Variant = { name: 'exact', attentionK: 'exact', feedForwardK: 'exact', isRandom: false };

/**
 * Exact first, the baseline of every difference; then top-k, the random controls and mechanisms in cross-attention, in the
 * order given.
 */
export function variantsOf(
  attention: readonly Kept[],
  feedForward: readonly Kept[],
  random: readonly Kept[],
  crosses: readonly CrossMechanism[] = [],
): readonly Variant[] {
  const variants = [exact];
  const add = (attentionK: Kept, feedForwardK: Kept, isRandom: boolean): void => {
    if (attentionK === 'exact' && feedForwardK === 'exact') return;
    const name = `${isRandom ? 'random ' : ''}k=${attentionK} ff=${feedForwardK}`;
    variants.push({ name, attentionK, feedForwardK, isRandom });
  };
  for (const units of feedForward) for (const k of attention) add(k, units, false);
  for (const units of feedForward) for (const k of random) if (k !== 'exact') add(k, units, true);
  for (const cross of crosses) variants.push({ ...exact, name: crossName(cross), cross });
  return variants;
}

/** `cross top-k keys=16`, `cross performer features=256 seed=1`. */
function crossName({ name, size, seed }: CrossMechanism): string {
  const parts = [`cross ${name}`];
  if (size !== undefined) parts.push(`${factsOf(name).counts}=${size}`);
  if (seed !== undefined) parts.push(`seed=${seed}`);
  return parts.join(' ');
}
