import type { Backend } from '@topk-attention/core';
import { check, checkClose, type Tolerance } from '../../harness/support/assert.js';
import { nd } from '../../harness/support/nd.js';
import { solve } from './brute-force.js';
import { type AttentionProblem, run } from './problem.js';

/**
 * Indices ascend and have the right number; differences from the oracle lie at the boundary; the output follows them.
 */
export async function checkSetRule(
  backend: Backend,
  problem: AttentionProblem,
  tolerance: Tolerance,
): Promise<void> {
  const got = await run(backend, problem);
  const wide = solve({ ...problem, kept: problem.k.shape[2] as number });
  const keys = problem.k.shape[2] as number;
  const slots = Math.min(problem.kept as number, keys);
  const rows = (got.indices?.length ?? 0) / slots;
  for (let row = 0; row < rows; row++) {
    // With k = Lk the oracle's lists hold all valid keys of the row and their scores in f64.
    const valid = (wide.indices ?? []).slice(row * keys, (row + 1) * keys).filter((j) => j >= 0);
    const scoreOf = new Map(valid.map((j, slot) => [j, wide.scores[row * keys + slot] as number]));
    if ([...scoreOf.values()].some(Number.isNaN)) continue;
    const mine = (got.indices ?? []).slice(row * slots, (row + 1) * slots);
    const kept = mine.filter((j) => j >= 0);
    check(
      kept.length === Math.min(slots, valid.length),
      `row ${row}: ${kept.length} keys kept of ${valid.length} valid`,
    );
    check(
      mine.slice(kept.length).every((j) => j === -1),
      `row ${row}: unused slots come last`,
    );
    check(
      kept.every((j, slot) => slot === 0 || j > (kept[slot - 1] as number)),
      `row ${row}: keys ascend`,
    );
    check(
      kept.every((j) => scoreOf.has(j)),
      `row ${row}: only valid keys are kept`,
    );
    const ranked = [...valid].sort((a, b) => (scoreOf.get(b) as number) - (scoreOf.get(a) as number));
    const threshold = scoreOf.get(ranked[kept.length - 1] as number) ?? 0;
    const best = new Set(ranked.slice(0, kept.length));
    const headDim = problem.q.shape[3] as number;
    const epsilon = tolerance.relative * Math.max(1, Math.abs(threshold)) * Math.sqrt(headDim);
    for (const j of new Set([...kept, ...best])) {
      if (kept.includes(j) && best.has(j)) continue;
      const distance = Math.abs((scoreOf.get(j) as number) - threshold);
      check(
        distance <= epsilon,
        `row ${row}: key ${j} is ${distance} away from the k-th score (allowed ${epsilon})`,
      );
    }
  }
  const followed = solve(restrictedTo(problem, got.indices ?? [], slots));
  checkClose('output of the kept keys', got.output, followed.output, tolerance);
}

/** Exact attention over the given keys alone. */
function restrictedTo(
  problem: AttentionProblem,
  indices: readonly number[],
  slots: number,
): AttentionProblem {
  const [batch, heads, queries] = problem.q.shape as [number, number, number, number];
  const mask = nd([batch, heads, queries, problem.k.shape[2] as number], ([b = 0, h = 0, i = 0, j = 0]) => {
    const row = (b * heads + h) * queries + i;
    return indices.slice(row * slots, (row + 1) * slots).includes(j) ? 1 : 0;
  });
  return { ...problem, kept: 'all', mask };
}
