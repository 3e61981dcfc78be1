import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { textTable } from '@topk-attention/app-kit';
import {
  type BackendOptions,
  backendCommand,
  type Command,
  type CommandUnknownOpts,
  type Io,
  note,
  Option,
  ProgressBar,
  print,
  requireWritable,
  seedNumber,
  shownPath,
  wholeNumber,
  writeFileAtomically,
} from '@topk-attention/app-kit/node';
import { type Backend, TopKError } from '@topk-attention/core';
import { comparisonTable, comparisonTexts } from '../bench/comparison.js';
import { REFUSALS, refusalOf } from '../bench/measure.js';
import { trainingStep } from '../bench/mechanism-study.js';
import { type BenchResult, encodeBench, type Refused, readBench } from '../bench/result.js';
import { runJobs } from '../bench/run-jobs.js';
import type { Host } from '../host.js';
import { classifier } from '../model/classifier.js';
import { mechanismTitle } from '../model/mechanism.js';
import {
  type MechanismName,
  type MechanismSettings,
  type ModelSettings,
  mechanismNames,
  usual,
} from '../model/settings.js';
import { type PresetName, presetNames } from '../presets/presets.js';
import { quickMechanisms, quickPreset } from '../presets/quick.js';
import { accuracyTable, sectionTitle } from '../report/tables.js';
import { quickSplits } from '../sources/quick-splits.js';
import { changedPreset, plannedRuns } from '../sweep/configure.js';
import { type TaskName, taskNames, tasks } from '../tasks/task.js';
import { calledAs } from './called-as.js';
import { requireUsed } from './mechanism-options.js';
import { openLastingEngine } from './open-engine.js';
import { listOf, nameIn, taskArgument } from './option-values.js';
import { reportJson, writeReport } from './report.js';
import { rowsOf } from './rows-of.js';
import { type Finished, type NamedPreset, type TaskSources, trainRuns } from './train-runs.js';

const notes = `
Every mechanism is trained with the same data order, first weights and steps; then one step of the same model on one
document is measured at each length. A mechanism that refuses the task, cannot be trained or does not fit a length
appears with its reason. Ctrl-C saves, and --resume goes on with training and measurements.

Without --data, ListOps means the short expressions and the small model of quick: 100 steps unless --steps says
otherwise.

Examples:
  pnpm lra compare --mechanisms all --task listops --lengths 256,1024 --backend onnxruntime
  pnpm lra compare --mechanisms exact,top-k,performer,rfa --task listops --data data/listops --backend webgpu
  pnpm lra compare --mechanisms all --task listops --measure-only --lengths 1024,4096,16384`;

type CompareOptions = BackendOptions & {
  mechanisms: readonly MechanismName[];
  task: TaskName;
  data?: string;
  preset: PresetName;
  steps?: number;
  batch?: number;
  microBatch?: number;
  trim?: true;
  seed: readonly number[];
  k?: number;
  features?: number;
  landmarks: number;
  redraw?: number;
  lengths: readonly number[];
  rounds: number;
  most: number;
  out: string;
  resume?: true;
  saveEvery: number;
  measureOnly?: true;
};

