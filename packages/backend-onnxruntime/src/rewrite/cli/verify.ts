import { TopKError } from '@topk-attention/core';
import { rewriteFile } from '../rewrite-file.js';
import { type Comparison, compare } from './compare.js';
import { learnedOptionsOf, type Named } from './flags.js';
import { type Measurement, measure } from './measure.js';
import { type Output, PrintedError } from './output.js';
import { type Costs, costsOf, mebibytes, table } from './table.js';
import { type Trial, trialsOf } from './trials.js';
import { withFolder } from './with-folder.js';

/** A row of `verify`. */
interface VerifyRow extends Comparison {
  readonly k?: number;
  readonly inputs: string;
  readonly original: Costs;
  readonly rewritten: Costs;
}

interface VerifyFlags {
  readonly k?: readonly number[] | undefined;
  readonly at?: Named | undefined;
  readonly fixed?: Named | undefined;
  readonly learn?: true | undefined;
  readonly contrib?: true | undefined;
  readonly lengths: readonly number[];
  readonly inputs?: string | undefined;
  readonly runs: number;
  readonly tolerance?: number | undefined;
  readonly cosine: number;
  readonly json?: true | undefined;
}

/** Differences that pass by default, for numbers of about 1. */
const TOLERANCE = { float32: 1e-4, float16: 5e-3 };

/** Compares two models, or one with itself rewritten: with each of several k, or exactly with ONNX Runtime's own operator. */
export async function verify(
  original: string,
  rewritten: string | undefined,
  { k: tried, ...flags }: VerifyFlags,
  output: Output,
): Promise<void> {
  const isRewritten = tried !== undefined || flags.contrib !== undefined;
  if ((rewritten !== undefined) === isRewritten) {
    throw new TopKError('INVALID_OPTION', 'verify: what to compare with?', {
      expected: 'a second model, or --k, --contrib or both',
      got: rewritten === undefined ? 'neither' : 'both',
    });
  }
  // What the model takes at one value only, it takes in a run too.
  const at = { ...flags.fixed, ...flags.at };
  const trials = await trialsOf(original, flags.lengths, at, flags.inputs);
  const rows: VerifyRow[] = [];
  const before: Measurement[] = [];
  const measured = (model: string, { inputs, fix }: Trial): Promise<Measurement> =>
    measure({ model, inputs, fix, runs: flags.runs }, output.signal);
  for (const trial of trials) before.push(await measured(original, trial));
  if (before.some(({ outputs }) => Object.keys(outputs).length === 0)) {
    throw new TopKError('UNSUPPORTED', `verify: ${original} has nothing to compare`, {
      expected: 'an output of element type float32 or float16',
    });
  }
  const isHalf = before.some(({ outputs }) => Object.values(outputs).some(({ type }) => type === 'float16'));
  const tolerance = flags.tolerance ?? (isHalf ? TOLERANCE.float16 : TOLERANCE.float32);
  const against = async (model: string, k?: number): Promise<void> => {
    for (const [index, trial] of trials.entries()) {
      output.err(`${k === undefined ? '' : `k = ${k}, `}${trial.label}\n`);
      const first = before[index] as Measurement;
      const second = await measured(model, trial);
      rows.push({
        ...(k !== undefined && { k }),
        inputs: trial.label,
        ...compare(first.outputs, second.outputs),
        original: costsOf(first),
        rewritten: costsOf(second),
      });
    }
  };
  if (rewritten !== undefined) await against(rewritten);
  else {
    const { fixed, learn, contrib } = flags;
    const options = await learnedOptionsOf(original, { fixed, learn, contrib });
    for (const k of tried ?? [undefined]) {
      // One file at a time: each may have a copy of the weights beside it.
      await withFolder(async (folder) => {
        const target = `${folder}/model.onnx`;
        await rewriteFile(original, target, { ...options, ...(k !== undefined && { attention: { k } }) });
        await against(target, k);
      });
    }
  }
  const smallestCosine = (k: number): number =>
    Math.min(...rows.flatMap((row) => (row.k === k ? row.cosine : [])));
  const kept = [...(tried ?? [])].sort((a, b) => a - b).find((k) => smallestCosine(k) >= flags.cosine);
  const passes =
    tried === undefined ? rows.every((row) => row.largestDifference <= tolerance) : kept !== undefined;
  const error = passes
    ? undefined
    : new TopKError('OUTPUTS_DIFFER', 'verify: the models differ', {
        expected:
          tried === undefined
            ? `differences of at most ${tolerance}`
            : `a cosine of at least ${flags.cosine}`,
        got:
          tried === undefined
            ? `${Math.max(...rows.map((row) => row.largestDifference))}`
            : tried.map((k) => `${smallestCosine(k)} with k = ${k}`).join(', '),
      });
  if (flags.json) {
    const found = {
      ...{ rows, passes },
      ...(kept !== undefined && { smallestK: kept }),
      ...(error !== undefined && { error: { code: error.code, message: error.message } }),
    };
    output.out(`${JSON.stringify(found)}\n`);
    // In the one object that was printed.
    if (error !== undefined) throw new PrintedError();
    return;
  }
  output.out(verifyTable(rows));
  if (tried !== undefined)
    output.out(`smallest k of these with a cosine of at least ${flags.cosine}: ${kept ?? 'none'}\n`);
  if (error !== undefined) throw error;
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
