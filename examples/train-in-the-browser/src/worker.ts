// Trains, so that the page stays responsive. One run at a time; what it needs to go on is in the store.
import { type Backend, formatBytes, TopKError } from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import type { LogEntry } from '@topk-attention/nn';
import { createWebGpuBackend } from '@topk-attention/webgpu';
import { openRunStore, type Progress, type RunStore, type StoredRun } from './checkpoints.js';
import { exportModel } from './export.js';
import { failureOf } from './failures.js';
import type { Report, Request } from './messages.js';
import type { Settings } from './settings.js';
import { encodeText } from './text.js';
import { trainOnText } from './training.js';

const NAME = 'topk-attention-train-in-the-browser';

let progress: Progress = { state: 'running', log: [] };
let pausing = new AbortController();
const store: Promise<RunStore> = openRunStore(NAME, () => progress);

const tell = (report: Report, transfer: Transferable[] = []): void => postMessage(report, { transfer });

addEventListener('message', ({ data }: MessageEvent<Request>) => {
  answer(data).catch((error) => fail(error));
});

async function answer(request: Request): Promise<void> {
  switch (request.type) {
    case 'look':
      return tell({ type: 'stored', run: await (await store).load() });
    case 'start':
      // Checked before the old run is removed.
      encodeText(request.text, request.settings);
      return alone(async () => {
        await (await store).begin(request.settings, request.text);
        await run();
      });
    case 'continue':
      return alone(run);
    case 'pause':
      return pausing.abort();
    case 'export': {
      const { settings, text, steps } = await storedRun();
      const step = steps.at(-1);
      if (step === undefined) throw nothingStored('a checkpoint');
      const bytes = await exportModel(await store, step, settings, text);
      return tell({ type: 'exported', step, bytes }, [bytes.buffer]);
    }
    case 'discard':
      return alone(async () => {
        await (await store).clear();
        tell({ type: 'stored', run: undefined });
      });
    default:
      request satisfies never;
  }
}

/** Two pages must not write to one store. The lock ends with this worker. */
async function alone(work: () => Promise<void>): Promise<void> {
  pausing = new AbortController();
  // The worker of a page that was just reloaded may hold it for a moment.
  const signal = AbortSignal.timeout(10_000);
  let isHeld = false;
  // Pages on http have no locks, and no WebGPU either.
  if (navigator.locks === undefined) return work();
  try {
    await navigator.locks.request(NAME, { signal }, async () => {
      isHeld = true;
      await work();
    });
  } catch (error) {
    if (isHeld || !signal.aborted) throw error;
    throw new TopKError('UNSUPPORTED', 'this run is open in another tab', {
      expected: 'one tab that trains',
      got: 'two',
      fix: 'Close the other tab and press Continue',
    });
  }
}

async function storedRun(): Promise<StoredRun> {
  const stored = await (await store).load();
  if (stored === undefined) throw nothingStored('a run');
  return stored;
}

const nothingStored = (what: string): TopKError =>
  new TopKError('FILE_NOT_FOUND', `${what} is not stored in this browser yet`, {
    expected: what,
    got: 'nothing',
    fix: 'Start training, and wait for the first checkpoint',
  });

/** The stored run, from its last checkpoint or from the beginning, until it is finished, paused or fails. */
async function run(): Promise<void> {
  const { settings, text, progress: before, steps } = await storedRun();
  const from = steps.at(-1) ?? 0;
  progress = { ...before, state: 'running', log: before.log.filter(({ step }) => step <= from) };
  const running = await store;
  await running.keep(progress);
  const { backend, device } = await backendFor(settings);
  try {
    const saving = {
      ...running,
      write: async (...checkpoint: Parameters<RunStore['write']>) => {
        await running.write(...checkpoint);
        tell({ type: 'saved', step: checkpoint[0] });
      },
    };
    await trainOnText(backend, saving, settings, text, {
      onReady: (parameters, characters) => {
        tell({ type: 'ready', device, parameters, characters });
      },
      onLog: (entry) => log(entry, backend),
      onSample: (step, written) => {
        progress = { ...progress, sample: { step, text: written } };
        tell({ type: 'sampled', step, text: written });
      },
      signal: pausing.signal,
    });
    await end('finished', settings.steps);
  } catch (error) {
    if (!(error instanceof TopKError && error.code === 'ABORTED')) throw error;
    await end('paused', (await running.list()).at(-1) ?? 0);
  } finally {
    await backend.dispose();
  }
}

function log(entry: LogEntry, backend: Backend): void {
  progress = { ...progress, log: [...progress.log, entry] };
  const { live, pooled } = backend.memory();
  tell({ type: 'logged', entry, memory: formatBytes(live + (pooled ?? 0)) });
}

async function end(state: 'paused' | 'finished', step: number): Promise<void> {
  progress = { ...progress, state };
  await (await store).keep(progress);
  tell({ type: state, step });
}

/** The backend of a run, and its device in words. */
async function backendFor(
  settings: Settings,
): Promise<{ readonly backend: Backend; readonly device: string }> {
  if (settings.device === 'cpu') {
    return { backend: createReferenceBackend(), device: 'the CPU, in plain JavaScript: for trying it out' };
  }
  const backend = await createWebGpuBackend({ onWarning: () => {} });
  const { vendor, architecture, description, isSoftware } = backend.facts;
  const name = description || `${vendor} ${architecture}`;
  return { backend, device: `${name}${isSoftware ? ', a GPU in software: slow' : ''}` };
}

async function fail(error: unknown): Promise<void> {
  const steps = await (await store).list().catch(() => []);
  tell({ type: 'failed', failure: failureOf(error), step: steps.at(-1) ?? -1 });
}
