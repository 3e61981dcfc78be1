import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { formatDuration } from '@topk-attention/app-kit';
import {
  type BackendOptions,
  backendCommand,
  type Command,
  type CommandUnknownOpts,
  type Io,
  note,
  ProgressBar,
  shownPath,
  wholeNumber,
} from '@topk-attention/app-kit/node';
import { requireFolder } from '../data/write.js';
import type { Host } from '../host.js';
import { mechanismTitle } from '../model/mechanism.js';
import { quickMechanisms, quickPreset } from '../presets/quick.js';
import { runName } from '../runs/configuration.js';
import { quickSplits } from '../sources/quick-splits.js';
import { configurationOf, plannedRuns } from '../sweep/configure.js';
import { trainRun } from '../training/train-run.js';
import { openEngine } from './open-engine.js';
import { report } from './report.js';
import { sessionOf } from './session.js';

const SEED = 1;

type QuickOptions = BackendOptions & { steps: number; out: string };

/** `quick`: everything once, small: no data, no GPU, a minute or two. */
export function quickCommand(io: Io, host: Host): CommandUnknownOpts {
  const command: Command<[], QuickOptions> = backendCommand('quick')
    .summary('all of it once, small: no data, no GPU, a minute or two')
    .description(
      'Generates short ListOps, trains exact, top-k and Performer attention on them, and writes the report.',
    )
    .usage('[options]')
    .option('--steps <N>', 'steps of each of the three runs', wholeNumber, 100)
    .option('--out <DIR>', 'folder for runs and report; earlier ones there are replaced', 'report/quick');
  return command.action(async (options) => {
    if (options.steps < 5) command.error('--steps must be at least 5');
    await quick(options, io, host);
  });
}

async function quick(options: QuickOptions, io: Io, host: Host): Promise<void> {
  const { steps, out, json } = options;
  const began = performance.now();
  const bar = new ProgressBar(io.stderr, json);
  const runs = join(out, 'runs');
  const folders: string[] = [];
  requireFolder(runs);
  const engine = await openEngine(host, options, io);
  const { backend, info } = engine;
  try {
    const splits = await quickSplits(io.signal);
    const preset = { name: 'quick' as const, ...quickPreset(steps) };
    const planned = plannedRuns({
      tasks: ['listops'],
      mechanisms: ['exact', 'top-k', 'performer'],
      seeds: [SEED],
      ...quickMechanisms,
    });
    for (const [at, run] of planned.entries()) {
      const configuration = configurationOf(run, preset, splits);
      const label = `${at + 1} of ${planned.length}: ${mechanismTitle(run.mechanism)}`;
      const folder = join(runs, runName(configuration));
      folders.push(folder);
      // Of an earlier call, and only that: other runs may stand beside it.
      rmSync(folder, { recursive: true, force: true });
      await trainRun({
        folder,
        configuration,
        splits,
        backend,
        session: sessionOf(engine, host),
        resume: false,
        saveEvery: 500,
        signal: io.signal,
        onProgress: (done, total) => bar.update(done, total, label, true),
      });
    }
  } finally {
    bar.clear();
    await backend.dispose();
  }
  report({ runs: folders, out, ...(json && { json }) }, io);
  if (!json)
    note(
      io,
      `${info.description}; ${formatDuration(performance.now() - began)}. Runs in ${shownPath(runs)}.`,
    );
}
