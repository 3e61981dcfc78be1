import { join } from 'node:path';
import { formatCount, formatDuration, formatMebibytes, textTable } from '@topk-attention/app-kit';
import {
  type BackendOptions,
  backendCommand,
  type Command,
  type CommandUnknownOpts,
  type Io,
  positiveNumber,
  print,
  seedNumber,
  shownPath,
  wholeNumber,
} from '@topk-attention/app-kit/node';
import type { Host } from '../../host.js';
import { mechanismTitle } from '../../model/mechanism.js';
import { type NeedleResult, needleRunName, requireFitting } from '../../needles/run-folder.js';
import { type NeedleConfiguration, needleModel, needleTask, needleTraining } from '../../needles/settings.js';
import { trainNeedles } from '../../needles/train.js';
import type { RunOptions } from '../../runs/run-options.js';
import { makeRuns } from '../make-runs.js';
import { listOf, nameIn } from '../option-values.js';

const notes = `
A row is noise with one needle in it, a key and its value of four symbols each, and ends with the question.
All four tokens of the value have to be right. Rows are made on the fly. Their length doubles during the first half of the
steps; --step-tokens says how many tokens a step has, so longer rows are fewer.

Examples:
  pnpm lra needles train --mechanism top-k,exact --k 64
  pnpm lra needles train --mechanism top-k --steps 400 --tokens 256 --step-tokens 2048`;

const mechanisms = ['exact', 'top-k'] as const;

type Options = BackendOptions & {
  mechanism: readonly (typeof mechanisms)[number][];
  k: number;
  seed: readonly number[];
  out: string;
  resume?: true;
  saveEvery: number;
  steps: number;
  tokens: number;
  stepTokens: number;
  learningRate: number;
  width: number;
  symbols: number;
  evalEvery?: number;
};

/** `needles train`: a run per mechanism and seed. */
export function needlesTrainCommand(io: Io, host: Host): CommandUnknownOpts {
  const command: Command<[], Options> = backendCommand('train')
    .summary('trains models that find needles, each in a run folder')
    .description('Trains a small causal model per mechanism and seed, each in a run folder of its own.')
    .usage('[options]')
    .option(
      '--mechanism <NAME,...>',
      mechanisms.join(', '),
      listOf((text) => nameIn(mechanisms, text)),
      ['top-k'] as const,
    )
    .option('--k <N>', 'keys that each query keeps, with top-k', wholeNumber, 64)
    .option('--seed <N,...>', 'seeds of weights and rows', listOf(seedNumber), [1] as readonly number[])
    .option('--out <DIR>', 'folder for the run folders', 'runs')
    .option('--resume', 'go on with runs that are there; finished ones are kept')
    .option('--save-every <N>', 'steps between checkpoints', wholeNumber, 500)
    .option('--steps <N>', 'steps to train', wholeNumber, needleTraining.steps)
    .option('--tokens <N>', 'length of the longest rows', wholeNumber, needleTraining.tokens)
    .option('--step-tokens <N>', 'tokens per step', wholeNumber, needleTraining.stepTokens)
    .option('--learning-rate <X>', 'highest learning rate', positiveNumber, needleTraining.learningRate)
    .option('--width <N>', 'width of the model', wholeNumber, needleModel.width)
    .option('--symbols <N>', 'different tokens of noise, keys and values', wholeNumber, needleTask.symbols)
    .option('--eval-every <N>', 'steps between validations', wholeNumber)
    .addHelpText('after', notes);
  return command.action(async (options) => {
    if (command.getOptionValueSource('k') === 'cli' && !options.mechanism.includes('top-k'))
      command.error('--k goes with --mechanism top-k');
    await trainAll(options, io, host);
  });
}

/** A finished run. */
interface Finished {
  readonly folder: string;
  readonly configuration: NeedleConfiguration;
  readonly result: NeedleResult;
}

async function trainAll(options: Options, io: Io, host: Host): Promise<void> {
  const { out, json } = options;
  const configurations = configurationsOf(options);
  for (const one of configurations) requireFitting(one);
  const make = async (configuration: NeedleConfiguration, common: RunOptions): Promise<Finished> => {
    const folder = join(out, needleRunName(configuration));
    return { folder, configuration, result: await trainNeedles({ ...common, folder, configuration }) };
  };
  const titleOf = ({ mechanism, seed }: NeedleConfiguration): string =>
    `${mechanismTitle(mechanism)}, seed ${seed}`;
  const finished = await makeRuns(configurations, titleOf, make, options, io, host);
  if (json) {
    const runs = finished.map(({ folder, configuration: { mechanism, seed }, result }) => {
      return { folder, mechanism, seed, ...result };
    });
    print(io, JSON.stringify({ runs }));
    return;
  }
  print(
    io,
    textTable({
      columns: [
        { title: 'mechanism' },
        { title: 'seed', align: 'right' },
        { title: 'loss', align: 'right' },
        { title: 'best step', align: 'right' },
        { title: 'per step', align: 'right' },
        { title: 'peak MiB', align: 'right' },
        { title: 'folder' },
      ],
      rows: finished.map(({ folder, configuration, result }) => [
        mechanismTitle(configuration.mechanism),
        String(configuration.seed),
        result.loss.toPrecision(3),
        formatCount(result.bestStep),
        formatDuration(result.stepMs),
        formatMebibytes(result.peakBytes),
        shownPath(folder),
      ]),
    }),
  );
}

function configurationsOf(options: Options): readonly NeedleConfiguration[] {
  const {
    mechanism,
    seed: seeds,
    k,
    steps,
    tokens,
    stepTokens,
    learningRate,
    width,
    symbols,
    evalEvery,
  } = options;
  const training = {
    ...{ ...needleTraining, steps, tokens, stepTokens, learningRate },
    warmup: Math.min(needleTraining.warmup, Math.ceil(steps / 10)),
    evalEvery: Math.min(steps, evalEvery ?? needleTraining.evalEvery),
  };
  return mechanism.flatMap((name) =>
    seeds.map((seed) => ({
      task: { ...needleTask, symbols },
      mechanism: name === 'exact' ? { name } : { name, k },
      seed,
      model: { ...needleModel, width, hidden: 2 * width },
      training,
    })),
  );
}
