import {
  evaluate,
  exactAttention,
  explain,
  grad,
  planAttention,
  sum,
  type Tensor,
  TopKError,
  tensor,
  topKAttention,
  zeros,
} from '@topk-attention/core';
import type { AttentionRequest } from '@topk-attention/core/backend';
import type { ConformanceCase, ConformanceContext } from '../../harness/case.js';
import { check, checkThrows } from '../../harness/support/assert.js';
import { Random } from '../../harness/support/random.js';
import { explainedRunCases } from './explained-runs.js';

function planning(
  name: string,
  run: ConformanceCase['run'],
  notFor?: ConformanceCase['notFor'],
): ConformanceCase {
  return { name: `planning: ${name}`, group: 'planning', run, ...(notFor && { notFor }) };
}

/** Bytes planned for both passes; empty if a budget is refused. */
function plannedWithin(plan: () => ReturnType<typeof explain>): number[] {
  try {
    const { plan: forward, backward } = plan();
    return [forward.bytes.total, backward?.plan.bytes.total ?? Number.NaN];
  } catch (error) {
    if (error instanceof TopKError && error.code === 'DOES_NOT_FIT') return [];
    throw error;
  }
}

interface Sizes {
  readonly heads: number;
  readonly queries: number;
  readonly keys: number;
  readonly dim: number;
  readonly kept: number | 'all';
  readonly causal: boolean;
  readonly queryChunk?: number;
  /** With kept 'all'. */
  readonly sigmoidShift?: number;
}

const measured: readonly Sizes[] = [
  { heads: 4, queries: 256, keys: 256, dim: 32, kept: 16, causal: false },
  { heads: 4, queries: 256, keys: 256, dim: 32, kept: 16, causal: true },
  { heads: 2, queries: 128, keys: 512, dim: 16, kept: 64, causal: false, queryChunk: 32 },
  { heads: 2, queries: 128, keys: 512, dim: 64, kept: 'all', causal: false, queryChunk: 32 },
  { heads: 2, queries: 128, keys: 512, dim: 64, kept: 'all', causal: true, queryChunk: 16 },
  { heads: 2, queries: 128, keys: 512, dim: 8, kept: 'all', causal: true, queryChunk: 16, sigmoidShift: -6 },
  { heads: 2, queries: 128, keys: 512, dim: 8, kept: 'all', causal: false, queryChunk: 32, sigmoidShift: -6 },
  { heads: 1, queries: 64, keys: 1024, dim: 8, kept: 256, causal: true, queryChunk: 64 },
];

/** Peak bytes beyond the inputs of a forward call, as the backend counts them. */
async function measure(
  { backend }: ConformanceContext,
  sizes: Sizes,
): Promise<{ planned: number; measured: number }> {
  const { heads, queries, keys, dim, kept, causal, queryChunk, sigmoidShift } = sizes;
  const random = new Random('plan');
  const up = (length: number): Tensor => {
    const shape = [1, heads, length, dim];
    return tensor(backend, Float32Array.from(random.uniform(shape).data), shape);
  };
  const [q, k, v] = [up(queries), up(keys), up(keys)];
  await evaluate(q, k, v);
  const options = { causal, ...(queryChunk !== undefined && { queryChunk }) };
  const shapes = { q: q.shape, k: k.shape, v: v.shape };
  const shift = sigmoidShift !== undefined && { sigmoidShift };
  const { plan } = explain(backend, shapes, { ...options, ...(kept !== 'all' && { k: kept }), ...shift });
  const before = backend.memory().live;
  backend.resetPeak();
  const output =
    kept === 'all'
      ? exactAttention(q, k, v, { ...options, ...shift })
      : topKAttention(q, k, v, { ...options, k: kept });
  await evaluate(output);
  const peak = backend.memory().peak ?? 0;
  for (const one of [q, k, v, output]) one.dispose();
  return { planned: plan.bytes.total, measured: peak - before };
}

const request: AttentionRequest = {
  batch: 1,
  queryHeads: 2,
  keyHeads: 2,
  queryLength: 100,
  keyLength: 100,
  headDim: 8,
  valueDim: 8,
  dtype: 'f32',
  k: 10,
  scale: 1,
  causal: false,
  keyLengths: false,
  saves: true,
};

