import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { formatCount, textTable } from '@topk-attention/app-kit';
import {
  type BackendOptions,
  backendCommand,
  type Command,
  type CommandUnknownOpts,
  type Io,
  note,
  ProgressBar,
  print,
  shownPath,
  wholeNumber,
} from '@topk-attention/app-kit/node';
import { type Backend, TopKError } from '@topk-attention/core';
import { disposeParameters, loadStateDict, openFile, openSafetensors } from '@topk-attention/nn';
import { missing } from '../data/errors.js';
import { spreadRows } from '../data/rows.js';
import { hashOf, type Splits } from '../data/splits.js';
import { Evaluator } from '../evaluation/evaluate.js';
import { addEvaluations, type Evaluation } from '../evaluation/evaluations.js';
import { fullPass } from '../evaluation/looks.js';
import type { Host } from '../host.js';
import { batchOf } from '../model/batches.js';
import { classifier } from '../model/classifier.js';
import { mechanismTitle } from '../model/mechanism.js';
import { evenCut } from '../model/parts.js';
import type { Configuration } from '../runs/configuration.js';
import { lockFolder } from '../runs/lock.js';
import { requireConfiguration, runFiles } from '../runs/run-folder.js';
import { lazily } from '../training/train-run.js';
import { keptKeys } from './kept-keys.js';
import { openEngine } from './open-engine.js';
import { listOf } from './option-values.js';
import { rowsOf } from './rows-of.js';

const notes = `
A model that was trained with exact attention runs with top-k attention and the other way round: the weights are the
same. Results stay in the run folder, where report finds them. Performer's models compute something else and are refused.

With --other-rows the data may be others of the same task: more rows of the generator, or the published files. Those
results are printed and not kept, so that no report mixes them with the rows of the run.

Examples:
  pnpm lra eval --run runs/listops-small-exact-seed-1 --data data/listops --k 4,8,16,32,64,128,256,exact
  pnpm lra eval --run runs/listops-small-exact-seed-1 --data data/more-listops --k exact --other-rows`;

type EvalOptions = BackendOptions & {
  run: readonly string[];
  data: string;
  k: readonly Evaluation['k'][];
  limit?: number;
  batch?: number;
  otherRows?: boolean;
};

/** `eval`: trained models under other numbers of kept keys. */
export function evalCommand(io: Io, host: Host): CommandUnknownOpts {
  const command: Command<[], EvalOptions> = backendCommand('eval')
    .summary('tests trained models with other numbers of kept keys')
    .description('Tests trained models with other numbers of kept keys, without retraining.')
    .usage('--run DIR[,DIR] --data DIR --k N,N,... [options]')
    .requiredOption(
      '--run <DIR,...>',
      'run folders',
      listOf((text) => text),
    )
    .requiredOption('--data <DIR>', 'folder of the rows, or with a folder per task in it')
    .requiredOption('--k <N,...>', 'keys that each query keeps; exact keeps all', listOf(keptKeys))
    .option('--limit <N>', 'only N test rows, evenly spread', wholeNumber)
    .option('--batch <N>', 'rows at a time (default: as in training)', wholeNumber)
    .option('--other-rows', 'test on rows that are not those of the run; results are printed, not kept')
    .addHelpText('after', notes);
  return command.action(async (options) => evaluateAll(options, io, host));
}

