// The page: a form, buttons and what the worker reports. All that lasts is in the worker's store.
import type { LogEntry } from '@topk-attention/nn';
import { drawChart } from './chart.js';
import { defaultText } from './default-text.js';
import type { Failure } from './failures.js';
import type { Report, Request } from './messages.js';
import { type Settings, settingsOf, showSettings } from './settings.js';

type State = 'loading' | 'idle' | 'running' | 'pausing' | 'paused' | 'finished' | 'failed';

const find = <T extends Element>(id: string): T => document.querySelector<T & Element>(`#${id}`) as T;
const form = find<HTMLFormElement>('settings');
const fields = find<HTMLFieldSetElement>('fields');
const textArea = form.elements.namedItem('text') as HTMLTextAreaElement;
const buttons = {
  start: find<HTMLButtonElement>('start'),
  pause: find<HTMLButtonElement>('pause'),
  continue: find<HTMLButtonElement>('continue'),
  export: find<HTMLButtonElement>('export'),
  discard: find<HTMLButtonElement>('discard'),
};

const worker = new Worker(new URL('./worker.ts', import.meta.url), { type: 'module' });
const ask = (request: Request): void => worker.postMessage(request);

let settings: Settings = settingsOf(form);
let log: LogEntry[] = [];
/** The step of the last checkpoint; -1 before the first. */
let saved = -1;
/** Whether there is a run to go on with. */
let hasRun = false;

/** Failures to find a GPU. */
const NO_GPU: ReadonlySet<string> = new Set(['NO_DEVICE', 'MISSING_PEER']);

/** Whether other settings or another text are the way on. */
const isOfSettings = ({ code }: Failure): boolean => code === 'INVALID_OPTION' || NO_GPU.has(code);

// What the page shows ---------------------------------------------------------------------------------------------

function show(state: State, status: string): void {
  document.body.dataset.state = state;
  find('status').textContent = status;
  const isBusy = state === 'running' || state === 'pausing' || state === 'loading';
  fields.disabled = isBusy || hasRun;
  buttons.start.hidden = hasRun || isBusy;
  buttons.start.disabled = isBusy;
  buttons.pause.hidden = !isBusy || state === 'loading';
  buttons.pause.disabled = state === 'pausing';
  buttons.continue.hidden = !hasRun || isBusy || state === 'finished';
  buttons.discard.hidden = !hasRun || isBusy;
  buttons.export.disabled = saved < 0;
}

const put = (id: string, value: string): void => {
  find(id).textContent = value;
};

let isDrawing = false;
/** Once a frame at most, however fast the steps are. */
function draw(): void {
  if (isDrawing) return;
  isDrawing = true;
  requestAnimationFrame(() => {
    isDrawing = false;
    drawChart(find<SVGSVGElement>('chart'), log, settings.steps);
    showFigures();
  });
}

function showFigures(): void {
  const last = log.findLast(({ loss }) => loss !== undefined);
  const evaluated = log.findLast(({ eval_loss }) => eval_loss !== undefined);
  const step = last?.step ?? 0;
  put('step', last === undefined ? '–' : `${step} of ${settings.steps}`);
  put('loss', last?.loss?.toFixed(3) ?? '–');
  put('eval-loss', evaluated?.eval_loss?.toFixed(3) ?? '–');
  // Of the median step: some steps wait for an evaluation or a checkpoint.
  const times = log.slice(-40).flatMap(({ step_ms }) => step_ms ?? []);
  const median = times.sort((a, b) => a - b)[Math.floor(times.length / 2)];
  const speed = median && (settings.batch * settings.context * 1000) / median;
  put('speed', speed === undefined ? '–' : Math.round(speed).toLocaleString('en'));
  find<HTMLProgressElement>('progress').value = step / settings.steps;
}

function showFailure(failure: Failure | undefined): void {
  find<HTMLElement>('failure').hidden = failure === undefined;
  if (failure === undefined) return;
  put('failure-title', failure.title);
  put('failure-detail', failure.detail);
  put('failure-fix', failure.fix);
  find<HTMLElement>('use-cpu').hidden = saved >= 0 || !NO_GPU.has(failure.code);
}

function showSample(step: number, text: string): void {
  put('sample', text);
  put('sample-step', `step ${step}`);
}

