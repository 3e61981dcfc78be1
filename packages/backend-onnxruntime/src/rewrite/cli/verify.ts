import { TopKError } from '@topk-attention/core';
import { rewriteFile } from '../rewrite-file.js';
import { type Comparison, compare } from './compare.js';
import { optionsOf, type RewriteFlags } from './flags.js';
import { type Measurement, measure } from './measure.js';
import type { Output } from './output.js';
import { type Costs, costsOf, mebibytes, table } from './table.js';
import { trialsOf } from './trials.js';

/** A row of `verify`. */
interface VerifyRow extends Comparison {
  readonly k?: number;
  readonly inputs: string;
  readonly original: Costs;
  readonly rewritten: Costs;
}

interface VerifyFlags extends RewriteFlags {
  readonly lengths: readonly number[];
  readonly inputs?: string | undefined;
  readonly runs: number;
  readonly tolerance?: number | undefined;
  readonly cosine: number;
  readonly json?: true | undefined;
}

/** Differences that pass by default, for numbers of about 1. */
const TOLERANCE = { float32: 1e-4, float16: 5e-3 };

/** Compares two models, or one with itself rewritten with each of several k. */
export async function verify(
  original: string,
  rewritten: string | undefined,
  { k: tried, ...flags }: Omit<VerifyFlags, 'k'> & { readonly k?: readonly number[] | undefined },
  output: Output,
): Promise<void> {
  if ((rewritten === undefined) === (tried === undefined)) {
    throw new TopKError('INVALID_OPTION', 'verify: what to compare with?', {
      expected: 'a second model, or --k',
      got: rewritten === undefined ? 'neither' : 'both',
    });
  }
  const trials = await trialsOf(original, flags.lengths, flags.at ?? {}, flags.inputs);
  const rows: VerifyRow[] = [];
  const before: Measurement[] = [];
  for (const { inputs } of trials)
    before.push(await measure({ model: original, inputs, runs: flags.runs }, output.signal));
  if (before.some(({ outputs }) => Object.keys(outputs).length === 0)) {
    throw new TopKError('UNSUPPORTED', `verify: ${original} has nothing to compare`, {
      expected: 'an output of element type float32 or float16',
    });
  }
  const isHalf = before.some(({ outputs }) => Object.values(outputs).some(({ type }) => type === 'float16'));
  const tolerance = flags.tolerance ?? (isHalf ? TOLERANCE.float16 : TOLERANCE.float32);
  const against = async (model: string, k?: number): Promise<void> => {
    for (const [at, { label, inputs }] of trials.entries()) {
      output.err(`${k === undefined ? '' : `k = ${k}, `}${label}\n`);
      const first = before[at] as Measurement;
      const second = await measure({ model, inputs, runs: flags.runs }, output.signal);
      rows.push({
        ...(k !== undefined && { k }),
        inputs: label,
        ...compare(first.outputs, second.outputs),
        original: costsOf(first),
        rewritten: costsOf(second),
      });
    }
  };
  if (rewritten !== undefined) await against(rewritten);
  else
    await withFolder(async (folder) => {
      for (const k of tried ?? []) {
        const target = `${folder}/${k}.onnx`;
        await rewriteFile(original, target, optionsOf({ ...flags, at: undefined, k }));
        await against(target, k);
      }
    });
  const smallestCosine = (k: number): number =>
    Math.min(...rows.flatMap((row) => (row.k === k ? row.cosine : [])));
  const kept = [...(tried ?? [])].sort((a, b) => a - b).find((k) => smallestCosine(k) >= flags.cosine);
  const passes =
    tried === undefined ? rows.every((row) => row.largestDifference <= tolerance) : kept !== undefined;
  if (flags.json)
    output.out(`${JSON.stringify({ rows, passes, ...(kept !== undefined && { smallestK: kept }) })}\n`);
  else {
    output.out(verifyTable(rows));
    if (tried !== undefined)
      output.out(`smallest k of these with a cosine of at least ${flags.cosine}: ${kept ?? 'none'}\n`);
  }
  if (passes) return;
  throw new TopKError('OUTPUTS_DIFFER', 'verify: the models differ', {
    expected:
      tried === undefined ? `differences of at most ${tolerance}` : `a cosine of at least ${flags.cosine}`,
    got:
      tried === undefined
        ? `${Math.max(...rows.map((row) => row.largestDifference))}`
        : `${(tried ?? []).map((k) => `${smallestCosine(k)} with k = ${k}`).join(', ')}`,
  });
}

/** Runs with a folder that is removed afterwards. */
async function withFolder(use: (folder: string) => Promise<void>): Promise<void> {
  const [{ mkdtemp, rm }, { tmpdir }, { join }] = await Promise.all([
    import('node:fs/promises'),
    import('node:os'),
    import('node:path'),
  ]);
  const folder = await mkdtemp(join(tmpdir(), 'topk-onnx-'));
  try {
    await use(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function verifyTable(rows: readonly VerifyRow[]): string {
  const header = ['k', 'inputs', 'difference', 'cosine', 'same largest', 'ms', 'MiB'];
  return table(
    header,
    rows.map((row) => [
      row.k === undefined ? '-' : `${row.k}`,
      row.inputs,
      row.largestDifference.toExponential(1),
      row.cosine.toFixed(5),
      row.sameLargest.toFixed(3),
      `${row.original.milliseconds.toFixed(0)} -> ${row.rewritten.milliseconds.toFixed(0)}`,
      `${mebibytes(row.original)} -> ${mebibytes(row.rewritten)}`,
    ]),
  );
}
