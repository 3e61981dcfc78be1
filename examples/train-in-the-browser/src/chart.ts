import type { LogEntry } from '@topk-attention/nn';

const MARGIN = { left: 44, right: 12, top: 10, bottom: 32 };
const HEIGHT = 240;
/** Of the running mean that the strong line shows. */
const SMOOTHING = 0.9;

type Point = readonly [step: number, loss: number];

/** Draws the losses of a run into an SVG element: each step faintly, their running mean, and validation. */
export function drawChart(svg: SVGSVGElement, log: readonly LogEntry[], steps: number): void {
  const width = Math.max(240, svg.clientWidth);
  svg.setAttribute('viewBox', `0 0 ${width} ${HEIGHT}`);
  const training = log.flatMap(({ step, loss }): Point[] => (loss === undefined ? [] : [[step, loss]]));
  const validation = log.flatMap((entry): Point[] =>
    entry.eval_loss === undefined ? [] : [[entry.step, entry.eval_loss]],
  );
  svg.setAttribute('aria-label', described(training, validation));
  const all = [...training, ...validation].map(([, loss]) => loss);
  if (all.length === 0) {
    const middle = { x: width / 2, y: HEIGHT / 2, 'text-anchor': 'middle' };
    svg.replaceChildren(text(middle, 'The losses appear here, step by step.'));
    return;
  }
  const top = Math.max(...all);
  const bottom = Math.min(top - 0.5, ...all);
  const losses = ticks(bottom, top, 5);
  const [low, high] = [Math.min(bottom, losses[0] ?? bottom), Math.max(top, losses.at(-1) ?? top)];
  const x = (step: number): number =>
    MARGIN.left + (step / Math.max(1, steps)) * (width - MARGIN.left - MARGIN.right);
  const y = (loss: number): number =>
    MARGIN.top + ((high - loss) / (high - low)) * (HEIGHT - MARGIN.top - MARGIN.bottom);
  const path = (points: readonly Point[]): string =>
    thinned(points, width)
      .map(([step, loss], i) => `${i === 0 ? 'M' : 'L'}${x(step).toFixed(1)} ${y(loss).toFixed(1)}`)
      .join('');

  svg.replaceChildren(
    ...losses.flatMap((loss) => [
      element('line', { class: 'rule', x1: MARGIN.left, x2: width - MARGIN.right, y1: y(loss), y2: y(loss) }),
      text({ x: MARGIN.left - 8, y: y(loss) + 4, 'text-anchor': 'end' }, String(loss)),
    ]),
    ...ticks(0, steps, Math.min(6, Math.floor(width / 90))).map((step) =>
      text({ x: x(step), y: HEIGHT - 6, 'text-anchor': step === steps ? 'end' : 'middle' }, String(step)),
    ),
    element('path', { class: 'line train faint', d: path(training) }),
    element('path', { class: 'line train', d: path(smoothed(training)) }),
    element('path', { class: 'line eval', d: path(validation) }),
    ...thinned(validation, width / 4).map(([step, loss]) =>
      element('circle', { class: 'dot eval', cx: x(step), cy: y(loss), r: 3 }),
    ),
  );
}

function described(training: readonly Point[], validation: readonly Point[]): string {
  const last = training.at(-1);
  if (last === undefined) return 'No loss yet';
  const lowest = validation.reduce<Point | undefined>(
    (a, b) => (a === undefined || b[1] < a[1] ? b : a),
    undefined,
  );
  const best = lowest && `; lowest validation loss ${lowest[1].toFixed(3)} at step ${lowest[0]}`;
  return `Training loss from ${training[0]?.[1].toFixed(3)} to ${last[1].toFixed(3)} at step ${last[0]}${best ?? ''}`;
}

/** The running mean, without the pull towards 0 of its first values. */
function smoothed(points: readonly Point[]): Point[] {
  let mean = 0;
  return points.map(([step, loss], i) => {
    mean = SMOOTHING * mean + (1 - SMOOTHING) * loss;
    return [step, mean / (1 - SMOOTHING ** (i + 1))];
  });
}

/** At most about `most` of the points, with the last. */
function thinned(points: readonly Point[], most: number): readonly Point[] {
  const every = Math.ceil(points.length / most);
  return every <= 1 ? points : points.filter((_, i) => i % every === 0 || i === points.length - 1);
}

/** Round numbers between two, at most about `count`. */
function ticks(from: number, to: number, count: number): number[] {
  const rough = (to - from) / Math.max(1, count);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((one) => one * power).find((one) => one >= rough) ?? rough;
  const first = Math.ceil(from / step - 1e-9);
  const last = Math.floor(to / step + 1e-9);
  return Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(6)));
}

function element(name: string, attributes: Readonly<Record<string, string | number>>): SVGElement {
  const made = document.createElementNS('http://www.w3.org/2000/svg', name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, String(value));
  return made;
}

function text(attributes: Readonly<Record<string, string | number>>, content: string): SVGElement {
  const made = element('text', attributes);
  made.textContent = content;
  return made;
}
