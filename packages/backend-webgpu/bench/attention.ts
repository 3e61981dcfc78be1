// `pnpm bench attention --backend webgpu`: see `--help`. Results are checked against float64 before they are timed.
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { type AttentionBenchOptions, runAttentionBench } from './attention-bench.js';
import { reportText, SOFTWARE_NOTICE } from './attention-report.js';
import { runInBrowser } from './browser.js';
import { measureOthers } from './other-engines.js';

const usage = `pnpm bench attention --backend webgpu [options]

Self-attention of one sequence on WebGPU: top-k attention on each path that the device allows, dense tiled exact attention and
the composition of primitives on the same backend, and other engines where they are installed. Time, peak bytes beyond
inputs and outputs, error against float64.

  --lengths a,b       sequence lengths            (default 4096,16384)
  --k a,b             kept keys                   (default 128)
  --head-dim a,b      width of a head             (default 64)
  --heads n                                       (default 12)
  --dtype a,b         f32, f16                    (default f32)
  --not-causal
  --backward          forward and backward too
  --rounds n          timed runs after 300 ms of work; the median counts (default 20; 1 on a software adapter)
  --no-others         leave other engines out
  --browser           run in a headless Chromium from npm, on its software adapter
  --chromium path     run in this Chromium, on its GPU
  --json              print JSON alone
  --save folder       where the report goes       (default reports)`;

async function main(argv: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      backend: { type: 'string' },
      lengths: { type: 'string', default: '4096,16384' },
      k: { type: 'string', default: '128' },
      'head-dim': { type: 'string', default: '64' },
      heads: { type: 'string', default: '12' },
      dtype: { type: 'string', default: 'f32' },
      'not-causal': { type: 'boolean', default: false },
      backward: { type: 'boolean', default: false },
      rounds: { type: 'string' },
      'no-others': { type: 'boolean', default: false },
      browser: { type: 'boolean', default: false },
      chromium: { type: 'string' },
      json: { type: 'boolean', default: false },
      save: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    console.log(usage);
    return 0;
  }
  const isInBrowser = values.browser || values.chromium !== undefined;
  const options: AttentionBenchOptions = {
    lengths: values.lengths.split(',').map(positive),
    ks: values.k.split(',').map(positive),
    headDims: values['head-dim'].split(',').map(positive),
    heads: positive(values.heads),
    dtypes: values.dtype.split(',').map(floatType),
    causal: !values['not-causal'],
    backward: values.backward,
    rounds: values.rounds === undefined ? undefined : positive(values.rounds),
    hasDawn: !isInBrowser,
  };
  const log = (text: string): void => console.error(text);
  const report = isInBrowser
    ? await runInBrowser(options, values.chromium, log)
    : await runAttentionBench(options, log);
  const { heads } = options;
  const others =
    values['no-others'] || isInBrowser
      ? []
      : await measureOthers(
          options.lengths.flatMap((length) =>
            options.ks
              .filter((k) => k <= length)
              .map((k) => ({ heads, length, k, dim: options.headDims[0] ?? 64 })),
          ),
        );
  const environment = {
    command: `pnpm bench attention ${argv.join(' ')}`.trim(),
    date: new Date().toISOString().slice(0, 10),
    device: report.adapter,
    isSoftware: report.isSoftware,
    node: process.version,
    where: isInBrowser ? 'Chromium' : 'Node',
    shape: `batch 1, ${heads} heads, queries and keys of one length${options.causal ? ', causal' : ''}`,
  };
  const all = { ...environment, rows: report.rows, skipped: report.skipped, others };
  const text = `${report.adapter}; ${environment.where}, node ${process.version}; ${environment.date}; ${environment.shape}\n${environment.command}\n\n${reportText(report, others)}\n`;
  const folder = values.save ?? join(dirname(fileURLToPath(import.meta.url)), '..', '..', '..', 'reports');
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'attention-webgpu.json'), JSON.stringify(all, null, 2));
  writeFileSync(join(folder, 'attention-webgpu.md'), text);
  if (values.json) {
    if (report.isSoftware) log(SOFTWARE_NOTICE);
    console.log(JSON.stringify(all, null, 2));
  } else console.log(text);
  return report.skipped.some(({ reason }) => reason.startsWith('wrong result')) ? 1 : 0;
}

function positive(text: string): number {
  const value = Number(text);
  if (Number.isSafeInteger(value) && value > 0) return value;
  throw new Error(`"${text}" is not a positive whole number\n\n${usage}`);
}

function floatType(text: string): 'f32' | 'f16' {
  if (text === 'f32' || text === 'f16') return text;
  throw new Error(`"${text}" is neither f32 nor f16\n\n${usage}`);
}

process.exit(await main(process.argv.slice(2)));
