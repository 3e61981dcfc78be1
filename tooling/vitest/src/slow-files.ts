import { isThorough } from './thorough.ts';

/**
 * Test files that `pnpm test` leaves to `pnpm test --all`: by project, paths in its `test` folder without `.test.ts`,
 * with the seconds they took in a whole run on two cores (2026-11-29), or the CPU seconds they take alone where they have
 * changed since. The slowest start first. A file is left out if it covers more configurations of something that a quicker file covers in
 * one; every package keeps tests in the fast lane.
 */
export const slowFiles: Readonly<Record<string, Readonly<Record<string, number>>>> = {
  // Plans against measured bytes; trials of random shapes; the suite once more.
  core: {
    'attention/planned-bytes': 7,
    'attention/planned-bytes-backward': 14,
    'feed-forward/planned-bytes': 21,
    'graph-attention/planned-bytes': 5,
    'linear-attention/planned-bytes': 15,
  },
  onnxruntime: {
    'attention/fused-attention': 9,
    browser: 32,
    'emit/long-sum': 3,
    'export/external-data': 17,
    'export/half-precision': 7,
    'planned-bytes': 38,
    properties: 29,
    'rewrite/bit-equal': 23,
    'rewrite/command-line': 85,
    'rewrite/contrib': 9,
    'rewrite/contrib-memory': 13,
    'rewrite/exporters': 54,
    'rewrite/feed-forward': 11,
    'rewrite/fused-operators': 11,
    // Files made to be refused: cycles, hostile sizes, thousands of flipped bytes.
    'rewrite/hostile': 10,
    'rewrite/mutated-graphs': 5,
    'rewrite/old-operator-sets': 5,
    'rewrite/ties-and-masks': 9,
    'rewrite/text-recogniser': 2,
    'rewrite/trained-decoder': 5,
    'rewrite/variants': 12,
  },
  // A page that downloads from a small Hub, through the Cache API; processes that share a cache.
  models: {
    // A T5 searched for its k, and under every strategy.
    'choosing-k/suggest-k': 4,
    't5/strategies': 3,
    't5/failures': 4,
    // Every example of the README, one after the other.
    readme: 20,
    'hub/browser': 33,
    'hub/processes': 4,
  },
  conformance: {
    'cases/faults': 16,
    properties: 28,
    'reference-settings': 32,
    'write-a-backend': 80,
  },
  // Further sizes, options and paths. SwiftShader compiles each kernel for seconds.
  webgpu: {
    'attention/backward/edges': 3,
    'attention/backward/hot-keys': 6,
    'attention/backward/oracle': 7,
    'attention/exact-backward/exact-backward': 15,
    'attention/exact-backward/products-together': 73,
    'attention/exact/exact-path': 17,
    'attention/selection-counts': 8,
    'attention/shared/call-programs': 22,
    'attention/short/short-path': 14,
    'attention/stored/stored-path': 16,
    'attention/sweeps/sweeps-path': 40,
    'attention/tensor/error-bound': 2,
    'attention/tensor/finish': 19,
    'attention/tensor/tensor-path': 15,
    'browser/browser': 36,
    'graph-attention/fused': 15,
    'linear-attention/fused': 30,
    'conformance/composed': 11,
    'conformance/engine-traps': 19,
    'conformance/layers': 118,
    'conformance/lifecycle': 16,
    'conformance/properties': 18,
    'feed-forward/bytes': 6,
    'feed-forward/layer': 22,
    'feed-forward/select': 27,
    'primitives/elementwise-list': 2,
    'primitives/large-tensors': 3,
    'primitives/linear': 2,
    'primitives/products': 19,
    'primitives/selection': 10,
    readme: 2,
    'runtime/processes': 5,
    'training/mixed-training': 1,
    'toeplitz/fused': 24,
    'training/planned-steps': 70,
  },
  // The suite on engines other than cpu, and further engines.
  tfjs: {
    'attention/cpu': 13,
    'attention/backward/planned-bytes': 2,
    'attention/forward/planned-bytes': 6,
    'attention/tfjs-node': 26,
    'attention/wasm': 11,
    'conformance/browser-webgl': 86,
    'conformance/browser-webgpu': 30,
    'conformance/cpu-composed': 17,
    'conformance/tfjs-node': 28,
    'conformance/tfjs-node-cuda': 44,
    'conformance/wasm': 33,
    'conformance/webgpu': 66,
    'conformance/webgpu-forward': 38,
    'doctor/browser-doctor': 24,
    'functional/tfjs-node': 10,
    'functional/wasm': 6,
    'layers/tfjs-node': 11,
    'layers/wasm': 5,
    'ops/wasm/products': 3,
  },
  // The command line with a model, and T5 on every engine.
  'qa-demo': {
    'browser-export': 23,
    'browser-tfjs': 11,
    'browser-webgpu': 33,
    'cli-ask': 60,
    'cli-eval': 22,
    'cli-hub': 12,
    'cli-inspect': 30,
    'cli-readme': 49,
    'cli-start': 77,
    'cli-suggest-k': 8,
    'export/embedded': 52,
    'export/pipeline': 6,
    'mechanisms/webgpu': 13,
    migrate: 4,
    parity: 19,
    'parity-causal': 6,
    'parity-causal-tfjs-cpu': 2,
    'parity-causal-tfjs-wasm': 3,
    'parity-causal-webgpu': 32,
    'parity-embedded': 20,
    'parity-tfjs-cpu': 9,
    'parity-tfjs-node': 13,
    'parity-tfjs-wasm': 8,
    'parity-webgpu': 70,
    'training/onnxruntime': 4,
    'training/tfjs-cpu': 4,
    'training/tfjs-wasm': 4,
    'training/webgpu': 18,
  },
  // Runs that are killed, stopped and resumed; all four studies. `quick` trains and reports in the fast lane.
  'lra-bench': {
    'bench/bench': 29,
    'commands/compare': 44,
    'commands/lasting-engine': 18,
    'evaluation/eval': 1,
    'model/classifier': 12,
    'needles/needles': 1,
    schedulers: 6,
    'training/train': 43,
  },
  nn: {
    'train/torch-checkpoint': 5,
  },
  // The page in Chromium: on the CPU, and on a GPU in software.
  'train-in-the-browser': {
    page: 45,
    webgpu: 76,
  },
  // The page in Chromium, on three folders of models.
  'transformers-js': {
    page: 36,
  },
  // A T5, tuned both ways.
  'fine-tune-t5': {
    'fine-tune': 7,
  },
  // Every example of a doc comment and of a page, compiled and run.
  docs: {
    'doc-comments': 20,
    examples: 3,
  },
};

/**
 * Test files of the fast lane that take more than ten seconds, with their seconds in the whole run: they take their turn
 * among `slowFiles`, before all others, so that none of them runs alone at the end.
 */
export const longFiles: Readonly<Record<string, Readonly<Record<string, number>>>> = {
  conformance: { reference: 27 },
  docs: { 'packed-readmes': 89 },
  'lra-bench': { quick: 19 },
  nn: { 'train/train': 12 },
  onnxruntime: { conformance: 25 },
  tfjs: { 'conformance/cpu': 26 },
  webgpu: { 'bench/attention-bench': 10, 'conformance/operations': 27, 'runtime/runtime': 10 },
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
