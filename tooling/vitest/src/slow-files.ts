import { isThorough } from './thorough.ts';

/**
 * Test files that `pnpm test` leaves to `pnpm test --all`: the file's name without `.test.ts`, with its
 * folder where others have that name, and the seconds it takes on
 * one of two quiet cores (2026-11-28). Left out is what covers more configurations of something that a quicker file covers
 * in one; every package keeps tests in the fast lane, which stays under four minutes on two cores. Files are matched in every
 * package, so they may move between folders.
 */
export const slowFiles: Readonly<Record<string, number>> = {
  // core, conformance, onnxruntime: plans against measured bytes; trials of random shapes; the suite once more.
  'planned-bytes': 104,
  'planned-bytes-backward': 12,
  'planned-bytes-feed-forward': 20,
  properties: 60,
  'write-a-backend': 37,
  // webgpu: further sizes, options and paths. SwiftShader compiles each kernel for seconds.
  'attention-stored': 52,
  'attention-sweeps': 69,
  'backward-hot-keys': 14,
  'backward-oracle': 18,
  'conformance-composed': 180,
  'conformance-layers': 180,
  'conformance-lifecycle': 180,
  exact: 46,
  'feed-forward-layer': 52,
  'feed-forward-select': 34,
  'tensor-emulated': 75,
  'tensor-finish': 120,
  // tfjs: the suite on engines other than cpu (test/conformance), and further engines.
  'browser-webgl': 480,
  'browser-webgpu': 50,
  'conformance/tfjs-node': 54,
  'tfjs-node-cuda': 54,
  'conformance/wasm': 39,
  'conformance/webgpu': 310,
  'webgpu-forward': 44,
  // qa-demo: the command line with a model, and T5 on every engine.
  'browser-tfjs': 60,
  'cli-ask': 177,
  'cli-eval': 65,
  'cli-readme': 49,
  'cli-start': 190,
  parity: 29,
  'parity-webgpu': 70,
};

/** Tells the test processes, set by the preset, which files to leave: names with commas between. */
export const LEFT_FILES_VARIABLE = 'TOPK_LEFT_FILES';

/** The name under which a test file would be listed: with its folder, where that is listed. */
export function listedName(path: string): string {
  const segments = path.replace(/\.test\.m?ts$/, '').split(/[\\/]/);
  const withFolder = segments.slice(-2).join('/');
  return Object.hasOwn(slowFiles, withFolder) ? withFolder : (segments.at(-1) ?? path);
}

/**
 * Files that this run leaves out. One that the caller names in full (`vitest run finish-select`) is run.
 *
 * @param args words of the command line
 */
export function leftFiles(args: readonly string[] = process.argv.slice(2)): string[] {
  if (isThorough()) return [];
  // The word after an option is that option's value.
  const words = args.filter((word, i) => !word.startsWith('-') && !args[i - 1]?.startsWith('-'));
  const named = new Set(words.map(listedName));
  return Object.keys(slowFiles).filter((name) => !named.has(name));
}