async function evaluateAll(options: EvalOptions, io: Io, host: Host): Promise<void> {
  const runs = options.run.map((folder) => ({ folder, configuration: requireSoftmax(folder) }));
  const bar = new ProgressBar(io.stderr, options.json);
  const { backend, info } = await openEngine(host, options, io);
  const results: { folder: string; configuration: Configuration; evaluations: readonly Evaluation[] }[] = [];
  try {
    for (const { folder, configuration } of runs) {
      const splits = await rowsOf(configuration.task, options, configuration.training.validation, bar, io);
      if (options.otherRows !== true) requireData(folder, configuration, splits);
      const lock = lockFolder(folder);
      try {
        const evaluations = await evaluateRun(folder, configuration, splits, backend, options, bar, io);
        results.push({ folder, configuration, evaluations });
      } finally {
        lock.release();
      }
    }
  } catch (error) {
    bar.clear();
    if (io.signal.aborted && !options.json && options.limit === undefined && options.otherRows !== true)
      note(io, 'What was evaluated is saved in the run folders; name the other numbers with --k to go on.');
    throw error;
  } finally {
    bar.clear();
    await backend.dispose();
  }
  if (options.json) {
    const shown = results.map(({ folder, configuration, evaluations }) => {
      const { task, mechanism, seed } = configuration;
      return { folder, task, mechanism, seed, evaluations };
    });
    print(io, JSON.stringify({ engine: info, runs: shown }));
    return;
  }
  for (const { folder, configuration, evaluations } of results) {
    print(io, `${shownPath(folder)}: trained with ${mechanismTitle(configuration.mechanism)}`);
    print(
      io,
      textTable({
        columns: ['k', 'accuracy %', 'loss', 'rows'].map((title) => ({ title, align: 'right' })),
        rows: evaluations.map(({ k, accuracy, loss, examples }) => [
          String(k),
          accuracy.toFixed(2),
          loss.toFixed(4),
          formatCount(examples),
        ]),
      }),
    );
  }
}

async function evaluateRun(
  folder: string,
  configuration: Configuration,
  { test }: Splits,
  backend: Backend,
  { k: kept, limit = test.length, batch, otherRows = false }: EvalOptions,
  bar: ProgressBar,
  io: Io,
): Promise<readonly Evaluation[]> {
  const { task, model: settings, training, microBatch, feedForwardK } = configuration;
  const rows = spreadRows(test, limit);
  // The rows that training tested, however many at a time.
  const tested = fullPass(rows.length, training.batch, training.lastBatch).flat();
  const parts = evenCut(batch ?? microBatch, settings.tokens)(tested);
  const evaluations: Evaluation[] = [];
  for (const k of kept) {
    const model = classifier(
      settings,
      k === 'exact' ? { name: 'exact' } : { name: 'top-k', k },
      feedForwardK,
    );
    const file = await openSafetensors(await openFile(join(folder, runFiles.best)));
    const parameters = await loadStateDict(backend, model, file).finally(() => file.close());
    const evaluator = new Evaluator(model);
    try {
      const score = await evaluator.score(
        parameters,
        lazily(parts, (part) => batchOf(task, rows, part, settings)),
        {
          signal: io.signal,
          onBatch: (done) => bar.update(done, parts.length, `${task}, k ${k}`, true),
        },
      );
      evaluations.push({ k, ...score });
      // Each is kept when it is made: a later one may be stopped.
      if (limit >= test.length && !otherRows) addEvaluations(folder, evaluations.slice(-1));
    } finally {
      evaluator.dispose();
      disposeParameters(parameters);
    }
  }
  return evaluations;
}

function requireSoftmax(folder: string): Configuration {
  const configuration = requireConfiguration(folder);
  const { name } = configuration.mechanism;
  if (name !== 'exact' && name !== 'top-k') {
    throw new TopKError('UNSUPPORTED', `${folder} was trained with ${name}`, {
      expected: 'a model trained with exact or top-k attention',
      got: name,
    });
  }
  if (!existsSync(join(folder, runFiles.best)))
    throw missing(
      `${folder} is not finished`,
      `${runFiles.best} in it`,
      'Go on with it: pnpm lra train ... --resume',
    );
  return configuration;
}

function requireData(folder: string, { data }: Configuration, splits: Splits): void {
  const hash = hashOf(splits);
  if (hash === data.hash) return;
  throw new TopKError('INVALID_OPTION', `${folder} learned from other rows`, {
    expected: `rows with hash ${data.hash}`,
    got: hash,
    fix: 'Name the rows that it was trained with, with --data; or add --other-rows, which prints results and keeps none',
  });
}
