// The table of docs/benchmarks.md, on the machine that this runs on. Bundled into what `pnpm bench gpu-machine` packs.
import { spawnSync } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { compareWithStored } from './compare-lists.js';
import type { Mode } from './dawn-options.js';
import { markdownTable } from './print-table.js';
import { type Comparison, type ModeResult, measureMode } from './table-mode.js';
import { type Row, type TableSizes, tableRows, tableSizes } from './table-rows.js';

const usage = `node gpu-table.mjs [options]

  --modes a,b       plain, tensor                                    (default both)
  --only a,b        rows by id, such as forward-short,training-long  (default all)
  --rounds n        timed rounds of each row                         (default 20)
  --heat ms         work before the first round                      (default 300)
  --scale n         divide all lengths, for a trial                  (default 1)
  --longest-ms n    most time for the longest length                 (default 75000)
  --no-torch        leave torch out
  --out file        also write JSON there                            (default gpu-table.json)`;

interface TorchLine {
  readonly id: string;
  readonly column: 'paper' | 'sdpa';
  readonly ms?: number;
  readonly mib?: number;
  readonly note?: string;
}

const log = (text: string): void => console.error(text);

function parse(argv: readonly string[]) {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      modes: { type: 'string', default: 'plain,tensor' },
      only: { type: 'string' },
      rounds: { type: 'string', default: '20' },
      heat: { type: 'string', default: '300' },
      scale: { type: 'string', default: '1' },
      'longest-ms': { type: 'string', default: '75000' },
      'no-torch': { type: 'boolean', default: false },
      out: { type: 'string', default: 'gpu-table.json' },
      help: { type: 'boolean', default: false },
    },
  });
  return values;
}

/** Torch on the same machine and in the same run, where it is installed. */
function torchColumns(only: string | undefined): readonly TorchLine[] {
  const script = join(dirname(fileURLToPath(import.meta.url)), 'torch_baselines.py');
  if (!existsSync(script)) return [];
  const run = spawnSync('python3', [script, ...(only === undefined ? [] : [only])], {
    encoding: 'utf8',
    timeout: 120_000,
  });
  log(run.stderr?.trim() ?? '');
  return (run.stdout ?? '')
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line): TorchLine => JSON.parse(line));
}

const digits = (value: number): string =>
  value >= 1000 ? value.toFixed(0) : value >= 100 ? value.toFixed(1) : value.toFixed(2);

function tableOf(
  rows: readonly Row[],
  results: readonly ModeResult[],
  torch: readonly TorchLine[],
): readonly (readonly string[])[] {
  const byMode = new Map(results.map((result) => [result.mode, result]));
  const own = (row: Row, mode: Mode): string => {
    const cell = byMode.get(mode)?.cells[row.id];
    if (cell !== undefined) return digits(cell.value);
    return byMode.get(mode)?.failures[row.id] === undefined ? '' : 'failed';
  };
  const verdict = (row: Row, mode: Mode): string => {
    const value = byMode.get(mode)?.cells[row.id]?.value;
    if (value === undefined || row.target === undefined) return '';
    if (value <= row.target.aim) return 'aim';
    return value <= row.target[mode] ? 'must' : `${(value / row.target[mode]).toFixed(2)} of must`;
  };
  const other = (row: Row, column: TorchLine['column']): string => {
    const line = torch.find((one) => one.id === row.id && one.column === column);
    const value = row.unit === 'MiB' ? line?.mib : line?.ms;
    return value === undefined ? '' : digits(value) + (line?.note === undefined ? '' : ` (${line.note})`);
  };
  const limits = ({ target }: Row): string =>
    target === undefined ? '' : `${target.plain} / ${target.tensor} / ${target.aim}`;
  return [
    [
      '',
      'plain',
      'tensor',
      'plain reached',
      'tensor reached',
      'must plain / tensor / aim',
      "paper's method, torch",
      'SDPA, torch',
    ],
    ...rows.map((row) => [
      row.label,
      own(row, 'plain'),
      own(row, 'tensor'),
      verdict(row, 'plain'),
      verdict(row, 'tensor'),
      limits(row),
      other(row, 'paper'),
      other(row, 'sdpa'),
    ]),
  ];
}