function showForm(): void {
  const { mechanism, k, context } = settingsOf(form);
  find<HTMLElement>('k-field').hidden = mechanism === 'exact';
  const range = form.elements.namedItem('k') as HTMLInputElement;
  range.max = String(Math.min(128, context));
  put('k-shown', String(Math.min(k, context)));
  const { length } = Array.from(textArea.value);
  put('text-length', `${length.toLocaleString('en')} characters`);
}

// What the worker says ----------------------------------------------------------------------------------------------

worker.addEventListener('message', ({ data }: MessageEvent<Report>) => {
  switch (data.type) {
    case 'stored': {
      const { run } = data;
      hasRun = run !== undefined;
      saved = run?.steps.at(-1) ?? -1;
      log = [];
      if (run !== undefined) {
        settings = run.settings;
        showSettings(form, settings);
        textArea.value = run.text;
        log = run.progress.log.filter(({ step }) => step <= saved);
        if (run.progress.sample) showSample(run.progress.sample.step, run.progress.sample.text);
      }
      showForm();
      draw();
      if (run === undefined) show('idle', 'Ready');
      else if (run.progress.state === 'finished') show('finished', `Finished after ${settings.steps} steps`);
      else if (run.progress.state === 'paused') show('paused', `Paused at step ${saved}`);
      else resume();
      return;
    }
    case 'ready':
      put('parameters', data.parameters.toLocaleString('en'));
      put('device', `Runs on ${data.device}. ${data.characters} distinct characters.`);
      if (document.body.dataset.state !== 'pausing') show('running', 'Training');
      return;
    case 'logged':
      log.push(data.entry);
      put('memory', data.memory);
      return draw();
    case 'sampled':
      return showSample(data.step, data.text);
    case 'saved':
      saved = data.step;
      buttons.export.disabled = false;
      return;
    case 'paused':
      return show('paused', `Paused at step ${data.step}`);
    case 'finished':
      return show('finished', `Finished after ${data.step} steps`);
    case 'failed':
      saved = data.step;
      hasRun = hasRun && (saved >= 0 || !isOfSettings(data.failure));
      showFailure(data.failure);
      return show('failed', saved < 0 ? 'Stopped' : `Stopped; saved up to step ${saved}`);
    case 'exported':
      return download(data.bytes, `model-step-${data.step}.safetensors`);
    default:
      data satisfies never;
  }
});

worker.addEventListener('error', (event) => {
  showFailure({
    code: 'UNKNOWN',
    title: 'The worker stopped',
    detail: event.message || 'Its script did not load, or it ran out of memory',
    fix: 'Reload the page: a run goes on from its last checkpoint.',
  });
  show('failed', 'Stopped');
});

// What the reader does ----------------------------------------------------------------------------------------------

function start(wanted: Settings): void {
  settings = wanted;
  log = [];
  [hasRun, saved] = [true, -1];
  showFailure(undefined);
  draw();
  put('sample-step', '');
  put('sample', 'After the first evaluation, a text by the model appears here.');
  show('running', 'Starting: the first step compiles the GPU programs');
  ask({ type: 'start', settings, text: textArea.value });
}

function resume(): void {
  showFailure(undefined);
  show('running', 'Going on from the last checkpoint');
  ask({ type: 'continue' });
}

form.addEventListener('submit', (event) => {
  event.preventDefault();
  start(settingsOf(form));
});
form.addEventListener('input', showForm);
buttons.pause.addEventListener('click', () => {
  show('pausing', 'Saving a checkpoint');
  ask({ type: 'pause' });
});
buttons.continue.addEventListener('click', () => {
  // Steps after the last checkpoint are made again; after a pause there are none.
  log = log.filter(({ step }) => step <= saved);
  resume();
});
buttons.export.addEventListener('click', () => ask({ type: 'export' }));
buttons.discard.addEventListener('click', () => {
  showFailure(undefined);
  ask({ type: 'discard' });
});
find('use-cpu').addEventListener('click', () => {
  showSettings(form, { ...settings, device: 'cpu' });
  start({ ...settings, device: 'cpu' });
});
find('default-text').addEventListener('click', () => {
  textArea.value = defaultText;
  showForm();
});
find('file').addEventListener('change', async ({ target }) => {
  const file = (target as HTMLInputElement).files?.[0];
  if (file === undefined) return;
  textArea.value = await file.text();
  showForm();
});
new ResizeObserver(draw).observe(find('chart'));

function download(bytes: Uint8Array<ArrayBuffer>, name: string): void {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([bytes]));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

textArea.value = defaultText;
showForm();
show('loading', 'Looking for an earlier run');
ask({ type: 'look' });
