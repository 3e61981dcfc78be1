import { Command, InvalidArgumentError } from '@commander-js/extra-typings';
import { TopKError } from '@topk-attention/core';
import { decodeModel } from '../../onnx/read-model.js';
import { symbolsOf } from '../extents/symbols.js';
import { rewriteFile } from '../files/rewrite-file.js';
import { formatReport } from '../report.js';
import { type RewriteOptions, rewriteModel } from '../rewrite-model.js';
import { type Comparison, compare } from './compare.js';
import { givenInputs, type InputValues, madeUpInputs } from './inputs.js';
import { type Measurement, measure } from './measure.js';

/** Where the program writes. */
export interface Output {
  readonly out: (text: string) => void;
  readonly err: (text: string) => void;
  readonly signal: AbortSignal;
}

function whole(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1)
    throw new InvalidArgumentError('It is no whole number of at least 1.');
  return value;
}

function wholes(text: string): readonly number[] {
  return text.split(',').map(whole);
}

function fraction(text: string): number {
  const value = Number(text);
  if (text.trim() === '' || Number.isNaN(value)) throw new InvalidArgumentError('It is no number.');
  return value;
}

type Named = { readonly [name: string]: number };

function named(text: string, before: Named = {}): Named {
  const end = text.lastIndexOf('=');
  if (end < 1) throw new InvalidArgumentError('It is not NAME=NUMBER.');
  return { ...before, [text.slice(0, end)]: whole(text.slice(end + 1)) };
}

interface RewriteFlags {
  readonly k?: number | undefined;
  readonly chunkBytes?: number | undefined;
  readonly fixed?: Named | undefined;
  readonly at?: Named | undefined;
  readonly strict?: true | undefined;
  readonly feedForward?: true | undefined;
}

function optionsOf({ k, chunkBytes, fixed, at, strict, feedForward }: RewriteFlags): RewriteOptions {
  return {
    ...(k !== undefined && { attention: { k } }),
    ...(chunkBytes !== undefined && { chunkBytes }),
    ...(fixed !== undefined && { fixed }),
    ...(at !== undefined && { at }),
    ...(strict !== undefined && { strict }),
    ...(feedForward !== undefined && { feedForward: 'chunked' }),
  };
}

const K = [
  '-k, --k <number>',
  'keep so many keys of each query; without it attention stays exact',
  whole,
] as const;
const CHUNK = ['--chunk-bytes <number>', 'bytes of one chunk of scores', whole] as const;
const FEED_FORWARD = ['--feed-forward', 'compute feed-forward layers in chunks of tokens'] as const;
const FIXED = [
  '--fixed <name=number>',
  'an open extent that the model takes at one value only',
  named,
] as const;
const AT = ['--at <name=number>', 'an extent to give bytes for, or to run at', named] as const;
const JSON_FLAG = ['--json', 'print JSON'] as const;
const STRICT = ['--strict', 'fail if anything is left as it is'] as const;

/** `topk-onnx`: what a model's attention is made of, a rewritten file, and both compared. */
export function createProgram(output: Output): Command {
  const program = new Command('topk-onnx');
  program.description(
    'Rewrites the attention of ONNX models so that memory grows with the length, not its square.',
  );
  program
    .command('inspect <model>')
    .description('say which attention blocks can be rewritten, and what that saves')
    .option(...K)
    .option(...FEED_FORWARD)
    .option(...CHUNK)
    .option(...FIXED)
    .option(...AT)
    .option(...STRICT)
    .option(...JSON_FLAG)
    .action(async (model, flags) => {
      const { report } = rewriteModel(await read(model), optionsOf(flags));
      output.out(flags.json ? `${JSON.stringify(report)}\n` : formatReport(report));
    });
  program
    .command('rewrite <model> <target>')
    .description('write a rewritten model to a new file')
    .option(...K)
    .option(...FEED_FORWARD)
    .option(...CHUNK)
    .option(...FIXED)
    .option(...AT)
    .option(...STRICT)
    .option(...JSON_FLAG)
    .action(async (model, target, flags) => {
      const report = await rewriteFile(model, target, optionsOf(flags));
      output.out(flags.json ? `${JSON.stringify(report)}\n` : `${formatReport(report)}written: ${target}\n`);
    });
  program
    .command('verify <original> [rewritten]')
    .description(
      'run two models on the same inputs, each in a process of its own, and compare; or try several k',
    )
    .option('-k, --k <numbers>', 'rewrite with each of these, separated by commas, and compare', wholes)
    .option('--lengths <numbers>', 'lengths, separated by commas', wholes, [64, 256])
    .option('--inputs <file>', 'JSON: an object of nested arrays by input, or an array of such objects')
    .option(...AT)
    .option(...FIXED)
    .option('--runs <number>', 'runs of each model, of which the quickest counts', whole, 2)
    .option('--tolerance <number>', 'largest difference that passes, where no k is tried', fraction, 1e-4)
    .option('--cosine <number>', 'smallest cosine that a k may lead to', fraction, 0.99)
    .option(...JSON_FLAG)
    .action((original, rewritten, flags) => verify(original, rewritten, flags, output));
  program
    .command('bench <models...>')
    .description('time and memory of models at growing lengths, each run in a process of its own')
    .option('--lengths <numbers>', 'lengths, separated by commas', wholes, [128, 512, 2048])
    .option(...AT)
    .option('--runs <number>', 'runs, of which the quickest counts', whole, 2)
    .option(...JSON_FLAG)
    .action((models, flags) => bench(models, flags, output));
  return program;
}

