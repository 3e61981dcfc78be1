import type { Loaded } from './engines.js';
import type { Method, Outputs, Runner } from './method.js';
import { methods } from './methods.js';
import type { BenchOptions, Pass } from './options.js';
import { checkResults } from './oracle.js';
import { keptLists } from './own.js';
import {
  arraysOf,
  disposeQueries,
  firstQueries,
  type Inputs,
  inputsOf,
  type Setup,
  type Tile,
} from './setup.js';

export interface Timing {
  readonly pass: Pass;
  readonly method: string;
  readonly setup: Setup;
  readonly tile: Tile;
  readonly medianMicroseconds: number;
  readonly leastMicroseconds: number;
  readonly rounds: number;
  /** Against float64, beside the largest value. */
  readonly error: number;
}

interface Entry {
  readonly method: Method;
  readonly runner: Runner;
  readonly error: number;
  tile: Tile;
  readonly times: number[];
}

/** Arrays above this are left out of the search for the best tile. */
const LARGEST_BYTES = 1.2 * 2 ** 30;
/** Queries of the small problem whose results are compared with float64. */
const CHECKED_QUERIES = 48;
/** Queries that a tile is tried with, at least. */
const PROBED_QUERIES = 256;

/** Tiles of all heads, for methods in tf ops also as large ones of one head, and the plan's own for this package's. */
export function tilesOf(method: Method, setup: Setup, chunks: readonly number[]): readonly Tile[] {
  const { heads, queries } = setup;
  const wide = chunks.map((chunk) => ({ heads, queries: Math.min(chunk, queries) }));
  const tall = chunks.map((chunk) => ({ heads: 1, queries: Math.min(chunk * heads, queries) }));
  const all = method.byHead ? [...wide, ...(heads > 1 ? tall : [])] : [{ heads, queries: 0 }, ...wide];
  return all.filter(
    (tile, index) =>
      method.largestBytes(setup, tile) <= LARGEST_BYTES &&
      all.findIndex((one) => one.heads === tile.heads && one.queries === tile.queries) === index,
  );
}

/** Times every method of a pass at one length and k: checked first, each with its best tile, taking turns. */
export async function measurePass(
  loaded: Loaded,
  pass: Pass,
  setup: Setup,
  options: BenchOptions,
  log: (text: string) => void,
): Promise<readonly Timing[]> {
  const { tf } = loaded;
  const arrays = arraysOf(setup);
  let inputs = inputsOf(tf, arrays);
  if (pass === 'backward') inputs = { ...inputs, ...(await keptLists(loaded, inputs)) };
  const entries: Entry[] = [];
  for (const method of methods) {
    if (method.pass !== pass || options.methods?.includes(method.name) === false) continue;
    const reason = method.refuses?.(tf);
    if (reason !== undefined) {
      log(`  ${pass} ${method.name}: ${reason}`);
      continue;
    }
    const runner = await method.open(loaded);
    const error = await check(loaded, method, runner, setup);
    const tile = await bestTile(loaded, method, runner, inputs, options.chunks);
    log(
      `  ${pass} ${method.name}: ${tile.heads} heads x ${tile.queries} queries, error ${error.toExponential(1)}`,
    );
    entries.push({ method, runner, error, tile, times: [] });
  }
  for (const entry of entries) await timed(loaded, entry.runner, inputs, entry.tile);
  for (let round = 0; round < options.rounds; round++) {
    for (const entry of entries) {
      entry.times.push(await timed(loaded, entry.runner, inputs, entry.tile));
    }
  }
  for (const { runner } of entries) await runner.close();
  tf.dispose([inputs.k, inputs.v]);
  disposeQueries(inputs);
  return entries.map(({ method, error, tile, times }) => {
    const sorted = times.map((time) => (1000 * time) / setup.queries).sort((a, b) => a - b);
    return {
      pass,
      method: method.name,
      setup,
      tile,
      medianMicroseconds: median(sorted),
      leastMicroseconds: sorted[0] as number,
      rounds: options.rounds,
      error,
    };
  });
}

function median(sorted: readonly number[]): number {
  const middle = sorted.length >> 1;
  const upper = sorted[middle] as number;
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[middle - 1] as number)) / 2;
}

/** Milliseconds of one run over all queries. Engines that return early are waited for by reading one element. */
export async function timed(loaded: Loaded, runner: Runner, inputs: Inputs, tile: Tile): Promise<number> {
  const from = performance.now();
  const made = runner.run(inputs, tile);
  await finished(loaded, made);
  const milliseconds = performance.now() - from;
  dispose(made);
  return milliseconds;
}

async function finished({ tf }: Loaded, made: Outputs): Promise<void> {
  for (const one of [made.output, made.q, made.k, made.v]) {
    if (one === undefined) continue;
    const element = tf.slice(one, [0, 0, 0, 0], [1, 1, 1, 1]);
    await element.data();
    element.dispose();
  }
}

function dispose(made: Outputs): void {
  for (const one of [made.output, made.q, made.k, made.v]) one?.dispose();
}

/** Runs the method on a few queries and all keys, and compares with float64. */
async function check(loaded: Loaded, method: Method, runner: Runner, setup: Setup): Promise<number> {
  const queries = Math.min(CHECKED_QUERIES, setup.queries);
  const arrays = arraysOf({ ...setup, queries });
  let inputs = inputsOf(loaded.tf, arrays);
  if (method.pass === 'backward') inputs = { ...inputs, ...(await keptLists(loaded, inputs)) };
  // Two tiles and a rest, so that joining them is checked too.
  const tile = { heads: method.byHead ? 1 : setup.heads, queries: Math.ceil((2 * queries) / 5) };
  const made = runner.run(inputs, tile);
  const read = async (one: Outputs['q']): Promise<ArrayLike<number>> => (await one?.data()) ?? [];
  const results = {
    output: await read(made.output),
    q: await read(made.q),
    k: await read(made.k),
    v: await read(made.v),
  };
  dispose(made);
  loaded.tf.dispose([inputs.k, inputs.v]);
  disposeQueries(inputs);
  const kept = method.usesK ? setup.k : undefined;
  return checkResults(method.name, method.pass, arrays, results, kept);
}

/**
 * The tile with the least time per query, of a part of the queries. All are tried, and those near the best are tried
 * twice more, in turns: on a shared machine one bad moment must not decide.
 */
async function bestTile(
  loaded: Loaded,
  method: Method,
  runner: Runner,
  inputs: Inputs,
  chunks: readonly number[],
): Promise<Tile> {
  const tiles = tilesOf(method, inputs.setup, chunks);
  const [only] = tiles;
  if (only === undefined) throw new Error(`${method.name}: no tile fits ${inputs.setup.length} keys`);
  if (tiles.length === 1) return only;
  const best = tiles.map(() => Number.POSITIVE_INFINITY);
  for (let round = 0; round < 3; round++) {
    const least = Math.min(...best);
    for (const [index, tile] of tiles.entries()) {
      if (round > 0 && (best[index] as number) > 1.3 * least) continue;
      const queries = Math.min(Math.max(PROBED_QUERIES, tile.queries), inputs.setup.queries);
      const part = firstQueries(loaded.tf, inputs, queries);
      best[index] = Math.min(best[index] as number, (await timed(loaded, runner, part, tile)) / queries);
      disposeQueries(part);
    }
  }
  return tiles[best.indexOf(Math.min(...best))] as Tile;
}
