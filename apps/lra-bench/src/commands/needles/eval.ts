import { formatCount, textTable } from '@topk-attention/app-kit';
import {
  type BackendOptions,
  backendCommand,
  type Command,
  type CommandUnknownOpts,
  type Io,
  note,
  ProgressBar,
  positiveNumber,
  print,
  shownPath,
  wholeNumber,
} from '@topk-attention/app-kit/node';
import type { Host } from '../../host.js';
import { mechanismTitle } from '../../model/mechanism.js';
import { retrieveNeedles } from '../../needles/retrieve.js';
import { requireRoom } from '../../needles/rows.js';
import { type Retrieval, requireNeedleRun } from '../../needles/run-folder.js';
import type { NeedleConfiguration } from '../../needles/settings.js';
import { keptTitle, retrievalsJson, retrievalTable } from '../../needles/tables.js';
import { lockFolder } from '../../runs/lock.js';
import { keptKeys } from '../kept-keys.js';
import { openLastingEngine } from '../open-engine.js';
import { listOf } from '../option-values.js';

const notes = `
The model is the one that was trained: other numbers of kept keys and other lengths need no training. One row at a time goes
through it, and the needles of a length lie at evenly spread depths. Results stay in the run folder, where report finds them.

Example:
  pnpm lra needles eval --run runs/needles-top-k-64-seed-1 --k 64,exact --lengths 4096,65536,262144`;

/** From the length of the training to 64 times as much. */
const lengths: readonly number[] = [4096, 8192, 16_384, 32_768, 65_536, 131_072, 262_144];
/** Tokens of the rows of a length, and their least and largest number: a choice. */
const TOKENS = 2 ** 23;
const [LEAST_ROWS, MOST_ROWS] = [32, 256];

type Options = BackendOptions & {
  run: readonly string[];
  k?: readonly Retrieval['k'][];
  lengths: readonly number[];
  rows?: number;
  most: number;
  resume?: true;
};

/** `needles eval`: accuracy, time and memory against length and number of kept keys. */
export function needlesEvalCommand(io: Io, host: Host): CommandUnknownOpts {
  const command: Command<[], Options> = backendCommand('eval')
    .summary('asks trained models for needles in rows of any length')
    .description('Asks trained models for the needles of rows of any length: accuracy, time and memory.')
    .usage('--run DIR[,DIR] [options]')
    .requiredOption(
      '--run <DIR,...>',
      'run folders',
      listOf((text) => text),
    )
    .option(
      '--k <N,...>',
      'keys that each query keeps; exact keeps all (default: as in training)',
      listOf(keptKeys),
    )
    .option('--lengths <N,...>', 'lengths of the rows', listOf(wholeNumber), lengths)
    .option('--rows <N>', 'rows of each length (default: 256 of short ones, 32 of the longest)', wholeNumber)
    .option('--most <SECONDS>', 'a k stops after the length whose rows took longer', positiveNumber, 10)
    .option('--resume', 'keep what was measured before with as many rows')
    .addHelpText('after', notes);
  return command.action(async (options) => evaluateAll(options, io, host));
}

async function evaluateAll(options: Options, io: Io, host: Host): Promise<void> {
  const runs = options.run.map((folder) => ({ folder, configuration: requireNeedleRun(folder) }));
  for (const { configuration } of runs)
    for (const tokens of options.lengths) requireRoom(configuration.task, tokens);
  const bar = new ProgressBar(io.stderr, options.json);
  const engine = await openLastingEngine(host, options, io);
  const { info } = await engine.current();
  const results: { folder: string; configuration: NeedleConfiguration; retrievals: readonly Retrieval[] }[] =
    [];
  try {
    for (const { folder, configuration } of runs) {
      const lock = lockFolder(folder);
      try {
        const retrievals = await retrieveNeedles({
          ...{ folder, configuration, engine },
          kept: options.k ?? [configuration.mechanism.k ?? 'exact'],
          lengths: options.lengths,
          rowsOf: (tokens) =>
            options.rows ?? Math.min(MOST_ROWS, Math.max(LEAST_ROWS, Math.floor(TOKENS / tokens))),
          mostMs: 1000 * options.most,
          resume: options.resume === true,
          signal: io.signal,
          onProgress: (done, total, label) => bar.update(done, total, label, true),
        });
        results.push({ folder, configuration, retrievals });
      } finally {
        lock.release();
      }
    }
  } finally {
    bar.clear();
    await engine.dispose();
  }
  if (options.json) {
    const shown = results.map(({ folder, configuration, retrievals }) => {
      const { mechanism, seed } = configuration;
      return { folder, mechanism, seed, retrievals: retrievalsJson(retrievals, configuration) };
    });
    print(io, JSON.stringify({ engine: info, runs: shown }));
    return;
  }
  for (const { folder, configuration, retrievals } of results) {
    print(io, `${shownPath(folder)}: trained with ${mechanismTitle(configuration.mechanism)}`);
    print(io, `${textTable(retrievalTable(retrievals, configuration))}\n`);
    for (const { k, tokens, refused } of retrievals)
      if (refused !== undefined) note(io, `${keptTitle(k)}, ${formatCount(tokens)} tokens: ${refused}`);
  }
  print(io, info.description);
}
