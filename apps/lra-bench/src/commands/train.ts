import { formatCount, formatDuration, formatMebibytes, textTable } from '@topk-attention/app-kit';
import {
  type BackendOptions,
  backendCommand,
  type Command,
  type CommandUnknownOpts,
  type Io,
  Option,
  positiveNumber,
  print,
  seedNumber,
  shownPath,
  wholeNumber,
} from '@topk-attention/app-kit/node';
import type { Host } from '../host.js';
import { mechanismTitle } from '../model/mechanism.js';
import { type MechanismName, mechanismNames, usual } from '../model/settings.js';
import { type PresetName, presetNames } from '../presets/presets.js';
import { type Changes, changedPreset, plannedRuns, type Shard } from '../sweep/configure.js';
import { type TaskName, taskNames } from '../tasks/task.js';
import { requireUsed } from './mechanism-options.js';
import { listOf, nameIn, shardOf, taskArgument } from './option-values.js';
import { rowsOf } from './rows-of.js';
import { type Finished, type NamedPreset, trainRuns } from './train-runs.js';

const notes = `
Tasks, mechanisms and seeds may be lists: every combination is a run in a folder of its own under --out. All runs of a
task begin with the same weights for the same seed and see the same examples in the same order. With --shard i/n a
process makes every n-th run, so that any scheduler can spread a sweep. Ctrl-C saves and says how to go on.

Presets:
  small        the configuration most published numbers use, with its traps
  small-clean  the same with the traps mended; each is a switch below
  original     the models and schedules of the benchmark's own code

Examples:
  pnpm lra train --task listops --data data/listops --mechanism exact,top-k,performer --k 128 --seed 1,2,3
  pnpm lra train --task image --data data/image --mechanism top-k --steps 6000 --micro-batch 64 --resume`;

type TrainOptions = BackendOptions &
  Omit<Changes, 'zeroPixel'> & {
    task: readonly TaskName[];
    data: string;
    preset: PresetName;
    mechanism: readonly MechanismName[];
    k: number;
    features: number;
    landmarks: number;
    redraw?: number;
    precision: 'f32' | 'mixed';
    feedForwardK?: number;
    seed: readonly number[];
    microBatch?: number;
    trim?: true;
    zeroPixel?: 'masked' | 'shifted';
    out: string;
    resume?: true;
    saveEvery: number;
    shard?: Shard;
  };