async function read(path: string): Promise<Uint8Array> {
  const { readFile } = await import('node:fs/promises');
  try {
    return await readFile(path);
  } catch (cause) {
    throw new TopKError('FILE_NOT_FOUND', `cannot open ${path}`, {
      got: cause instanceof Error ? cause.message : String(cause),
      fix: 'Check the path',
      cause,
    });
  }
}

interface Trial {
  readonly label: string;
  readonly inputs: readonly InputValues[];
}

/** One set of inputs for every length, or those of a file. */
async function trialsOf(
  path: string,
  lengths: readonly number[],
  at: Named,
  inputs?: string,
): Promise<readonly Trial[]> {
  const model = decodeModel(await read(path), path);
  if (inputs !== undefined) {
    const given: unknown = JSON.parse(new TextDecoder().decode(await read(inputs)));
    return [given].flat().map((one, index) => ({ label: `input ${index}`, inputs: givenInputs(model, one) }));
  }
  const open = symbolsOf(model).filter((name) => !Object.hasOwn(at, name));
  const isOpen = open.some((name) => !/batch/i.test(name));
  return (isOpen ? lengths : lengths.slice(0, 1)).map((length) => {
    const extents = new Map(open.map((name) => [name, /batch/i.test(name) ? 1 : length]));
    for (const [name, extent] of Object.entries(at)) extents.set(name, extent);
    const label = [...extents].map(([name, extent]) => `${name} ${extent}`).join(', ') || 'fixed extents';
    return { label, inputs: madeUpInputs(model, extents) };
  });
}

/** A row of `verify`. */
interface VerifyRow extends Comparison {
  readonly k?: number;
  readonly inputs: string;
  readonly original: Costs;
  readonly rewritten: Costs;
}

interface Costs {
  readonly milliseconds: number;
  readonly peakBytes: number;
}

interface VerifyFlags extends RewriteFlags {
  readonly lengths: readonly number[];
  readonly inputs?: string | undefined;
  readonly runs: number;
  readonly tolerance: number;
  readonly cosine: number;
  readonly json?: true | undefined;
}

async function verify(
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
  const kept = [...(tried ?? [])]
    .sort((a, b) => a - b)
    .find((k) => rows.every((row) => row.k !== k || row.cosine >= flags.cosine));
  const passes =
    tried === undefined ? rows.every((row) => row.largestDifference <= flags.tolerance) : kept !== undefined;
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
      tried === undefined
        ? `differences of at most ${flags.tolerance}`
        : `a cosine of at least ${flags.cosine}`,
    got:
      tried === undefined
        ? `${Math.max(...rows.map((row) => row.largestDifference))}`
        : `${Math.max(...rows.map((row) => row.cosine))}`,
  });
}

function costsOf({ milliseconds, peakBytes }: Measurement): Costs {
  return { milliseconds, peakBytes };
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

function mebibytes({ peakBytes }: Costs): string {
  return (peakBytes / 2 ** 20).toFixed(0);
}

function table(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const all = [header, ...rows];
  const widths = header.map((_, column) => Math.max(...all.map((row) => (row[column] as string).length)));
  return all
    .map(
      (row) =>
        `${row
          .map((cell, column) => cell.padEnd(widths[column] as number))
          .join('  ')
          .trimEnd()}\n`,
    )
    .join('');
}

async function bench(
  models: readonly string[],
  flags: {
    readonly lengths: readonly number[];
    readonly at?: Named | undefined;
    readonly runs: number;
    readonly json?: true | undefined;
  },
  output: Output,
): Promise<void> {
  const rows: ({ readonly model: string; readonly inputs: string } & Costs)[] = [];
  for (const model of models) {
    for (const { label, inputs } of await trialsOf(model, flags.lengths, flags.at ?? {})) {
      output.err(`${model}, ${label}\n`);
      rows.push({
        model,
        inputs: label,
        ...costsOf(await measure({ model, inputs, runs: flags.runs }, output.signal)),
      });
    }
  }
  if (flags.json) output.out(`${JSON.stringify({ rows })}\n`);
  else {
    output.out(
      table(
        ['model', 'inputs', 'ms', 'MiB'],
        rows.map((row) => [row.model, row.inputs, row.milliseconds.toFixed(0), mebibytes(row)]),
      ),
    );
  }
}
