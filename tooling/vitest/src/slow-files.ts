import { isThorough } from './thorough.ts';

/**
 * Test files that `pnpm test` leaves to `pnpm test --all`, with the seconds they take on one of two quiet cores (2026-11-28).
 * A name is the end of the file's path without `.test.ts`: as many folders as it takes to mean one file. Left out is what
 * covers more configurations of something that a quicker file covers in one; every package keeps tests in the fast lane.
 */
export const slowFiles: Readonly<Record<string, number>> = {
  // core, conformance, onnxruntime: plans against measured bytes; trials of random shapes; the suite once more.
  'backend-onnxruntime/test/planned-bytes': 104,
  'planned-bytes-backward': 12,
  'planned-bytes-feed-forward': 20,
  'backend-onnxruntime/test/properties': 23,
  'conformance/test/properties': 15,
  'write-a-backend': 37,
  // webgpu: further sizes, options and paths. SwiftShader compiles each kernel for seconds.
  'stored/stored-path': 52,
  'sweeps/sweeps-path': 69,
  'backward/hot-keys': 14,
  'backward/oracle': 18,
  'backend-webgpu/test/conformance/properties': 60,
  'conformance/composed': 180,
  'conformance/layers': 180,
  'conformance/lifecycle': 180,
  'exact/exact-path': 46,
  'feed-forward/layer': 52,
  'feed-forward/select': 34,
  'tensor/tensor-path': 75,
  'tensor/finish': 120,
  // tfjs: the suite on engines other than cpu (test/conformance), and further engines.
  'browser-webgl': 480,
  'conformance/browser-webgpu': 50,
  'conformance/tfjs-node': 54,
  'tfjs-node-cuda': 54,
  'conformance/wasm': 39,
  'conformance/webgpu': 310,
  'webgpu-forward': 44,
  // qa-demo: the command line with a model, and T5 on every engine.
  'browser-tfjs': 60,
  'qa-demo/test/browser-webgpu': 34,
  'cli-ask': 177,
  'cli-eval': 65,
  'cli-readme': 49,
  'cli-start': 190,
  'qa-demo/test/parity': 29,
  'parity-webgpu': 70,
  'training/webgpu': 45,
};

/** Tells the test processes, set by the preset, which files to leave: names with commas between. */
export const LEFT_FILES_VARIABLE = 'TOPK_LEFT_FILES';

/** The name under which a test file is listed, if it is. */
export function listedName(path: string): string | undefined {
  const whole = pathOf(path);
  return Object.keys(slowFiles).find((name) => endsWith(whole, name));
}

/**
 * Files that this run leaves out. One that the caller names in full (`vitest run tensor/finish`) is run.
 *
 * @param args words of the command line
 */
export function leftFiles(args: readonly string[] = process.argv.slice(2)): string[] {
  if (isThorough()) return [];
  const words = args.filter((word, i) => !word.startsWith('-') && !takesNext(args[i - 1])).map(pathOf);
  return Object.keys(slowFiles).filter((name) => {
    const [inTests] = name.split('/test/').slice(-1);
    return !words.some((word) => word === inTests || endsWith(word, name));
  });
}

/** Whether the next word is the value of this one: `--project tfjs`, but not `--reporter=dot tfjs`. */
function takesNext(word: string | undefined): boolean {
  return word?.startsWith('-') === true && !word.includes('=');
}

/** With `/` between folders, without the ending of test files. */
function pathOf(path: string): string {
  return path.replaceAll('\\', '/').replace(/\.test(\.m?ts)?$/, '');
}

function endsWith(path: string, end: string): boolean {
  return `/${path}`.endsWith(`/${end}`);
}
