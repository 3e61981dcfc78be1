import { createRequire } from 'node:module';
import { join } from 'node:path';
import { buildFolder, isBuilt, unsupportedPlatform } from '../../tfjs-node/versions.mjs';
import type { Availability } from './optional.ts';

const need = 'tfjs-node';

/**
 * Whether TensorFlow.js for Node was built for this repository's tests (`node tooling/tfjs-node/build.mjs`). Not built
 * here: it costs minutes and 1.1 GB, which nobody expects of a plain `pnpm test`.
 */
export function tfjsNodeAvailability(): Availability {
  if (isBuilt()) return { need, available: true, reason: '' };
  const why = unsupportedPlatform();
  const reason = why ?? 'not built here: run `node tooling/tfjs-node/build.mjs`';
  return { need, available: false, reason };
}

/**
 * The `tf` of @tensorflow/tfjs-node as this repository builds it, on the engine 'tensorflow'. It has its own copy of
 * tfjs-core, in the version of the workspace.
 *
 * @example
 * const tf = loadTfjsNode<typeof import('@tensorflow/tfjs-core')>();
 */
export function loadTfjsNode<Tf>(): Tf {
  const { available, reason } = tfjsNodeAvailability();
  if (!available) throw new Error(`tfjs-node is missing: ${reason}`);
  // TensorFlow reports which instructions the CPU has; its two lines about oneDNN come before it reads this.
  process.env.TF_CPP_MIN_LOG_LEVEL ??= '2';
  const require = createRequire(join(buildFolder, 'package.json'));
  // Removed in Node 23, but tfjs-node 4.22 still calls it in some kernels. Users do the same: see docs/cuda.md.
  const util = require('node:util') as { isNullOrUndefined?: (value: unknown) => boolean };
  util.isNullOrUndefined ??= (value) => value === null || value === undefined;
  return require('@tensorflow/tfjs-node') as Tf;
}