/** `train`: runs of one or several tasks, mechanisms and seeds. */
export function trainCommand(io: Io, host: Host): CommandUnknownOpts {
  const command: Command<[], TrainOptions> = backendCommand('train')
    .summary('trains classifiers, each in a run folder')
    .description('Trains a classifier per task, mechanism and seed, each in a run folder of its own.')
    .usage('--task NAME --data DIR [options]')
    .requiredOption('--task <NAME,...>', taskNames.join(', '), listOf(taskArgument))
    .requiredOption('--data <DIR>', 'folder of the rows, or with a folder per task in it')
    .addOption(
      new Option('--preset <NAME>', 'settings to begin with')
        .choices(presetNames)
        .default('small' as PresetName),
    )
    .option(
      '--mechanism <NAME,...>',
      mechanismNames.join(', '),
      listOf((text) => nameIn(mechanismNames, text)),
      ['exact'] as readonly MechanismName[],
    )
    .option('--k <N>', 'keys that each query keeps, with top-k, sbm and sparsefinder', wholeNumber, usual.k)
    .option(
      '--features <N>',
      'random features, with performer, rfa and relative-kernel',
      wholeNumber,
      usual.features,
    )
    .option(
      '--landmarks <N>',
      'landmarks, with soft; vectors of the memory, with luna',
      wholeNumber,
      usual.landmarks,
    )
    .option('--redraw <N>', 'steps after which random features are drawn anew (default: never)', wholeNumber)
    .option('--feed-forward-k <N>', 'hidden units that each token keeps (default: all)', wholeNumber)
    .addOption(
      new Option('--precision <NAME>', 'mixed computes in f16 where that is safe; needs a GPU with f16')
        .choices(['f32', 'mixed'] as const)
        .default('f32' as const),
    )
    .option('--seed <N,...>', 'seeds of weights, order and dropout', listOf(seedNumber), [
      1,
    ] as readonly number[])
    .option('--out <DIR>', 'folder for the run folders', 'runs')
    .option('--resume', 'go on with runs that are there; finished ones are kept')
    .option('--shard <I/N>', 'only every N-th run, from the I-th on', shardOf)
    .option('--save-every <N>', 'steps between checkpoints', wholeNumber, 500)
    .optionsGroup('Changes to the preset:')
    .option('--steps <N>', 'steps to train; the warm-up shrinks or grows with them', wholeNumber)
    .option('--warmup <N>', 'steps of the warm-up', wholeNumber)
    .option('--batch <N>', 'examples per step', wholeNumber)
    .option(
      '--micro-batch <N>',
      'examples at a time, to save memory (default: the batch, with --trim a quarter)',
      wholeNumber,
    )
    .option('--trim', 'parts of documents of similar length, with little padding')
    .option('--learning-rate <X>', 'highest learning rate', positiveNumber)
    .option('--eval-every <N>', 'steps between validations', wholeNumber)
    .option('--tokens <N>', 'tokens of a document', wholeNumber)
    .addOption(
      rule('--pooling <RULE>', 'mean over the padded length, or over the tokens', ['padded', 'masked']),
    )
    .addOption(rule('--momentum <RULE>', 'first beta moves against the rate, or not', ['cycled', 'fixed']))
    .addOption(rule('--zero-pixel <RULE>', 'black pixels are hidden, or a colour', ['masked', 'shifted']))
    .addOption(
      rule('--evaluation <RULE>', 'validate on the next batches, or on all rows', ['stream', 'full']),
    )
    .addOption(
      rule('--last-batch <RULE>', 'rows that fill no batch, in validation and test', ['dropped', 'kept']),
    )
    .addOption(
      rule('--validation <ROWS>', 'of text: the test rows, or a tenth held out', ['test', 'held-out']),
    )
    .addHelpText('after', notes);
  return command.action(async (options) => {
    requireUsed(command, '--mechanism', options.mechanism);
    await trainAll(options, io, host);
  });
}

/** An option that takes one of two or more names. */
function rule<Flags extends string, const Names extends readonly string[]>(
  flags: Flags,
  about: string,
  names: Names,
) {
  return new Option(flags, about).choices(names);
}

async function trainAll(options: TrainOptions, io: Io, host: Host): Promise<void> {
  const { task: tasks, seed: seeds, mechanism: names, k, features, landmarks, redraw } = options;
  const numbers = { k, features, landmarks, ...(redraw !== undefined && { redraw }) };
  const runs = plannedRuns({ tasks, mechanisms: names, seeds, ...numbers }, options.shard);
  const presets = new Map(
    tasks.map((task) => [task, { name: options.preset, ...changedPreset(options.preset, task, options) }]),
  );
  const made = await trainRuns(
    runs,
    {
      presetOf: (task) => presets.get(task) as NamedPreset,
      rowsOf: (task, { training }, bar) => rowsOf(task, options, training.validation, bar, io),
    },
    options,
    io,
    host,
  );
  show(made, options, io);
}

function show(finished: readonly Finished[], options: TrainOptions, io: Io): void {
  if (options.json) {
    const runs = finished.map(({ folder, configuration, result }) => {
      const { task, preset, mechanism, seed, data } = configuration;
      return { folder, task, preset, mechanism, seed, majority: data.majority, ...result };
    });
    print(io, JSON.stringify({ runs }));
    return;
  }
  if (finished.length === 0) {
    print(io, 'No run falls to this shard.');
    return;
  }
  print(
    io,
    textTable({
      columns: [
        { title: 'task' },
        { title: 'mechanism' },
        { title: 'seed', align: 'right' },
        { title: 'test %', align: 'right' },
        { title: 'majority %', align: 'right' },
        { title: 'steps', align: 'right' },
        { title: 'per step', align: 'right' },
        { title: 'peak MiB', align: 'right' },
        { title: 'folder' },
      ],
      rows: finished.map(({ folder, configuration, result }) => [
        configuration.task,
        mechanismTitle(configuration.mechanism),
        String(configuration.seed),
        result.test.toFixed(2),
        configuration.data.majority.toFixed(1),
        formatCount(result.steps),
        formatDuration(result.stepMs),
        formatMebibytes(result.peakBytes),
        shownPath(folder),
      ]),
    }),
  );
}