/** `compare`: mechanisms side by side, in what they learn and in what they cost. */
export function compareCommand(io: Io, host: Host): CommandUnknownOpts {
  const command: Command<[], CompareOptions> = backendCommand('compare')
    .summary('mechanisms side by side: accuracy, time and memory by length')
    .description('Trains mechanisms alike on one task, measures each by length, and writes one page.')
    .usage('--mechanisms all|NAME,... --task NAME [--data DIR] [options]')
    .requiredOption('--mechanisms <NAME,...>', `all, or some of ${mechanismNames.join(', ')}`, mechanismList)
    .requiredOption('--task <NAME>', taskNames.join(', '), taskArgument)
    .option('--data <DIR>', 'folder of the rows (default: short ListOps, as quick makes them)')
    .addOption(
      new Option('--preset <NAME>', 'settings to begin with, with --data')
        .choices(presetNames)
        .default('small' as PresetName),
    )
    .option('--steps <N>', "steps of each run (default: the preset's)", wholeNumber)
    .option('--batch <N>', "examples per step (default: the preset's)", wholeNumber)
    .option(
      '--micro-batch <N>',
      'examples at a time, to save memory (default: the batch, with --trim a quarter)',
      wholeNumber,
    )
    .option('--trim', 'parts of documents of similar length, with little padding')
    .option('--seed <N,...>', 'seeds of weights, order and dropout', listOf(seedNumber), [
      1,
    ] as readonly number[])
    .option('--k <N>', 'keys that each query keeps (default: 128, without --data 8)', wholeNumber)
    .option('--features <N>', 'random features (default: 256, without --data 32)', wholeNumber)
    .option(
      '--landmarks <N>',
      'landmarks, with soft; vectors of the memory, with luna',
      wholeNumber,
      usual.landmarks,
    )
    .option('--redraw <N>', 'steps after which random features are drawn anew (default: never)', wholeNumber)
    .option('--lengths <N,...>', 'tokens of the measured document', listOf(wholeNumber), [
      1024, 4096, 16_384,
    ] as readonly number[])
    .option('--rounds <N>', 'timed passes; the median counts', wholeNumber, 3)
    .option(
      '--most <SECONDS>',
      'a mechanism stops at the length after which a pass took longer',
      wholeNumber,
      60,
    )
    .option(
      '--out <DIR>',
      'folder for runs, bench.json, lra.html, lra.md, lra.svg and crossings.svg',
      'report/compare',
    )
    .option('--resume', 'go on with what is there')
    .option('--save-every <N>', 'steps between checkpoints', wholeNumber, 500)
    .addOption(
      new Option(
        '--measure-only',
        "train nothing: time and memory by length of the preset's model",
      ).conflicts(['data', 'steps', 'batch', 'microBatch', 'trim']),
    )
    .addHelpText('after', notes);
  return command.action(async (options) => {
    if (isQuick(options)) {
      if (options.task !== 'listops') command.error(`--task ${options.task} needs --data`);
      if (command.getOptionValueSource('preset') === 'cli') command.error('--preset goes with --data');
      if (options.batch !== undefined) command.error('--batch goes with --data');
      if (options.steps !== undefined && options.steps < 5) command.error('--steps must be at least 5');
    }
    requireUsed(command, '--mechanisms', options.mechanisms);
    await compare(options, io, host);
  });
}

/** All, or some names. @throws InvalidArgumentError */
function mechanismList(text: string): readonly MechanismName[] {
  return text === 'all' ? mechanismNames : listOf((one) => nameIn(mechanismNames, one))(text);
}

/** Reasons to leave a mechanism out: it does not fit, the texts are too short for it, or what it computes is not finite. */
const REASONS: readonly string[] = [...REFUSALS, 'SHAPE_MISMATCH', 'NAN_FOUND'];

async function compare(options: CompareOptions, io: Io, host: Host): Promise<void> {
  const { mechanisms, task, seed: seeds, landmarks, redraw, out } = options;
  const defaults = isQuick(options) ? quickMechanisms : usual;
  const { k = defaults.k, features = defaults.features } = options;
  const file = join(out, 'bench.json');
  requireWritable(file);
  const sources = sourcesOf(options, io);
  const { model } = sources.presetOf(task);
  const numbers = { k, features, landmarks, ...(redraw !== undefined && { redraw }) };
  const planned = plannedRuns({ tasks: [task], mechanisms, seeds, ...numbers });
  const settings = new Map(planned.map(({ mechanism }) => [mechanismTitle(mechanism), mechanism]));

  const refused = new Map<string, string>();
  for (const [way, mechanism] of settings) {
    const reason = taskRefusal(model, mechanism);
    if (reason !== undefined) refused.set(way, reason);
  }
  const wayOf = ({ mechanism }: { readonly mechanism: MechanismSettings }): string =>
    mechanismTitle(mechanism);
  const runs = planned.filter((run) => !refused.has(wayOf(run)));
  const finished = await trainRuns(
    options.measureOnly ? [] : runs,
    sources,
    { ...options, out: join(out, 'runs') },
    io,
    host,
    (run, error) => {
      refused.set(wayOf(run), `It was not trained: ${refusalOf(error, REASONS)}`);
    },
  );
  const reasons = [...refused].map(([way, reason]): Refused => ({ way, reason }));
  const { measureOnly = false } = options;
  if ((measureOnly ? runs : finished).length === 0) {
    throw new TopKError(
      'UNSUPPORTED',
      `compare: no mechanism ${measureOnly ? 'to measure' : 'was trained'}`,
      {
        expected: 'one that takes the task',
        got: reasons.map(({ way, reason }) => `${way}: ${reason}`).join('; '),
      },
    );
  }
  // What a mechanism costs is of interest even if it could not be trained; one that refuses the task has no model.
  const measured = [...settings].filter(([way]) => runs.some((run) => wayOf(run) === way));
  const about = aboutOf(model, options.rounds, { k, features, landmarks });
  const result = await measureAll(measured, model, about, reasons, file, options, io, host);
  show(finished, result, file, options, io);
}

/** Without rows: the short expressions and the small model of `quick`. */
function isQuick({ data, measureOnly }: CompareOptions): boolean {
  return data === undefined && !measureOnly;
}

