import { aBoolean, aNumber, anArray, aValue, type OptionKinds, readOptions } from '@topk-attention/core';
import { OnnxRuntimeBackend } from './backend.js';
import { anOrt, loadOrt } from './runtime/load.js';
import type { OrtModule } from './runtime/ort.js';
import { requireProviders } from './runtime/probe.js';
import { disableTelemetry } from './runtime/telemetry.js';

export interface OnnxRuntimeOptions {
  /**
   * The ONNX Runtime module to use, for example `await import('onnxruntime-web/wasm')`. Default: `onnxruntime-node` where
   * Node runs, else `onnxruntime-web`, imported when first needed.
   */
  readonly ort?: OrtModule;
  /**
   * False sets `ORT_DISABLE_TELEMETRY=1` in `process.env`, so that `onnxruntime-node` sends no usage data and writes no device
   * id; true leaves the environment as it is. The engine reads it once per process, at its first session: if any session
   * was made before, it is sending already. Default: false.
   */
  readonly telemetry?: boolean;
  /** Execution providers in order of preference. Default: `['cpu']` in Node, `['wasm']` with onnxruntime-web. */
  readonly executionProviders?: readonly string[];
  /** Threads of one operator. Default: the engine's choice (one per core in Node). */
  readonly threads?: number;
  /** Compiled sessions kept for reuse, least recently used first out. Default 64. */
  readonly sessionLimit?: number;
  /** Bytes that compiled sessions may keep for reuse, as planned; the newest is always kept. Default 512 MiB. */
  readonly sessionBytes?: number;
  /**
   * Further session options, handed to `InferenceSession.create` as they are. In Node `extra` has
   * `session.intra_op.allow_spinning: '0'` unless you pass one of your own.
   */
  readonly sessionOptions?: { readonly [option: string]: unknown };
}

const kinds: OptionKinds<OnnxRuntimeOptions> = {
  ort: anOrt,
  executionProviders: anArray(),
  threads: aNumber,
  sessionLimit: aNumber,
  sessionBytes: aNumber,
  sessionOptions: aValue('an object', (value) => typeof value === 'object' && value !== null),
  telemetry: aBoolean,
};

const DEFAULT_SESSION_LIMIT = 64;
const DEFAULT_SESSION_BYTES = 512 * 2 ** 20;

/**
 * Every session has a pool of threads, which wait for more work in a loop. With many sessions in turn, as here, those of one
 * take the cores from the next.
 */
const calmThreads = { extra: { session: { intra_op: { allow_spinning: '0' } } } } as const;

/**
 * A backend on ONNX Runtime.
 *
 * @throws TopKError INVALID_OPTION; MISSING_PEER when no module is given and none can be imported; NO_DEVICE when the execution providers
 * asked for do not run.
 * @example
 * const backend = await createOnnxRuntimeBackend({ threads: 2 });
 */
export async function createOnnxRuntimeBackend(options?: OnnxRuntimeOptions): Promise<OnnxRuntimeBackend> {
  const given = readOptions('createOnnxRuntimeBackend', options, kinds);
  const {
    threads,
    sessionLimit = DEFAULT_SESSION_LIMIT,
    sessionBytes = DEFAULT_SESSION_BYTES,
    sessionOptions = {},
    telemetry = false,
  } = given;
  if (!telemetry) disableTelemetry();
  const ort = given.ort ?? (await loadOrt());
  if (given.executionProviders !== undefined) await requireProviders(ort, given.executionProviders);
  const isNative = ort.listSupportedBackends !== undefined;
  const executionProviders = given.executionProviders ?? [isNative ? 'cpu' : 'wasm'];
  return new OnnxRuntimeBackend(
    ort,
    executionProviders,
    // Without planned memory patterns a chunk's session takes 271 MiB where it took 380 (256 queries, 8,192 keys), at
    // the same time; without the arena it takes 218 and 1.45 times as long.
    {
      enableMemPattern: false,
      ...(isNative && calmThreads),
      ...(threads !== undefined && { intraOpNumThreads: threads }),
      ...sessionOptions,
    },
    { count: sessionLimit, arenaBytes: sessionBytes },
  );
}
