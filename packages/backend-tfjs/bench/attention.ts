// `pnpm bench attention --backend tfjs`: see `--help`. Results are checked against float64 before they are timed.
import { cpus } from 'node:os';
import { markdownTable } from '../../../tooling/scripts/bench-helpers.mjs';
import { type Loaded, loadEngine } from './engines.js';
import { measurePass, type Timing } from './measure.js';
import { measurePeak, type NoPeak, type Peak } from './memory.js';
import { methods } from './methods.js';
import { type BenchOptions, type Pass, parseOptions } from './options.js';
import type { Setup, Tile } from './setup.js';

interface MemoryRow {
  readonly pass: Pass;
  readonly method: string;
  readonly setup: Setup;
  readonly tile: Tile;
  readonly result: Peak | NoPeak;
}

const log = (text: string): void => console.error(text);

async function main(): Promise<void> {
  const argv = process.argv.slice(2);
  const options = parseOptions(argv);
  if (options === undefined) return;
  const loaded = await loadEngine(options.engine, options.threads);
  const environment = {
    command: `pnpm bench attention ${argv.join(' ')}`.trim(),
    date: new Date().toISOString().slice(0, 10),
    device: `${cpus()[0]?.model.trim()}, ${cpus().length} cores`,
    node: process.version,
    engine: loaded.description,
    shape: `batch 1, ${options.heads} heads of ${options.dim}, f32`,
    methods: methods.map(({ pass, name, describe }) => ({ pass, name, describe })),
  };
  log(`${environment.device}; ${environment.engine}; node ${environment.node}`);
  const timings: Timing[] = [];
  for (const setup of options.times ? setupsOf(options) : []) {
    for (const pass of options.passes) {
      log(`timing the ${pass} pass, ${setup.length} keys, k ${setup.k} ...`);
      timings.push(...(await measurePass(loaded, pass, setup, options, log)));
    }
  }
  const memory = options.memory ? await measureMemory(loaded, options, timings) : [];
  if (options.json) {
    console.log(JSON.stringify({ ...environment, timings, memory }, null, 2));
    return;
  }
  console.log(
    `\n${environment.device}; ${environment.engine}; node ${environment.node}; ${environment.date}`,
  );
  console.log(`${environment.shape}; ${environment.command}\n`);
  if (timings.length > 0) console.log(`${timeTable(timings)}\n`);
  if (memory.length > 0) console.log(memoryTable(memory));
}

function setupsOf({ lengths, ks, heads, dim, queries }: BenchOptions): readonly Setup[] {
  return lengths.flatMap((length) =>
    ks.filter((k) => k <= length).map((k) => ({ length, queries: Math.min(length, queries), heads, dim, k })),
  );
}

/** Whole self-attention: each method in its best tile (a middling one where none was timed), and dense in one piece. */
async function measureMemory(
  { tf }: Loaded,
  options: BenchOptions,
  timings: readonly Timing[],
): Promise<readonly MemoryRow[]> {
  const { engine, threads, boundBytes } = options;
  const rows: MemoryRow[] = [];
  for (const own of setupsOf(options)) {
    const setup = { ...own, queries: own.length };
    for (const method of methods) {
      if (!options.passes.includes(method.pass) || method.refuses?.(tf) !== undefined) continue;
      if (options.methods?.includes(method.name) === false) continue;
      const best = timings.find(
        (one) =>
          one.pass === method.pass &&
          one.method === method.name &&
          one.setup.length === setup.length &&
          one.setup.k === setup.k,
      )?.tile;
      const whole = { heads: setup.heads, queries: setup.queries };
      const usual = best ?? { heads: setup.heads, queries: method.byHead ? 64 : 0 };
      for (const tile of method.name === 'dense' ? [usual, whole] : [usual]) {
        log(`memory of the ${method.pass} pass, ${setup.length} keys: ${method.name}, ${tileName(tile)} ...`);
        const task = { engine, threads, pass: method.pass, method: method.name, setup, tile };
        rows.push({
          pass: method.pass,
          method: method.name,
          setup,
          tile,
          result: await measurePeak(task, boundBytes),
        });
      }
    }
  }
  return rows;
}

/** Time beside the fastest dense one of the same pass and length. */
function relative(timings: readonly Timing[], own: Timing): string {
  const dense = timings.filter(
    ({ pass, method, setup }) =>
      pass === own.pass &&
      setup.length === own.setup.length &&
      (method.startsWith('dense') || method === 'exact'),
  );
  if (dense.length === 0) return '';
  return (own.medianMicroseconds / Math.min(...dense.map((one) => one.medianMicroseconds))).toFixed(2);
}

function timeTable(timings: readonly Timing[]): string {
  return markdownTable([
    ['keys', 'queries', 'k', 'pass', 'method', 'tile', 'us/query, median', 'least', 'x dense', 'error'],
    ...timings.map((one) => [
      String(one.setup.length),
      String(one.setup.queries),
      String(one.setup.k),
      one.pass,
      one.method,
      tileName(one.tile),
      one.medianMicroseconds.toFixed(1),
      one.leastMicroseconds.toFixed(1),
      relative(timings, one),
      one.error.toExponential(1),
    ]),
  ]);
}

const mebibytes = (bytes: number): string => String(Math.round(bytes / 2 ** 20));

function memoryTable(rows: readonly MemoryRow[]): string {
  return markdownTable([
    ['keys', 'k', 'pass', 'method', 'tile', 'peak MiB', 'of tensors', 'seconds'],
    ...rows.map(({ pass, method, setup, tile, result }) => [
      String(setup.length),
      String(setup.k),
      pass,
      method,
      tile.queries === setup.queries && tile.heads === setup.heads ? 'everything' : tileName(tile),
      ...('peak' in result
        ? [mebibytes(result.peak), mebibytes(result.tensors), (result.milliseconds / 1000).toFixed(1)]
        : [`over ${mebibytes(result.stoppedAt)}`, '', result.reason]),
    ]),
  ]);
}

const tileName = ({ heads, queries }: Tile): string => (queries === 0 ? 'planned' : `${heads} x ${queries}`);

await main();
process.exit(0);