function sourcesOf(options: CompareOptions, io: Io): TaskSources {
  const { data, task, steps = 100 } = options;
  if (isQuick(options)) {
    const preset = { name: 'quick' as const, ...quickPreset(steps) };
    return { presetOf: () => preset, rowsOf: () => quickSplits(io.signal) };
  }
  const preset: NamedPreset = { name: options.preset, ...changedPreset(options.preset, task, options) };
  return {
    presetOf: () => preset,
    rowsOf: (_, { training }, bar) => rowsOf(task, { data: data as string }, training.validation, bar, io),
  };
}

/** Why a mechanism has no classifier for a task, with its settings; undefined if it has one. */
function taskRefusal(model: ModelSettings, mechanism: MechanismSettings): string | undefined {
  try {
    classifier(model, mechanism);
    return undefined;
  } catch (error) {
    if (!(error instanceof TopKError) || !['INVALID_OPTION', 'UNSUPPORTED'].includes(error.code)) throw error;
    return `It refuses the task, or its own settings: ${error.message}`;
  }
}

async function measureAll(
  measured: readonly (readonly [way: string, mechanism: MechanismSettings])[],
  model: ModelSettings,
  about: string,
  refused: readonly Refused[],
  file: string,
  options: CompareOptions,
  io: Io,
  host: Host,
): Promise<BenchResult> {
  const { lengths, rounds, most, task } = options;
  const bar = new ProgressBar(io.stderr, options.json);
  const engine = await openLastingEngine(host, options, io);
  const { backend, info } = await engine.current();
  const header: Omit<BenchResult, 'rows'> = {
    study: 'mechanisms',
    title: `A step of training by length, ${tasks[task].title}`,
    // Engines differ in what they count, and scratch memory is most of some mechanisms.
    about: `${about} What is counted: ${backend.memory().covers}.`,
    engine: info.description,
    date: new Date().toISOString().slice(0, 10),
    command: calledAs(),
    ...(refused.length > 0 && { refused }),
  };
  const write = (rows: BenchResult['rows']): void =>
    writeFileAtomically(file, encodeBench([{ ...header, rows }]));
  try {
    const jobs = [...lengths]
      .sort((a, b) => a - b)
      .flatMap((x) =>
        measured.map(([way, mechanism]) => ({
          ...{ way, x, direction: 'forward + backward' as const, isRecorded: true },
          make: (on: Backend) => trainingStep(on, model, mechanism, x),
        })),
      );
    const rows = await runJobs(engine, jobs, {
      ...{ rounds, most, signal: io.signal, refusals: [...REASONS, 'INVALID_OPTION'] },
      known: options.resume ? knownRows(file, header) : [],
      onJob: ({ way, x }, at) => bar.update(at, jobs.length, `measuring ${way}, ${x} tokens`, true),
      onRow: write,
    });
    write(rows);
    return { ...header, rows };
  } finally {
    bar.clear();
    await engine.dispose();
  }
}

/** Times of an earlier call on the same engine with the same model. What did not fit is tried again. */
function knownRows(file: string, { title, about, engine }: Omit<BenchResult, 'rows'>): BenchResult['rows'] {
  if (!existsSync(file)) return [];
  return (
    readBench(file)
      .find((one) => one.title === title && one.about === about && one.engine === engine)
      ?.rows.filter(({ milliseconds }) => milliseconds !== undefined) ?? []
  );
}

function aboutOf(model: ModelSettings, rounds: number, numbers: { readonly [name: string]: number }): string {
  const { layers, width, heads, hidden, pair } = model;
  const given = Object.entries(numbers).map(([name, value]) => `${name} ${value}`);
  return `${layers} layers of width ${width}, ${heads} heads, ${hidden} hidden units; ${pair === 'none' ? 'one document' : 'two documents'} without padding, forward and backward, without the optimiser, recorded as in training where the backend can; median of ${rounds}; ${given.join(', ')}. Memory is the most bytes of tensors at a time.`;
}

function show(
  finished: readonly Finished[],
  result: BenchResult,
  file: string,
  { out, json }: CompareOptions,
  io: Io,
): void {
  const written = writeReport({ runs: finished.map(({ folder }) => folder), bench: [file], out });
  const files = [...written.files, file];
  if (json) {
    print(io, JSON.stringify({ ...reportJson(written), comparison: result, files }));
    return;
  }
  for (const section of written.sections)
    print(io, `${sectionTitle(section)}\n\n${textTable(accuracyTable(section))}\n`);
  print(io, `${result.title}\n\n${textTable(comparisonTable(result))}\n`);
  for (const text of comparisonTexts(result)) note(io, text);
  print(io, `${result.engine}\nReport  ${files.map(shownPath).join('\n        ')}`);
}
