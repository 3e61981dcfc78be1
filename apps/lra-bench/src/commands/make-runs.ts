import { type BackendOptions, type Io, note, ProgressBar, shownPath } from '@topk-attention/app-kit/node';
import type { Host } from '../host.js';
import type { LastingEngine } from '../lasting-engine.js';
import type { RunOptions } from '../runs/run-options.js';
import { openLastingEngine } from './open-engine.js';
import { sessionOf } from './session.js';

/**
 * Makes runs one after the other on the engine that the options ask for, with a bar that names the run at work. When they
 * are stopped, says how to go on.
 *
 * @param make makes one run, with what they have in common; a failure that it does not throw it tells the engine of
 */
export async function makeRuns<Run, Made>(
  runs: readonly Run[],
  titleOf: (run: Run) => string,
  make: (run: Run, common: RunOptions, bar: ProgressBar, engine: LastingEngine) => Promise<Made>,
  options: BackendOptions & { readonly out: string; readonly resume?: true; readonly saveEvery: number },
  io: Io,
  host: Host,
): Promise<readonly Made[]> {
  if (runs.length === 0) return [];
  const { out, json, resume, saveEvery } = options;
  const bar = new ProgressBar(io.stderr, json);
  const made: Made[] = [];
  const lasting = await openLastingEngine(host, options, io);
  try {
    for (const [at, run] of runs.entries()) {
      const label = `${at + 1} of ${runs.length}: ${titleOf(run)}`;
      let latest = '';
      const engine = await lasting.current();
      const common: RunOptions = {
        backend: engine.backend,
        ...(engine.gpuBytes && { deviceBytes: engine.gpuBytes }),
        session: sessionOf(engine, host),
        resume: resume === true,
        saveEvery,
        signal: io.signal,
        onProgress: (done, total, stage) =>
          bar.update(done, total, `${label}${stage === 'training' ? '' : `, ${stage}`}${latest}`, true),
        onMetric: ({ eval_accuracy: accuracy }) => {
          if (accuracy !== undefined) latest = `, ${accuracy.toFixed(1)} % on validation`;
        },
      };
      made.push(await make(run, common, bar, lasting));
      bar.clear();
    }
    return made;
  } catch (error) {
    bar.clear();
    if (io.signal.aborted && !json)
      note(io, `Everything so far is saved in ${shownPath(out)}; the same command with --resume goes on.`);
    throw error;
  } finally {
    bar.clear();
    await lasting.dispose();
  }
}