export const planningCases: readonly ConformanceCase[] = [
  planning('a plan needs no device, fits its budget and covers all queries', ({ backend }) => {
    const { limits } = backend.capabilities;
    const whole = planAttention(request, limits);
    check(whole.queryChunk >= 1 && whole.queryChunk * whole.chunks >= 100, 'the chunks cover all queries');
    const smaller = planAttention(request, limits, { queryChunk: 1 });
    const budgetBytes = Math.ceil((smaller.bytes.total + whole.bytes.total) / 2);
    const squeezed = planAttention(request, limits, { budgetBytes });
    check(squeezed.bytes.total <= budgetBytes, `${squeezed.bytes.total} bytes planned of ${budgetBytes}`);
    check(squeezed.queryChunk * squeezed.chunks >= 100, 'the chunks of the squeezed plan cover all queries');
    check(
      smaller.bytes.saved === 8 * 2 * 100 * 10,
      `saved lists of ${smaller.bytes.saved} bytes, 8 a key expected`,
    );
  }),
  planning('a request that cannot fit fails before anything is allocated', ({ backend }) => {
    const x = zeros(backend, [1, 2, 16, 4]);
    const live = backend.memory().live;
    checkThrows('budget', () => topKAttention(x, x, x, { k: 2, budgetBytes: 64 }), 'DOES_NOT_FIT');
    check(backend.memory().live === live, 'nothing was allocated');
    x.dispose();
  }),
  planning('memory grows linearly with the length at a fixed chunk', ({ backend }) => {
    const { limits } = backend.capabilities;
    const at = (length: number): number =>
      planAttention({ ...request, queryLength: length, keyLength: length }, limits, { queryChunk: 16 }).bytes
        .total;
    const ratio = at(65536) / at(32768);
    check(ratio > 1.9 && ratio < 2.1, `twice the length needs ${ratio.toFixed(3)} times the bytes`);
  }),
  planning('a budget holds for the backward pass too, or is refused at the call', ({ backend }) => {
    const shape = [1, 2, 128, 16];
    const shapes = { q: shape, k: shape, v: shape };
    for (const k of [undefined, 8]) {
      const options = { ...(k !== undefined && { k }), training: true };
      const { plan, backward } = explain(backend, shapes, options);
      const needed = Math.max(plan.bytes.total, backward?.plan.bytes.total ?? 0);
      for (const share of [4, 0.9, 0.7, 0.5]) {
        const budgetBytes = Math.ceil(needed * share);
        const planned = plannedWithin(() => explain(backend, shapes, { ...options, budgetBytes }));
        check(
          share < 1 || planned.length > 0,
          `${needed} bytes needed, and a budget of ${budgetBytes} refused`,
        );
        for (const bytes of planned) check(bytes <= budgetBytes, `${bytes} bytes planned of ${budgetBytes}`);
      }
      // The gradients alone are three times the output.
      const budgetBytes = 4 * 2 * 128 * 16 * 2;
      const x = zeros(backend, shape);
      const live = backend.memory().live;
      const call = () =>
        grad((one: Tensor) =>
          sum(
            k === undefined
              ? exactAttention(one, one, one, { budgetBytes })
              : topKAttention(one, one, one, { k, budgetBytes }),
          ),
        )(x);
      checkThrows('budget of the backward pass', call, 'DOES_NOT_FIT');
      check(backend.memory().live === live, 'nothing was allocated');
      x.dispose();
    }
  }),
  planning('explain() names one path and says why the others do not run', ({ backend }) => {
    const shape = [1, 2, 16, 4];
    const { path, paths, plan, ...rest } = explain(backend, { q: shape, k: shape, v: shape }, { k: 3 });
    check(plan.bytes.total > 0 && rest.backend === backend.name, 'a plan, and the backend it is for');
    for (const one of paths) {
      check((one.path === path) === (one.refusals.length === 0), `${one.path}: ${one.refusals.join(', ')}`);
    }
  }),
  ...explainedRunCases,
  ...measured.map((sizes) =>
    planning(
      `planned bytes are 1.0 to 1.5 times the measured ones: ${JSON.stringify(sizes)}`,
      async (context) => {
        if (context.backend.memory().peak === undefined) return;
        const { planned, measured: bytes } = await measure(context, sizes);
        const ratio = planned / bytes;
        check(ratio >= 1 && ratio <= 1.5, `planned ${planned}, measured ${bytes}: ${ratio.toFixed(3)} times`);
      },
      ({ execution, floatStorage }) =>
        // Where a backend does not count its scratch, its own tests measure the growth of a process instead.
        execution !== 'eager' || floatStorage !== 'f32' ? 'does not count eager f32 bytes' : undefined,
    ),
  ),
];
