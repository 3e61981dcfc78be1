import { isThorough } from './thorough.ts';

/**
 * Test files that `pnpm test` leaves to `pnpm test --all`: by project, paths in its `test` folder without `.test.ts`,
 * with the seconds they took in a whole run on two cores (2026-11-29), or alone where they have changed since. The
 * slowest start first. A file is left out if it covers more configurations of something that a quicker file covers in
 * one; every package keeps tests in the fast lane.
 */
export const slowFiles: Readonly<Record<string, Readonly<Record<string, number>>>> = {
  // Plans against measured bytes; trials of random shapes; the suite once more.
  core: {
    'attention/planned-bytes': 7,
    'attention/planned-bytes-backward': 18,
    'feed-forward/planned-bytes': 41,
  },
  onnxruntime: {
    'attention/fused-attention': 18,
    browser: 48,
    'emit/long-sum': 3,
    'planned-bytes': 78,
    properties: 42,
    'rewrite/bit-equal': 12,
    'rewrite/command-line': 24,
    'rewrite/exporters': 30,
    'rewrite/feed-forward': 8,
    'rewrite/ties-and-masks': 9,
    'rewrite/text-recogniser': 6,
    'rewrite/trained-decoder': 8,
    'rewrite/variants': 8,
  },
  // A page that downloads from a small Hub, through the Cache API; processes that share a cache.
  models: {
    // A T5 searched for its k, and under every strategy.
    'choosing-k/suggest-k': 5,
    't5/strategies': 4,
    'hub/browser': 25,
    'hub/processes': 7,
  },
  conformance: {
    'cases/faults': 18,
    properties: 28,
    'reference-settings': 57,
    'write-a-backend': 43,
  },
  // Further sizes, options and paths. SwiftShader compiles each kernel for seconds.
  webgpu: {
    'attention/backward/edges': 5,
    'attention/backward/hot-keys': 13,
    'attention/backward/oracle': 20,
    'attention/exact-backward/exact-backward': 18,
    'attention/exact/exact-path': 32,
    'attention/selection-counts': 10,
    'attention/shared/call-programs': 32,
    'attention/short/short-path': 21,
    'attention/stored/stored-path': 22,
    'attention/sweeps/sweeps-path': 83,
    'attention/tensor/error-bound': 7,
    'attention/tensor/finish': 35,
    'attention/tensor/tensor-path': 20,
    'browser/browser': 81,
    'conformance/composed': 13,
    'conformance/engine-traps': 35,
    'conformance/layers': 235,
    'conformance/lifecycle': 27,
    'conformance/properties': 30,
    'feed-forward/bytes': 6,
    'feed-forward/layer': 60,
    'feed-forward/select': 32,
    'primitives/elementwise-list': 4,
    'primitives/large-tensors': 9,
    'primitives/linear': 5,
    'primitives/products': 29,
    'primitives/selection': 17,
    readme: 5,
    'runtime/processes': 6,
    'training/mixed-training': 3,
    'training/planned-steps': 75,
  },
  // The suite on engines other than cpu, and further engines.
  tfjs: {
    'attention/cpu': 18,
    'attention/backward/planned-bytes': 3,
    'attention/forward/planned-bytes': 7,
    'attention/wasm': 10,
    'conformance/browser-webgl': 252,
    'conformance/browser-webgpu': 25,
    'conformance/cpu-composed': 16,
    'conformance/tfjs-node': 40,
    'conformance/tfjs-node-cuda': 35,
    'conformance/wasm': 39,
    'conformance/webgpu': 80,
    'conformance/webgpu-forward': 33,
    'doctor/browser-doctor': 25,
    'functional/wasm': 6,
    'layers/wasm': 5,
    'ops/wasm/products': 2,
  },
  // The command line with a model, and T5 on every engine.
  'qa-demo': {
    'browser-export': 20,
    'browser-tfjs': 14,
    'browser-webgpu': 28,
    'cli-ask': 125,
    'cli-eval': 33,
    'cli-readme': 59,
    'cli-start': 143,
    'cli-suggest-k': 5,
    'export/embedded': 14,
    'export/pipeline': 8,
    migrate: 10,
    parity: 19,
    'parity-causal': 7,
    'parity-causal-tfjs-cpu': 6,
    'parity-causal-tfjs-wasm': 6,
    'parity-causal-webgpu': 30,
    'parity-embedded': 19,
    'parity-tfjs-cpu': 7,
    'parity-tfjs-wasm': 6,
    'parity-webgpu': 88,
    'training/onnxruntime': 5,
    'training/webgpu': 16,
  },
  // Runs that are killed, stopped and resumed; all four studies. `quick` trains and reports in the fast lane.
  'lra-bench': {
    'bench/bench': 37,
    'evaluation/eval': 6,
    'model/classifier': 8,
    'needles/needles': 4,
    schedulers: 5,
    'training/train': 67,
  },
  nn: {
    'train/torch-checkpoint': 5,
  },
  // The page in Chromium: on the CPU, and on a GPU in software.
  'train-in-the-browser': {
    page: 65,
    webgpu: 92,
  },
  // The page in Chromium, on three folders of models.
  'transformers-js': {
    page: 30,
  },
  // A T5, tuned both ways.
  'fine-tune-t5': {
    'fine-tune': 7,
  },
  // Every example of a doc comment and of a page, compiled and run.
  docs: {
    'doc-comments': 15,
    examples: 3,
  },
};

