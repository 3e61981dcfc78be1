import { join } from 'node:path';
import { formatCount } from '@topk-attention/app-kit';
import {
  Command,
  type CommandUnknownOpts,
  type Io,
  Option,
  ProgressBar,
  print,
  seedNumber,
  shownPath,
  wholeNumber,
} from '@topk-attention/app-kit/node';
import { encodeRows, packedName } from '../data/packed.js';
import type { Rows } from '../data/rows.js';
import { hashOf, majorityOf, type SplitName, type Splits, splitNames } from '../data/splits.js';
import { requireFolder, writeBytes } from '../data/write.js';
import { encodePng } from '../images/png.js';
import { LISTOPS_HEADER, listOpsFiles, listOpsLine } from '../listops/read.js';
import { sceneOf } from '../pathfinder/scene.js';
import { pathfinderSettings } from '../pathfinder/settings.js';
import { answerKey, contactSheet } from '../pathfinder/sheet.js';
import { type GeneratedTask, publishedCounts, streamOf } from '../sources/generate.js';
import { generateSplits } from '../sources/generate-splits.js';
import { readTask, type Validation } from '../sources/read.js';
import { type TaskName, taskNames, tasks } from '../tasks/task.js';
import { taskArgument } from './option-values.js';

const notes = `
ListOps, Pathfinder and Path-X are generated, with the published parameters. Rows depend on the seed, the split and
their number alone. With --from, the published files of any task are read and packed instead: one file per split,
which opens quickly and travels well.

Examples:
  pnpm lra generate listops --out data/listops
  pnpm lra generate pathfinder --out data/pathfinder --train 8000 --sheet 64
  pnpm lra generate image --from cifar-10-batches-bin --out data/image --gzip`;

type GenerateOptions = {
  json?: true;
  out: string;
  from?: string;
  seed: number;
  train?: number;
  validation?: number;
  test?: number;
  format: 'packed' | 'tsv';
  gzip?: true;
  threads?: number;
  sheet?: number;
  heldOut?: true;
};

/** `generate`: rows of a task in a folder. */
export function generateCommand(io: Io): CommandUnknownOpts {
  const command = new Command('generate')
    .summary('makes or packs the rows of a task')
    .description('Makes the rows of a task, or packs those of published files.')
    .usage('<task> --out DIR [options]')
    .argument('<task>', taskNames.join(', '), taskArgument)
    .requiredOption('--out <DIR>', 'the folder for the rows')
    .option('--json', 'print one JSON object on standard output, errors included')
    .option('--from <DIR>', 'read the published files there instead of generating')
    .option(
      '--held-out',
      'with --from, for text: validate on a tenth of the training rows, not on the test rows',
    )
    .option('--seed <N>', 'seed of the generator', seedNumber, 1)
    .option('--train <N>', 'rows to train on (default: as published)', wholeNumber)
    .option('--validation <N>', 'rows to validate on (default: as published)', wholeNumber)
    .option('--test <N>', 'rows to test on (default: as published)', wholeNumber)
    .addOption(
      new Option('--format <NAME>', 'packed rows, or the published files of ListOps')
        .choices(['packed', 'tsv'] as const)
        .default('packed' as const),
    )
    .option('--gzip', 'compress packed rows')
    .option('--threads <N>', 'threads that generate (default: one per core)', wholeNumber)
    .option(
      '--sheet <N>',
      'Pathfinder, Path-X: also a sheet of the first N pictures, and one with the answers',
      wholeNumber,
    )
    .addHelpText('after', notes);
  return command.action(async (task, options: GenerateOptions) => {
    const isGenerated = tasks[task].canGenerate;
    if (options.from === undefined && !isGenerated)
      command.error(`${task} cannot be generated: name its published files with --from`);
    if (options.format === 'tsv' && (task !== 'listops' || options.from !== undefined))
      command.error('--format tsv goes with generated rows of listops');
    if (options.sheet !== undefined && (task === 'listops' || !isGenerated || options.from !== undefined))
      command.error('--sheet goes with generated pictures');
    await generate(task, options, io);
  });
}

