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
                  chunks; contrib: exactly, with ONNX Runtime's own operator; k-alone and k-bound: with TopK alone, or
                  with a bound first, whatever the length                       (default original,exact,k)
  --queries n     queries of a model of q, k and v                              (default 96)
  --k n           kept keys                                                     (default 64)
  --engine e      node or wasm                                                  (default node)
  --runs n        runs in each process                                          (default 2)
  --together      all forms in one process and in turn, without their memory
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
    together: { type: 'boolean', default: false },
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
  contrib: { label: 'exact, contrib', options: { attention: 'exact', contrib: true } },
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
async function measure(models: readonly string[], length: number): Promise<readonly Outcome[] | undefined> {
  const queries = Number(values.queries);
  const task = { models, engine, length, queries, runs: Number(values.runs), threads };
  try {
    const { stdout } = await promisify(execFile)(process.execPath, [child, JSON.stringify(task)], {
      maxBuffer: 2 ** 26,
    });
    return JSON.parse(stdout);
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    console.error(`${length} tokens: ${text.trim().split('\n').slice(1, 4).join(' ').slice(0, 300)}`);
    return undefined;
  }
}

const mebibytes = (bytes: number): string => (bytes / 2 ** 20).toFixed(0);
const header = ['tokens', 'form', 'first run ms', 'best run ms', 'best CPU ms'];
const ofMemory = ['MiB loaded', 'peak MiB, first', 'peak MiB, all'];
const rows: string[][] = [[...header, ...(values.together ? [] : ofMemory), 'max difference', 'load']];
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
    const load = (loadavg()[0] as number).toFixed(1);
    const together = values.together ? await measure([...files.values()], length) : undefined;
    let reference: readonly number[] | undefined;
    for (const [at, [form, file]] of [...files].entries()) {
      const outcome = together?.[at] ?? (await measure([file], length))?.[0];
      const label = forms[form]?.label ?? form;
      const [first, last] = [outcome?.runs[0], outcome?.runs.at(-1)];
      if (outcome === undefined || first === undefined || last === undefined) {
        const blank = Array<string>((rows[0] as string[]).length - 4).fill('');
        rows.push([`${length}`, label, 'fails', ...blank, load]);
        continue;
      }
      reference ??= outcome.sample;
      const differences = outcome.sample.map((value, index) => Math.abs(value - (reference?.[index] ?? 0)));
      const best = (time: 'milliseconds' | 'cpu'): string =>
        Math.min(...outcome.runs.map((run) => run[time])).toFixed(1);
      const memory = [outcome.loaded, first.peak, last.peak].map(mebibytes);
      rows.push([
        ...[`${length}`, label, first.milliseconds.toFixed(1), best('milliseconds'), best('cpu')],
        ...(values.together ? [] : memory),
        ...[Math.max(...differences).toExponential(1), load],
      ]);
      console.error(rows.at(-1)?.join('  '));
    }
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
console.log(markdownTable(rows));
