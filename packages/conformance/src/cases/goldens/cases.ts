import { relativePositionBucket } from '@topk-attention/core';
import type { ConformanceCase, ConformanceContext } from '../../harness/case.js';
import { check, checkClose, checkEqual, gradientTolerance } from '../../harness/support/assert.js';
import type { Nd } from '../../harness/support/nd.js';
import { Workbench } from '../../harness/support/workbench.js';
import { checkGradients, checkIndices } from '../attention/check.js';
import { type AttentionProblem, run as runAttention, slotsOf } from '../attention/problem.js';
import { type FeedForwardProblem, run as runFeedForward, weightRoles } from '../feed-forward/problem.js';
import type { GoldenEntry, Goldens } from './load.js';

type Tensors = ReadonlyMap<string, Nd>;

function named(tensors: Tensors, name: string | undefined): Nd {
  const found = name === undefined ? undefined : tensors.get(name);
  check(found !== undefined, `golden file without tensor ${name}`);
  return found;
}

function attentionProblem(entry: GoldenEntry, tensors: Tensors): AttentionProblem {
  const { options, inputs } = entry;
  const optional = (role: string): Nd | undefined =>
    inputs[role] ? named(tensors, inputs[role]) : undefined;
  const [mask, keyLengths, bias, table] = ['mask', 'keyLengths', 'bias', 'relativeBiasTable'].map(optional);
  return {
    q: named(tensors, inputs.q),
    k: named(tensors, inputs.k),
    v: named(tensors, inputs.v),
    ...(mask && { mask }),
    ...(keyLengths && { keyLengths }),
    ...(bias && { bias }),
    ...(table && { table }),
    ...(options.relativeBias && { relative: options.relativeBias }),
    kept: entry.op === 'topKAttention' ? (options.k ?? 0) : 'all',
    ...(options.scale !== undefined && { scale: options.scale }),
    ...(options.causal !== undefined && { causal: options.causal }),
    ...(options.queryChunk !== undefined && { queryChunk: options.queryChunk }),
    ...(options.dropout && { dropout: options.dropout }),
  };
}

async function checkAttention(
  context: ConformanceContext,
  entry: GoldenEntry,
  tensors: Tensors,
): Promise<void> {
  const problem = attentionProblem(entry, tensors);
  const expected = named(tensors, entry.outputs.out);
  const got = await runAttention(context.backend, problem);
  if (entry.outputs.indices !== undefined) {
    const indices = named(tensors, entry.outputs.indices);
    const slots = indices.shape.at(-1) as number;
    const rows = new Array<boolean>(indices.data.length / slots).fill(true);
    checkIndices(got.indices ?? [], indices.data, slots, slotsOf(problem), rows);
  }
  checkClose('output', got.output, expected.data, context.tolerance);
  if (entry.cotangent === undefined) return;
  const trained = await runAttention(context.backend, problem, named(tensors, entry.cotangent));
  const { relativeBiasTable, ...others } = entry.gradients;
  const roles = { ...others, ...(relativeBiasTable && { table: relativeBiasTable }) };
  const gradients = Object.fromEntries(
    Object.entries(roles).map(([role, name]) => [role, named(tensors, name).data]),
  );
  checkGradients(trained.gradients, gradients, context.tolerance);
}

async function checkFeedForward(
  context: ConformanceContext,
  entry: GoldenEntry,
  tensors: Tensors,
): Promise<void> {
  const { options, inputs } = entry;
  const weights = Object.fromEntries(
    Object.entries(inputs).map(([role, name]) => [role, named(tensors, name)]),
  );
  const { x, wIn, wOut, ...rest } = weights;
  check(x !== undefined && wIn !== undefined && wOut !== undefined, 'incomplete golden');
  const problem: FeedForwardProblem = {
    x,
    wIn,
    wOut,
    ...rest,
    kept: options.k ?? 0,
    activation: options.activation ?? 'relu',
    select: options.select ?? 'preactivation',
    ...(options.queryChunk !== undefined && { tokenChunk: options.queryChunk }),
  };
  const got = await runFeedForward(context.backend, problem);
  checkClose('output', got.output, named(tensors, entry.outputs.out).data, context.tolerance);
  if (entry.cotangent === undefined) return;
  const trained = await runFeedForward(context.backend, problem, named(tensors, entry.cotangent));
  for (const role of weightRoles) {
    const name = entry.gradients[role];
    if (name === undefined) continue;
    const wanted = named(tensors, name).data;
    checkClose(
      `gradient of ${role}`,
      trained.gradients[role] ?? [],
      wanted,
      gradientTolerance(context.tolerance),
    );
  }
}

async function checkRandomBits(
  context: ConformanceContext,
  entry: GoldenEntry,
  tensors: Tensors,
): Promise<void> {
  const { seed = 0, offset = [0, 0, 0, 0], shape = [] } = entry.options;
  const bench = new Workbench(context.backend, context.tolerance);
  try {
    const bits = context.backend.randomBits(seed, offset, shape);
    await bench.expect(bits, { shape, data: named(tensors, entry.outputs.bits).data }, { dtype: 'i32' });
  } finally {
    bench.releaseAll();
  }
}

function checkBuckets(entry: GoldenEntry, tensors: Tensors): void {
  const { buckets = 0, bidirectional = false, maxDistance = 0 } = entry.options;
  const positions = named(tensors, entry.inputs.positions).data;
  const got = positions.map((position) =>
    relativePositionBucket(position, { buckets, bidirectional, maxDistance }),
  );
  checkEqual('buckets', got, named(tensors, entry.outputs.buckets).data);
}

/** Values computed in f64 by Python from the paper's formulas: no JavaScript had a part in them. */
export function goldenCases(goldens: Goldens): readonly ConformanceCase[] {
  return goldens.entries.map((entry) => ({
    name: `golden ${entry.name}`,
    group: 'goldens',
    anchors: entry.anchors,
    async run(context) {
      const tensors = await goldens.tensors(entry.file);
      switch (entry.op) {
        case 'topKAttention':
        case 'exactAttention':
          return checkAttention(context, entry, tensors);
        case 'topKFeedForward':
          return checkFeedForward(context, entry, tensors);
        case 'randomBits':
          return checkRandomBits(context, entry, tensors);
        case 'relativePositionBucket':
          return checkBuckets(entry, tensors);
        default:
          return entry.op satisfies never;
      }
    },
  }));
}