async function generate(task: TaskName, options: GenerateOptions, io: Io): Promise<void> {
  requireFolder(options.out);
  const bar = new ProgressBar(io.stderr, options.json);
  try {
    const { splits, about } =
      options.from === undefined
        ? await generated(task as GeneratedTask, options, bar, io)
        : await packed(task, options.from, options.heldOut ? 'held-out' : 'test', bar, io);
    const files: string[] = [];
    for (const split of splitNames) {
      io.signal.throwIfAborted();
      files.push(write(task, split, splits[split], about, options));
    }
    if (options.sheet !== undefined) files.push(...writeSheets(task as 'pathfinder' | 'path-x', options));
    bar.clear();
    const report = {
      task,
      hash: hashOf(splits),
      rows: Object.fromEntries(splitNames.map((split) => [split, splits[split].length])),
      majority: majorityOf(splits.test),
      notes: splits.notes,
      files,
    };
    if (options.json) {
      print(io, JSON.stringify(report));
      return;
    }
    for (const split of splitNames) print(io, `${split.padEnd(12)}${formatCount(splits[split].length)} rows`);
    print(io, `majority    ${report.majority.toFixed(1)} % of the test rows`);
    for (const one of splits.notes) print(io, `note        ${one}`);
    for (const file of files) print(io, `written     ${shownPath(file)}`);
  } finally {
    bar.clear();
  }
}

interface Made {
  readonly splits: Splits;
  readonly about: { readonly [name: string]: unknown };
}

async function generated(
  task: GeneratedTask,
  options: GenerateOptions,
  bar: ProgressBar,
  io: Io,
): Promise<Made> {
  const { seed } = options;
  const published = publishedCounts[task];
  const splits = await generateSplits(task, {
    seed,
    ...(options.threads !== undefined && { threads: options.threads }),
    counts: {
      train: options.train ?? published.train,
      validation: options.validation ?? published.validation,
      test: options.test ?? published.test,
    },
    onProgress: (done, total, split) => bar.update(done, total, `${split} rows`, true),
    signal: io.signal,
  });
  return { splits, about: { generator: `topk-attention ${task}`, seed, notes: splits.notes } };
}

async function packed(
  task: TaskName,
  from: string,
  validation: Validation,
  bar: ProgressBar,
  io: Io,
): Promise<Made> {
  const splits = await readTask(task, from, {
    validation,
    signal: io.signal,
    onProgress: (done, total, label) => bar.update(done, total ?? done, label),
  });
  return { splits, about: { from, notes: splits.notes, ...(task === 'text' && { validation }) } };
}

function write(
  task: TaskName,
  split: SplitName,
  rows: Rows,
  about: Made['about'],
  { out, format, gzip }: GenerateOptions,
): string {
  if (format === 'tsv') {
    const path = join(out, listOpsFiles[split]);
    const lines = Array.from({ length: rows.length }, (_, row) =>
      Buffer.from(listOpsLine(rows.document(row), rows.label(row))),
    );
    writeBytes(path, [Buffer.from(`${LISTOPS_HEADER}\n`), ...lines]);
    return path;
  }
  const path = join(out, `${packedName(task, split)}${gzip ? '.gz' : ''}`);
  writeBytes(path, [encodeRows(rows, { task, split, about }, { gzip: gzip === true })]);
  return path;
}

function writeSheets(task: 'pathfinder' | 'path-x', { out, seed, sheet = 0 }: GenerateOptions): string[] {
  const settings = pathfinderSettings[task];
  const scenes = Array.from({ length: sheet }, (_, row) => sceneOf(settings, seed, streamOf('train'), row));
  return [
    { name: 'sheet.png', picture: contactSheet(scenes, settings) },
    { name: 'sheet-answers.png', picture: answerKey(scenes, settings) },
  ].map(({ name, picture }) => {
    const path = join(out, `${task}-${name}`);
    writeBytes(path, [encodePng(picture)]);
    return path;
  });
}
