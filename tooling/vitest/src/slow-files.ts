import { isThorough } from './thorough.ts';

/**
 * Test files that `pnpm test` leaves to `pnpm test --all`: by project, paths in its `test` folder without `.test.ts`,
 * with the seconds they take on one of two quiet cores (2026-11-29). The slowest start first. A file is left out if it covers more
 * configurations of something that a quicker file covers in one; every package keeps tests in the fast lane.
 */
export const slowFiles: Readonly<Record<string, Readonly<Record<string, number>>>> = {
  // Plans against measured bytes; trials of random shapes; the suite once more.
  core: {
    'attention/planned-bytes': 10,
    'attention/planned-bytes-backward': 12,
    'feed-forward/planned-bytes': 20,
  },
  onnxruntime: {
    'attention/fused-attention': 11,
    browser: 17,
    'emit/long-sum': 4,
    'planned-bytes': 104,
    properties: 23,
    'rewrite/command-line': 15,
    'rewrite/exporters': 40,
    'rewrite/feed-forward': 12,
  },
  conformance: {
    'cases/faults': 18,
    properties: 15,
    'reference-settings': 20,
    'write-a-backend': 37,
  },
  // Further sizes, options and paths. SwiftShader compiles each kernel for seconds.
  webgpu: {
    'attention/backward/edges': 8,
    'attention/backward/hot-keys': 14,
    'attention/backward/oracle': 18,
    'attention/exact-backward/exact-backward': 14,
    'attention/exact/exact-path': 46,
    'attention/selection-counts': 12,
    'attention/shared/call-programs': 20,
    'attention/short/short-path': 42,
    'attention/stored/stored-path': 52,
    'attention/sweeps/sweeps-path': 69,
    'attention/tensor/error-bound': 6,
    'attention/tensor/finish': 62,
    'attention/tensor/tensor-path': 75,
    'browser/browser': 150,
    'conformance/composed': 10,
    'conformance/engine-traps': 30,
    'conformance/layers': 310,
    'conformance/lifecycle': 19,
    'conformance/properties': 60,
    'feed-forward/bytes': 8,
    'feed-forward/layer': 52,
    'feed-forward/select': 34,
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
    'conformance/browser-webgl': 640,
    'conformance/browser-webgpu': 50,
    'conformance/cpu-composed': 11,
    'conformance/tfjs-node': 54,
    'conformance/tfjs-node-cuda': 54,
    'conformance/wasm': 39,
    'conformance/webgpu': 390,
    'conformance/webgpu-forward': 44,
    'doctor/browser-doctor': 16,
    'functional/wasm': 5,
    'layers/wasm': 4,
    'ops/wasm/products': 5,
  },
  // The command line with a model, and T5 on every engine.
  'qa-demo': {
    cli: 21,
    'browser-tfjs': 60,
    'browser-webgpu': 34,
    'cli-ask': 240,
    'cli-eval': 113,
    'cli-readme': 49,
    'cli-start': 134,
    parity: 29,
    'parity-embedded': 9,
    'parity-tfjs-cpu': 8,
    'parity-tfjs-wasm': 5,
    'parity-webgpu': 89,
    'training/onnxruntime': 4,
    'training/webgpu': 45,
  },
  // Runs that are killed, stopped and resumed; all four studies. `quick` trains and reports in the fast lane.
  'lra-bench': {
    'bench/bench': 30,
    'evaluation/eval': 10,
    'model/classifier': 8,
    schedulers: 6,
    'training/train': 35,
  },
  nn: {
    'train/torch-checkpoint': 5,
  },
  // The page in Chromium: on the CPU, and on a GPU in software.
  'train-in-the-browser': {
    page: 30,
    webgpu: 40,
  },
  // Every example of a doc comment, compiled and run.
  docs: {
    'doc-comments': 14,
  },
};

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