function reportOf(
  options: ReturnType<typeof parse>,
  sizes: TableSizes,
  results: readonly ModeResult[],
  comparisons: readonly Readonly<Record<string, Comparison>>[],
  torch: readonly TorchLine[],
  spentMs: number,
): string {
  const [first] = results;
  const compared = comparisons.flatMap((one) =>
    Object.entries(one).map(
      ([mode, { length, rows, different, wrong }]) =>
        `- index sets of all ${count(rows)} rows at L = ${count(length)}, ${mode} against stored scores: ${different} differ by rounding, ${wrong} wrong`,
    ),
  );
  const failed = results.flatMap(({ mode, failures }) =>
    Object.entries(failures).map(([id, reason]) => `- ${mode}, ${id}: ${reason}`),
  );
  const wanted = options.only?.split(',');
  const rows = tableRows(sizes).filter(
    ({ id }) => wanted === undefined || wanted.includes(id) || id.startsWith('extra'),
  );
  return [
    ...(first?.isSoftware
      ? [
          'SOFTWARE ADAPTER: this GPU is simulated on the CPU. Its times say nothing about the speed of a GPU.',
          '',
        ]
      : []),
    `${first?.adapter ?? ''}; node ${process.version}; ${new Date().toISOString().slice(0, 10)}; median of ${options.rounds} after ${options.heat} ms of work; ${(spentMs / 1000).toFixed(0)} s in all.`,
    '',
    markdownTable(tableOf(rows, results, torch)),
    '',
    ...compared,
    ...failed,
    '',
  ].join('\n');
}

const count = (value: number): string => value.toLocaleString('en-US');

async function main(): Promise<number> {
  const options = parse(process.argv.slice(2));
  if (options.help) {
    console.log(usage);
    return 0;
  }
  const start = performance.now();
  const sizes = tableSizes(Number(options.scale));
  const results: ModeResult[] = [];
  for (const mode of options.modes.split(',') as Mode[]) {
    results.push(
      await measureMode(mode, {
        sizes,
        rounds: Number(options.rounds),
        heatMs: Number(options.heat),
        longestBudgetMs: Number(options['longest-ms']),
        ...(options.only !== undefined && { only: new Set(options.only.split(',')) }),
        log,
      }),
    );
  }
  const comparisons: Record<string, Comparison>[] = [];
  for (const length of sizes.compared) {
    const candidates = results.flatMap(({ mode, lists }) => {
      const own = lists.get(length);
      return own === undefined ? [] : [[mode, own] as const];
    });
    if (candidates.length === 0) continue;
    const compared = await compareWithStored(sizes, length, Object.fromEntries(candidates)).catch(
      (error: unknown) => {
        log(`comparing ${length}: FAILED ${String(error)}`);
        return {};
      },
    );
    comparisons.push(compared);
    for (const [mode, { rows, different, wrong }] of Object.entries(compared)) {
      log(
        `index sets of ${mode} at ${length}: ${different} of ${rows} rows differ from stored scores, ${wrong} wrongly`,
      );
    }
  }
  const torch = options['no-torch'] ? [] : torchColumns(options.only);
  const text = reportOf(options, sizes, results, comparisons, torch, performance.now() - start);
  console.log(text);
  const kept = results.map(({ lists: _, ...rest }) => rest);
  writeFileSync(options.out, JSON.stringify({ sizes, results: kept, comparisons, torch }, null, 2));
  writeFileSync(`${options.out.replace(/\.json$/, '')}.md`, text);
  return results.some(({ failures }) => Object.keys(failures).length > 0) ? 1 : 0;
}

process.exit(await main());
