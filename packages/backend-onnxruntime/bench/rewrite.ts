// Rewritten models beside their originals: time and peak memory of a first and a second run, each model in a process of its own.

import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs, promisify } from 'node:util';
import { type RewriteOptions, rewriteFile } from '@topk-attention/onnxruntime/rewrite';
import { markdownTable } from '../../../tooling/scripts/bench-helpers.mjs';

const usage = `pnpm bench rewrite --backend onnxruntime --model FILE [options]

Time and peak memory of a model of ids and a mask, of x [1, length, 768], or of q, k and v [1, 12, length, 64], as it
is and rewritten. Models of usual sizes with random weights: python tooling/onnx-models/large_models.py FOLDER.

  --lengths a,b   tokens                                                        (default 2048,4096)
  --forms a,b     of original, exact, exact-ff, k, k-ff: rewritten exactly or with k, and feed-forward layers in
                  chunks; k-alone and k-bound: with TopK alone, or with a bound first, whatever the length
                                                                                (default original,exact,k)
  --queries n     queries of a model of q, k and v                              (default 96)
  --k n           kept keys                                                     (default 64)
  --engine e      node or wasm                                                  (default node)
  --runs n        runs in each process                                          (default 2)
  --rounds n      processes for each row, of which the best counts              (default 1)
  --threads n     threads of one operator                                       (default 2; 1 in wasm)`;

const { values } = parseArgs({
  options: {
    backend: { type: 'string' },
    model: { type: 'string' },
    lengths: { type: 'string', default: '2048,4096' },
    forms: { type: 'string', default: 'original,exact,k' },
    queries: { type: 'string', default: '96' },
    k: { type: 'string', default: '64' },
    engine: { type: 'string', default: 'node' },
    runs: { type: 'string', default: '2' },
    rounds: { type: 'string', default: '1' },
    threads: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
});
const { model, engine } = values;
if (values.help || model === undefined) {
  console.log(usage);
  process.exit(values.help ? 0 : 2);
}

interface Outcome {
  readonly loaded: number;
  readonly runs: readonly { readonly milliseconds: number; readonly cpu: number; readonly peak: number }[];
  readonly sample: readonly number[];
}

const k = Number(values.k);
const forms: Readonly<Record<string, { readonly label: string; readonly options?: RewriteOptions }>> = {
  original: { label: 'original' },
  exact: { label: 'exact', options: { attention: 'exact' } },
  'exact-ff': {
    label: 'exact, feed-forward in chunks',
    options: { attention: 'exact', feedForward: 'chunked' },
  },
  k: { label: `k ${k}`, options: { attention: { k } } },
  'k-alone': { label: `k ${k}, TopK alone`, options: { attention: { k }, maxLength: 16 * k - 1 } },
  'k-bound': { label: `k ${k}, bound first`, options: { attention: { k }, maxLength: 256 * k - 1 } },
  'k-ff': {
    label: `k ${k}, feed-forward in chunks`,
    options: { attention: { k }, feedForward: 'chunked' },
  },
};

const child = fileURLToPath(new URL('./rewrite-child.js', import.meta.url));
const threads = Number(values.threads ?? (engine === 'wasm' ? 1 : 2));

/** What a process printed; undefined and a note on standard error if it ended early. */
async function measure(file: string, length: number): Promise<Outcome | undefined> {
  const queries = Number(values.queries);
  const task = { model: file, engine, length, queries, runs: Number(values.runs), threads };
  try {
    const { stdout } = await promisify(execFile)(process.execPath, [child, JSON.stringify(task)], {
      maxBuffer: 2 ** 24,
    });
    return JSON.parse(stdout);
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    console.error(
      `${file}, ${length} tokens: ${text.trim().split('\n').slice(1, 4).join(' ').slice(0, 300)}`,
    );
    return undefined;
  }
}

const mebibytes = (bytes: number): string => (bytes / 2 ** 20).toFixed(0);
const rows: string[][] = [
  [
    'tokens',
    'form',
    'first run ms',
    'best run ms',
    'best CPU ms',
    'MiB loaded',
    'peak MiB, first',
    'peak MiB, all',
    'max difference',
    'load',
  ],
];
const folder = mkdtempSync(join(tmpdir(), 'topk-bench-'));
try {
  const files = new Map<string, string>();
  for (const form of values.forms.split(',')) {
    const options = forms[form]?.options;
    const file = options === undefined ? model : join(folder, `${form}.onnx`);
    if (options !== undefined) await rewriteFile(model, file, options);
    files.set(form, file);
  }
  for (const length of values.lengths.split(',').map(Number)) {
    let reference: readonly number[] | undefined;
    for (const [form, file] of files) {
      const load = loadavg()[0] as number;
      let best: Outcome | undefined;
      for (let round = 0; round < Number(values.rounds); round++) {
        const outcome = await measure(file, length);
        if (outcome === undefined) break;
        if (best === undefined || quickest(outcome) < quickest(best)) best = outcome;
      }
      const label = forms[form]?.label ?? form;
      const [first, last] = [best?.runs[0], best?.runs.at(-1)];
      if (best === undefined || first === undefined || last === undefined) {
        rows.push([`${length}`, label, 'fails', '', '', '', '', '', load.toFixed(1)]);
        continue;
      }
      reference ??= best.sample;
      const difference = Math.max(
        ...best.sample.map((value, at) => Math.abs(value - (reference?.[at] as number))),
      );
      rows.push([
        ...[`${length}`, label, first.milliseconds.toFixed(0), quickest(best).toFixed(0)],
        Math.min(...best.runs.map(({ cpu }) => cpu)).toFixed(0),
        ...[mebibytes(best.loaded), mebibytes(first.peak)],
        mebibytes(last.peak),
        ...[difference.toExponential(1), load.toFixed(1)],
      ]);
      console.error(rows.at(-1)?.join('  '));
    }
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
console.log(markdownTable(rows));

function quickest({ runs }: Outcome): number {
  return Math.min(...runs.map(({ milliseconds }) => milliseconds));
}
