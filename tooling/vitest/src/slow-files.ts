import { isThorough } from './thorough.ts';

/**
 * Test files that `pnpm test` leaves to `pnpm test --all`: by project, paths in its `test` folder without `.test.ts`,
 * with the seconds they take in the whole run on one of two cores (2026-11-29). The slowest start first. A file is left out if it covers more
 * configurations of something that a quicker file covers in one; every package keeps tests in the fast lane.
 */
export const slowFiles: Readonly<Record<string, Readonly<Record<string, number>>>> = {
  // Plans against measured bytes; trials of random shapes; the suite once more.
  core: {
    'attention/planned-bytes': 8,
    'attention/planned-bytes-backward': 16,
    'feed-forward/planned-bytes': 23,
  },
  onnxruntime: {
    'attention/fused-attention': 12,
    browser: 40,
    'emit/long-sum': 4,
    'planned-bytes': 99,
    properties: 35,
    'rewrite/command-line': 15,
    'rewrite/exporters': 40,
    'rewrite/feed-forward': 12,
  },
  conformance: {
    'cases/faults': 20,
    properties: 18,
    'reference-settings': 41,
    'write-a-backend': 40,
  },
  // Further sizes, options and paths. SwiftShader compiles each kernel for seconds.
  webgpu: {
    'attention/backward/edges': 8,
    'attention/backward/hot-keys': 14,
    'attention/backward/oracle': 18,
    'attention/exact-backward/exact-backward': 14,
    'attention/exact/exact-path': 39,
    'attention/selection-counts': 12,
    'attention/shared/call-programs': 20,
    'attention/short/short-path': 42,
    'attention/stored/stored-path': 34,
    'attention/sweeps/sweeps-path': 63,
    'attention/tensor/error-bound': 6,
    'attention/tensor/finish': 40,
    'attention/tensor/tensor-path': 45,
    'browser/browser': 60,
    'conformance/composed': 10,
    'conformance/engine-traps': 51,
    'conformance/layers': 265,
    'conformance/lifecycle': 19,
    'conformance/properties': 40,
    'feed-forward/bytes': 8,
    'feed-forward/layer': 75,
    'feed-forward/select': 38,
    'primitives/elementwise-list': 6,
    'primitives/large-tensors': 11,
    'primitives/linear': 9,
    'primitives/products': 34,
    'primitives/selection': 10,
    readme: 10,
    'runtime/processes': 10,
    'training/mixed-training': 12,
    'training/planned-steps': 60,
  },
  // The suite on engines other than cpu, and further engines.
  tfjs: {
    'attention/cpu': 12,
    'attention/backward/planned-bytes': 5,
    'attention/forward/planned-bytes': 7,
    'attention/wasm': 9,
    'conformance/browser-webgl': 230,
    'conformance/browser-webgpu': 40,
    'conformance/cpu-composed': 11,
    'conformance/tfjs-node': 94,
    'conformance/tfjs-node-cuda': 31,
    'conformance/wasm': 33,
    'conformance/webgpu': 220,
    'conformance/webgpu-forward': 40,
    'doctor/browser-doctor': 20,
    'functional/wasm': 5,
    'layers/wasm': 4,
    'ops/wasm/products': 5,
  },
  // The command line with a model, and T5 on every engine.
  'qa-demo': {
    'browser-tfjs': 19,
    'browser-webgpu': 23,
    'cli-ask': 140,
    'cli-eval': 50,
    'cli-readme': 58,
    'cli-start': 115,
    parity: 28,
    'parity-embedded': 9,
    'parity-tfjs-cpu': 8,
    'parity-tfjs-wasm': 5,
    'parity-webgpu': 89,
    'training/onnxruntime': 4,
    'training/webgpu': 26,
  },
  // Runs that are killed, stopped and resumed; all four studies. `quick` trains and reports in the fast lane.
  'lra-bench': {
    'bench/bench': 41,
    'evaluation/eval': 10,
    'model/classifier': 8,
    'needles/needles': 6,
    schedulers: 6,
    'training/train': 34,
  },
  nn: {
    'train/torch-checkpoint': 5,
  },
  // The page in Chromium: on the CPU, and on a GPU in software.
  'train-in-the-browser': {
    page: 68,
    webgpu: 75,
  },
  // A T5, tuned both ways.
  'fine-tune-t5': {
    'fine-tune': 7,
  },
  // Every example of a doc comment and of a page, compiled and run.
  docs: {
    'doc-comments': 14,
    examples: 6,
  },
};

/**
 * Test files of the fast lane that take more than ten seconds, with their seconds in the whole run: they start after
 * `slowFiles` and before the others, so that none of them runs alone at the end.
 */
export const longFiles: Readonly<Record<string, Readonly<Record<string, number>>>> = {
  conformance: { reference: 21 },
  docs: { 'packed-readmes': 110 },
  'lra-bench': { quick: 23 },
  nn: { 'train/train': 16 },
  onnxruntime: { conformance: 27 },
  'qa-demo': { 'parity-tfjs-node': 11 },
  tfjs: { 'attention/tfjs-node': 14, 'conformance/cpu': 19 },
  webgpu: { 'bench/attention-bench': 20, 'conformance/operations': 40, 'runtime/runtime': 35 },
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
