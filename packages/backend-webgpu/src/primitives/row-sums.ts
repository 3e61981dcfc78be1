import { fill } from '../wgsl/fill.js';
import { floatClasses, orderedKey32 } from '../wgsl/numbers.js';
import { text } from './row-sums.wgsl.js';

/**
 * Functions for rows of logits by groups of `lanes` invocations: `row_key`, `row_sum`, and those that a running maximum
 * needs. `isRepeated`: whether a function is called again.
 */
export function rowSums(lanes: number, isRepeated: boolean): string {
  return `${floatClasses}
${orderedKey32}
${fill(text, { lanes, is_repeated: isRepeated })}`;
}

/**
 * In a loop over an invocation's quads of `bits`: takes them into `mine`, the largest key so far, and `part`, the sum of
 * exponentials relative to it. They begin as MINUS_INF_KEY and 0; `joined_sum` joins them.
 */
export const runningSum = `let larger = max(mine, quad_key(bits));
    if (larger == BAD || larger == MINUS_INF_KEY) { mine = larger; continue; }
    if (larger > mine) {
      part *= select(exp(max(float_of(mine) - float_of(larger), -200.0)), 0.0, mine == MINUS_INF_KEY);
      mine = larger;
    }
    part += total_of(weights(bits, float_of(mine)));`;