/**
 * Test files of the fast lane that take more than ten seconds, with their seconds in the whole run: they take their turn
 * among `slowFiles`, before all others, so that none of them runs alone at the end.
 */
export const longFiles: Readonly<Record<string, Readonly<Record<string, number>>>> = {
  conformance: { reference: 34 },
  docs: { 'packed-readmes': 115 },
  'lra-bench': { quick: 24 },
  nn: { 'train/train': 13 },
  onnxruntime: { conformance: 34 },
  'qa-demo': { 'parity-tfjs-node': 11 },
  tfjs: { 'attention/tfjs-node': 26, 'conformance/cpu': 31 },
  webgpu: { 'bench/attention-bench': 26, 'conformance/operations': 55, 'runtime/runtime': 34 },
};

/** The seconds of a listed test file, given by its path; 0 for all others. */
export function secondsOf(project: string, path: string): number {
  const entries = Object.entries({ ...slowFiles[project], ...longFiles[project] });
  return entries.find(([name]) => path.endsWith(`/test/${name}.test.ts`))?.[1] ?? 0;
}

/**
 * Files of a project that this run leaves out. A file that the command line names (`vitest run tensor/finish`) is
 * run.
 *
 * @param args words of the command line
 */
export function leftFiles(project: string, args: readonly string[] = process.argv.slice(2)): string[] {
  if (isThorough()) return [];
  const words = filters(args).map((word) => word.replace(/\.test(\.m?ts)?$/, ''));
  return Object.keys(slowFiles[project] ?? {}).filter((name) => {
    const path = `/test/${name}`;
    return !words.some((word) => path.endsWith(`/${word}`) || `/${word}`.endsWith(path));
  });
}

/**
 * Those of the files left out that the command line asks for without naming one: all, or those whose path contains a
 * word.
 */
export function askedFor(left: readonly string[], args: readonly string[] = process.argv.slice(2)): string[] {
  const words = filters(args);
  return left.filter(
    (name) => words.length === 0 || words.some((word) => `test/${name}.test.ts`.includes(word)),
  );
}

/** The words of a command line that choose files. */
function filters(args: readonly string[]): string[] {
  return args
    .filter((word, i) => word !== 'run' && !word.startsWith('-') && !takesNext(args[i - 1]))
    .map((word) => word.replaceAll('\\', '/'));
}

/** Options of vitest whose value may be the next word. */
const valued = new Set(
  (
    'project reporter outputFile config c root r dir testNamePattern t pool environment maxWorkers bail retry shard ' +
    'testTimeout hookTimeout teardownTimeout exclude mode maxConcurrency changed'
  ).split(' '),
);

/** Whether the next word is the value of this one: `--project tfjs`, but not `--reporter=dot tfjs` or `--silent tfjs`. */
function takesNext(word: string | undefined): boolean {
  // Of `--outputFile.json` the first part counts.
  const [, name] = word?.match(/^--?([^.=]+)(?:\.[^=]*)?$/) ?? [];
  return name !== undefined && valued.has(name);
}
