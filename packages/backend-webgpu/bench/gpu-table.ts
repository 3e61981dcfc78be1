// The table of docs/benchmarks.md (docs/results/webgpu-attention.json), measured on the machine that runs this.
// Bundled into what `pnpm bench gpu-machine` packs.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import type { Mode } from './dawn-options.js';
import { type OnnxAttentionRow, onnxAttention } from './onnx-attention.js';
import { markdownTable } from './print-table.js';
import { type ModeResult, measureMode, type Phase } from './table-mode.js';
import { type Row, type TableSizes, tableRows, tableSizes } from './table-rows.js';

const usage = `node gpu-table.mjs [options]

  --modes a,b       plain, tensor                                    (default both)
  --only a,b        rows by id, such as forward-short,training-long  (default all)
  --rounds n        timed rounds of each row                         (default 20)
  --heat ms         work before the first round                      (default 300)
  --scale n         divide all lengths, for a trial                  (default 1)
  --seconds n       most time for each part, of which there are six (default 110)
  --no-torch        leave torch out
  --no-onnx         leave ONNX Runtime out
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
      seconds: { type: 'string', default: '110' },
      // For the parts, each in its own process.
      part: { type: 'string' },
      'no-torch': { type: 'boolean', default: false },
      'no-onnx': { type: 'boolean', default: false },
      out: { type: 'string', default: 'gpu-table.json' },
      help: { type: 'boolean', default: false },
    },
  });
  return values;
}

/** Torch on the same machine and in the same run, if installed. */
function torchColumns(only: string | undefined, seconds: number): readonly TorchLine[] {
  const script = join(dirname(fileURLToPath(import.meta.url)), 'torch_baselines.py');
  if (!existsSync(script)) return [];
  const run = spawnSync('python3', [script, ...(only === undefined ? [] : [only])], {
    encoding: 'utf8',
    timeout: 1000 * seconds,
  });
  log(run.stderr?.trim() ?? '');
  return (run.stdout ?? '')
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line): TorchLine => JSON.parse(line));
}

/** Rows that ONNX Runtime's own attention has a counterpart of. */
const ONNX_ROWS: Readonly<Record<string, OnnxAttentionRow['dtype']>> = {
  'forward-short': 'f32',
  'f16-short': 'f16',
};

/** ONNX Runtime's attention in a process of its own, if `onnxruntime-node` is installed here. */
function onnxColumn(folder: string, options: ReturnType<typeof parse>): readonly OnnxAttentionRow[] {
  const file = join(folder, 'onnx.json');
  const run = spawnSync(
    process.execPath,
    [fileURLToPath(import.meta.url), '--part', 'onnx', '--out', file, '--scale', options.scale],
    { encoding: 'utf8', timeout: 1000 * Number(options.seconds), killSignal: 'SIGKILL' },
  );
  if (run.status === 0) return JSON.parse(readFileSync(file, 'utf8'));
  log(`ONNX Runtime is left out: ${run.stderr?.trim().split('\n').at(-1)}`);
  return [];
}

const digits = (value: number): string =>
  value >= 1000 ? value.toFixed(0) : value >= 100 ? value.toFixed(1) : value.toFixed(2);

function tableOf(
  rows: readonly Row[],
  results: readonly ModeResult[],
  torch: readonly TorchLine[],
  onnx: readonly OnnxAttentionRow[],
): readonly (readonly string[])[] {
  const byMode = new Map(results.map((result) => [result.mode, result]));
  const own = (row: Row, mode: Mode): string => {
    const cell = byMode.get(mode)?.cells[row.id];
    if (cell !== undefined) return digits(cell.value);
    return byMode.get(mode)?.failures[row.id] === undefined ? '' : 'failed';
  };
  const other = (row: Row, column: TorchLine['column']): string => {
    const line = torch.find((one) => one.id === row.id && one.column === column);
    const value = row.unit === 'MiB' ? line?.mib : line?.ms;
    return value === undefined ? '' : digits(value) + (line?.note === undefined ? '' : ` (${line.note})`);
  };
  const ofOnnx = ({ id }: Row): string => {
    const line = onnx.find(({ dtype, causal }) => dtype === ONNX_ROWS[id] && causal);
    if (line === undefined) return '';
    return line.failure === undefined ? `${digits(line.ms)} (host time included)` : 'failed';
  };
  return [
    [
      'ms of GPU time, or MiB',
      'plain',
      'tensor',
      "paper's method, torch",
      'SDPA, torch',
      'MultiHeadAttention, ONNX Runtime WebGPU',
    ],
    ...rows.map((row) => [
      row.label,
      own(row, 'plain'),
      own(row, 'tensor'),
      other(row, 'paper'),
      other(row, 'sdpa'),
      ofOnnx(row),
    ]),
  ];
}

function reportOf(
  options: ReturnType<typeof parse>,
  sizes: TableSizes,
  results: readonly ModeResult[],
  torch: readonly TorchLine[],
  onnx: readonly OnnxAttentionRow[],
  spentMs: number,
): string {
  const [first] = results;
  const compared = results.flatMap(({ mode, comparisons }) =>
    comparisons.map(
      ({ length, rows, different, wrong }) =>
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
    markdownTable(tableOf(rows, results, torch, onnx)),
    '',
    ...compared,
    ...failed,
    '',
  ].join('\n');
}

const count = (value: number): string => value.toLocaleString('en-US');

/** Runs one part in this process; writes what is known to the file after every row. */
async function runPart(options: ReturnType<typeof parse>): Promise<number> {
  if (options.part === 'onnx') {
    const { heads, dim, short } = tableSizes(Number(options.scale));
    const shape = { heads, dim, tokens: [short], causal: [true], rounds: 5, log: () => {} };
    writeFileSync(options.out, JSON.stringify(await onnxAttention(shape)));
    return 0;
  }
  const [mode, phase] = (options.part ?? '').split(':') as [Mode, Phase];
  const only = options.only?.split(',');
  const result = await measureMode(mode, {
    phase,
    sizes: tableSizes(Number(options.scale)),
    rounds: Number(options.rounds),
    heatMs: Number(options.heat),
    ...(only !== undefined && { only: new Set(only) }),
    log,
    onProgress: (soFar) => writeFileSync(options.out, JSON.stringify(soFar)),
  });
  writeFileSync(options.out, JSON.stringify(result));
  return 0;
}

/** The same in its own process, so that a crash or hang does not take the other parts down. */
function spawnPart(mode: Mode, phase: Phase, folder: string, options: ReturnType<typeof parse>): ModeResult {
  const file = join(folder, `${mode}-${phase}.json`);
  const { rounds, heat, scale, only, seconds } = options;
  const run = spawnSync(
    process.execPath,
    [
      ...[fileURLToPath(import.meta.url), '--part', `${mode}:${phase}`, '--out', file],
      ...[
        '--rounds',
        rounds,
        '--heat',
        heat,
        '--scale',
        scale,
        ...(only === undefined ? [] : ['--only', only]),
      ],
    ],
    { stdio: ['ignore', 'inherit', 'inherit'], timeout: 1000 * Number(seconds), killSignal: 'SIGKILL' },
  );
  const empty = { mode, adapter: '', isSoftware: false, cells: {}, failures: {}, comparisons: [] };
  const known: ModeResult = existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : empty;
  if (run.status === 0) return known;
  const end = run.error?.message ?? run.signal ?? `status ${run.status}`;
  return { ...known, failures: { ...known.failures, [`part "${phase}"`]: `ended early: ${end}` } };
}

/** Merges the parts of each mode into one result. */
function merge(results: readonly ModeResult[]): readonly ModeResult[] {
  const merged = new Map<Mode, ModeResult>();
  for (const one of results) {
    const before = merged.get(one.mode);
    if (before === undefined) {
      merged.set(one.mode, one);
      continue;
    }
    const cells = { ...before.cells, ...one.cells };
    const extra = [before.cells.extra, one.cells.extra].flatMap((cell) =>
      cell === undefined ? [] : [cell.value],
    );
    if (extra.length > 0) cells.extra = { value: Math.max(...extra) };
    merged.set(one.mode, {
      ...before,
      adapter: before.adapter || one.adapter,
      cells,
      failures: { ...before.failures, ...one.failures },
      comparisons: [...before.comparisons, ...one.comparisons],
    });
  }
  return Array.from(merged.values());
}

async function main(): Promise<number> {
  const options = parse(process.argv.slice(2));
  if (options.help) {
    console.log(usage);
    return 0;
  }
  if (options.part !== undefined) return runPart(options);
  const start = performance.now();
  const sizes = tableSizes(Number(options.scale));
  const modes = options.modes.split(',') as Mode[];
  const folder = mkdtempSync(join(tmpdir(), 'gpu-table-'));
  const results: ModeResult[] = [];
  let torch: readonly TorchLine[] = [];
  let onnx: readonly OnnxAttentionRow[] = [];
  // What is known so far is on disk after every part.
  const save = (): string => {
    const merged = merge(results);
    const text = reportOf(options, sizes, merged, torch, onnx, performance.now() - start);
    writeFileSync(options.out, JSON.stringify({ sizes, results: merged, torch, onnx }, null, 2));
    writeFileSync(`${options.out.replace(/\.json$/, '')}.md`, text);
    return text;
  };
  const part = (mode: Mode, phase: Phase): void => {
    results.push(spawnPart(mode, phase, folder, options));
    save();
  };
  for (const mode of modes) part(mode, 'rows');
  if (!options['no-torch']) torch = torchColumns(options.only, Number(options.seconds));
  save();
  if (!options['no-onnx']) onnx = onnxColumn(folder, options);
  save();
  // The fastest mode first: the longest length is the most likely to run out of time.
  if (options.only === undefined || options.only.includes('forward-longest')) {
    for (const mode of [...modes].reverse()) part(mode, 'longest');
  }
  rmSync(folder, { recursive: true });
  console.log(save());
  return merge(results).some(({ failures }) => Object.keys(failures).length > 0) ? 1 : 0;
}

process.exit(await main());
